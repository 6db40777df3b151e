"""The child's end: run one script after another, each in a context of its own.

Nothing of this process is given to a script: its JSON goes in as text, its value comes out as
text. A context has the language's own objects and ``$``, nothing else, and is thrown away.
"""

import os
import re
import resource
import sys
from functools import lru_cache
from typing import Any, BinaryIO

# quickjs-ng's extension without its Python part, which starts a thread and takes as long again
# to import; a process with threads may not leave its user namespace.
import _quickjs as quickjs  # type: ignore[import-not-found]
import jq  # type: ignore[import-not-found]

from batuta.runtime.sandbox import (
    ANSWER,
    FAILED,
    JQ,
    MESSAGE_CHARACTERS_MAX,
    READY,
    REQUEST,
    RESULT_BYTES_MAX,
    VALUE,
    time_message,
)
from batuta.runtime.sandbox.confine import confine

MEMORY_BYTES_MIN = 64_000_000  # what a script may use beside its argument
MEMORY_FACTOR = 12  # a decoded argument takes 2 to 10 times its text, unless made not to
# The interpreter's own limit (of CPU time) comes before the server kills us at 1.0: it leaves the
# child alive. Some natives never look at it.
OWN_TIME_SHARE = 0.9
PROGRAMS_MAX = 256  # compiled jq programs kept; compiling one takes a millisecond, 300 times a run
STACK_BYTES_MAX = 1_000_000  # an eighth of the main thread's; the interpreter checks coarsely

# Captured before the script can touch them: eval, because only it gives the value of the last
# statement of any form, and whatever turns that value into text. What the interpreter has
# beyond the language (and the language has beyond GraalJS without threads) is taken away.
_PRELUDE = """(function () {
  const stringify = JSON.stringify, evaluate = eval, isPromise = Promise.prototype.isPrototypeOf;
  const call = Function.prototype.call.bind(isPromise), promise = Promise.prototype;
  const refuse = TypeError;
  const kept = new Set(('Object Function Error EvalError RangeError ReferenceError SyntaxError '
    + 'TypeError URIError InternalError AggregateError Iterator Array parseInt parseFloat isNaN '
    + 'isFinite decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape '
    + 'Infinity NaN undefined eval Number Boolean String Math Reflect Symbol globalThis BigInt '
    + 'Date RegExp JSON Proxy Map Set WeakMap WeakSet ArrayBuffer Uint8ClampedArray Int8Array '
    + 'Uint8Array Int16Array Uint16Array Int32Array Uint32Array BigInt64Array BigUint64Array '
    + 'Float32Array Float64Array DataView Promise').split(' '));
  for (const name of Object.getOwnPropertyNames(globalThis))
    if (!kept.has(name)) delete globalThis[name];
  return function batuta_value(source) {
    const value = evaluate(source), kind = typeof value;
    if (kind === 'function' || kind === 'symbol' || kind === 'bigint')
      throw new refuse('the value is a ' + kind + ', which JSON cannot hold');
    if (kind === 'object' && call(promise, value))
      throw new refuse('the value is a promise; nothing here waits for one');
    const text = stringify(value);
    return text === undefined ? 'null' : text;
  };
})()"""
_OURS = "batuta_value ("  # marks the prelude's line in a stack trace

_LINE = re.compile(r"<input>:(\d+)")


def main(cpu_s_max: int) -> None:
    """Confine this process, report, and answer requests until the server closes the pipe."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    is_environment_empty = not os.environ.keys() - {"LC_CTYPE"}  # Python's own, PEP 538
    os.environ.clear()
    # Whatever is loaded at first use is loaded while it can be.
    run("1", "{}", 1_000)
    transform(".", "{}")
    report = confine(cpu_s_max) | {"emptyEnvironment": is_environment_empty}
    # No module that encodes JSON: names and booleans only.
    body = ",".join(f'"{name}":{str(active).lower()}' for name, active in report.items())
    _answer(answers, READY, f"{{{body}}}".encode())
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        language, source_bytes, argument_bytes, script_ms_max = REQUEST.unpack(header)
        source = requests.read(source_bytes).decode()
        argument = requests.read(argument_bytes).decode()
        if language == JQ:
            _answer(answers, *transform(source, argument))
        else:
            _answer(answers, *run(source, argument, script_ms_max))


def run(source: str, argument: str, script_ms_max: int) -> tuple[int, bytes]:
    """Return the value of a script as JSON (VALUE), or why it has none (FAILED).

    Integral numbers are written without a fraction, undefined as null, NaN as null.
    """
    context = quickjs.Context()
    context.set_memory_limit(MEMORY_BYTES_MIN + MEMORY_FACTOR * len(argument))
    context.set_max_stack_size(STACK_BYTES_MAX)
    context.set_time_limit(script_ms_max * OWN_TIME_SHARE / 1_000)
    try:
        value_of = context.eval(_PRELUDE)
        context.set("$", context.parse_json(argument))
        value = value_of(source).encode()
    except quickjs.JSException as error:
        return FAILED, describe(error, script_ms_max).encode(errors="replace")
    except UnicodeError:
        return FAILED, b"the script's error is half a character; give it text"
    except MemoryError:
        return FAILED, b"InternalError: out of memory"
    return _value(value)


def transform(program: str, argument: str) -> tuple[int, bytes]:
    """Return all values that a jq program gives, as a JSON list (VALUE), or why not (FAILED).

    It has no time limit: the server ends the process. Numbers are doubles.
    """
    try:
        # One line for each value; their own line ends are escaped.
        text = _compiled(program).input_text(argument).text()
    except ValueError as error:
        message = str(error)[:MESSAGE_CHARACTERS_MAX]
        return FAILED, (message or "the jq program failed").encode(errors="replace")
    except (MemoryError, RecursionError) as error:
        return FAILED, f"the jq program failed: {type(error).__name__}".encode()
    return _value(f"[{text.replace(chr(10), ',')}]".encode())


@lru_cache(PROGRAMS_MAX)
def _compiled(program: str) -> Any:
    return jq.compile(program)


def _value(value: bytes) -> tuple[int, bytes]:
    if len(value) > RESULT_BYTES_MAX:
        message = f"the script's value has {len(value)} bytes, over {RESULT_BYTES_MAX}; return less"
        return FAILED, message.encode()
    return VALUE, value


def describe(error: Exception, script_ms_max: int) -> str:
    """Return JavaScript's message, with the script's line where it is known."""
    message, _, trace = str(error).partition("\n    at ")
    message = message.removesuffix("\nundefined").strip()
    if message.startswith("InternalError: interrupted"):
        return time_message(script_ms_max)
    if message in {"", "null"}:
        # The interpreter could not even make the error.
        return "InternalError: out of memory or stack"
    message = message[:MESSAGE_CHARACTERS_MAX]
    theirs = (line for line in trace.split("\n") if _OURS not in line)
    lines = (found for line in theirs if (found := _LINE.search(line)) is not None)
    first = next(lines, None)
    return message if first is None else f"{message} (line {first[1]})"


def _answer(answers: BinaryIO, kind: int, body: bytes) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_ms = int((usage.ru_utime + usage.ru_stime) * 1_000)
    answers.write(ANSWER.pack(kind, len(body), cpu_ms) + body)
    answers.flush()
