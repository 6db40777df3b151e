"""The scripts of random definitions, and what they give: a sandbox without an interpreter.

None of the JavaScript is of the simple forms that the core evaluates itself, on purpose: each is
a need of the decision that asks for it.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.model.change import Failure
from batuta.model.payload import Payload

CASE = "[$.which].map(function (x) { return String(x); })[0]"
WRAP = "[$.n].map(function (x) { return {got: x}; })[0]"
THROW = "[$.n].map(function (x) { throw new Error('no'); })"
LAMBDA = "return [$.n].map(function (x) { return {got: x}; })[0];"
PADDED, NOT_PADDED = "$.pad == ''", "$.pad != ''"  # simple: the core evaluates them itself
PAD_SOUGHT = "[$.pad].some(function (x) { return x == ''; })"
JQ_WRAP = "{got: .n}"
JQ_MANY = ".n, .n"
JQ_ERROR = 'error("no")'

_PASSES = re.compile(r"\[\$\.(\w+)\.iteration\]\.some\(function \(n\) { return n < (\d+); }\)")


def fewer_passes(loop: str, count: int) -> str:
    """Return a condition for a DO_WHILE of ``count`` passes."""
    return f"[$.{loop}.iteration].some(function (n) {{ return n < {count}; }})"


def _case(values: dict[str, Any]) -> Any:
    return to_text(values.get("which"))


def to_text(value: Any) -> str:
    """Return what JavaScript's String() gives for the values that inputs have."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _wrap(values: dict[str, Any]) -> Any:
    return {"got": values.get("n")}


_SCRIPTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    CASE: _case,
    WRAP: _wrap,
    LAMBDA: _wrap,
    THROW: lambda _: Failure("Error: no"),
    PADDED: lambda values: values.get("pad") == "",
    NOT_PADDED: lambda values: values.get("pad") != "",
    PAD_SOUGHT: lambda values: values.get("pad") == "",
}
_PROGRAMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    JQ_WRAP: lambda values: [_wrap(values)],
    JQ_MANY: lambda values: [values.get("n"), values.get("n")],
    JQ_ERROR: lambda _: Failure("jq: error: no"),
}


def run_script(source: str, values: dict[str, Any]) -> Any:
    """Return what a script gives for ``$``; a Failure when it throws."""
    wrapped = re.fullmatch(r"\(function \(\) {\n(.*)\n}\)\(\)", source, re.DOTALL)
    source = wrapped[1] if wrapped else source
    passes = _PASSES.fullmatch(source)
    if passes is not None:
        return values[passes[1]]["iteration"] < int(passes[2])
    return _SCRIPTS[source](values)


def run_jq(program: str, values: dict[str, Any]) -> Any:
    """Return all that a program gives, as a list; a Failure when it fails."""
    return _PROGRAMS[program](values)


def answer_script(source: str, argument: bytes) -> Payload | Failure:
    """Answer a script as a sandbox child does."""
    return _answer(run_script(source, msgspec.json.decode(argument)))


def answer_jq(program: str, argument: bytes) -> Payload | Failure:
    """Answer a jq program as a sandbox child does."""
    return _answer(run_jq(program, msgspec.json.decode(argument)))


def _answer(value: Any) -> Payload | Failure:
    return value if isinstance(value, Failure) else Payload.of(value)
