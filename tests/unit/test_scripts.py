"""What a script's value is, and what is said when it has none; run in a real child."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from batuta.model.change import Failure
from batuta.model.error import BusyError
from batuta.model.payload import Payload
from batuta.runtime.sandbox import ARGUMENT_BYTES_MAX, RESULT_BYTES_MAX, SOURCE_BYTES_MAX
from batuta.runtime.sandbox.pool import Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = {"n": 3, "name": "ann", "tags": ["a", "b"], "deep": {"x": {"y": 1.5}}, "none": None}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


async def value_of(sandbox: Sandbox, source: str, argument: Any = None) -> Any:
    answer = await sandbox.evaluate(source, msgspec.json.encode(argument or INPUT))
    assert isinstance(answer, Payload), answer
    return answer.value


async def message_of(sandbox: Sandbox, source: str, argument: Any = None) -> str:
    answer = await sandbox.evaluate(source, msgspec.json.encode(argument or INPUT))
    assert isinstance(answer, Failure), answer
    return answer.message


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("$.n + 1", 4),
        ("1.0", 1),
        ("$.deep.x.y * 2", 3),
        ("$.deep.x.y", 1.5),
        ("0.1 + 0.2", 0.30000000000000004),
        ("2 ** 53", 2**53),
        ("-0", 0),
        ("undefined", None),
        ("null", None),
        ("$.missing", None),
        ("0 / 0", None),
        ("[1, undefined, 0 / 0]", [1, None, None]),
        ("({a: 1, b: undefined, c: function () {}})", {"a": 1}),
        ("'\\u00e9\\u2028\\ud83d\\ude00'", "é\u2028😀"),
        ("$.tags.map(t => t + $.n)", ["a3", "b3"]),
        ("$", INPUT),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("JSON.stringify($.deep)", '{"x":{"y":1.5}}'),
    ],
)
async def test_the_value_is_that_of_the_last_expression_as_json(
    sandbox: Sandbox, source: str, value: Any
) -> None:
    found = await value_of(sandbox, source)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("function e() { if ($.n > 2) { return 'many'; } else { return 'few'; } } e();", "many"),
        ("(function () { return $.name; })()", "ann"),
        ("var x = $.n; var y = 2; x * y", 6),
        ("let s = 0; for (const t of $.tags) { s += t.length; } s;", 2),
        ("if ($.n == 3) { 'three' } else { 'other' }", "three"),
        ("switch ($.name) { case 'ann': 1; break; default: 2 }", 1),
        ("'use strict'; const r = {ok: true}; r", {"ok": True}),
        ("try { null.x } catch (e) { 'caught' }", "caught"),
        ("/^(\\w)nn$/.exec($.name)[1]", "a"),
        ("$.n > 2 // a comment at the end", True),
        ("", None),
    ],
)
async def test_every_form_of_statement_has_a_value(
    sandbox: Sandbox, source: str, value: Any
) -> None:
    assert await value_of(sandbox, source) == value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("let x = 1;\nlet y = nope;", "ReferenceError: nope is not defined (line 2)"),
        ("$.missing.x", "TypeError: cannot read property 'x' of undefined (line 1)"),
        ("1 +\n\n(", "SyntaxError: unexpected token in expression: '' (line 3)"),
        ("\nfunction f() {\n  throw new Error('no\\nway');\n}\nf()", "Error: no\nway (line 3)"),
        ("throw 'a text'", "a text"),
        ("throw undefined", "undefined"),
        ("$.n = 1n; $.n", "TypeError: the value is a bigint, which JSON cannot hold"),
        ("e => e", "TypeError: the value is a function, which JSON cannot hold"),
        ("Symbol('x')", "TypeError: the value is a symbol, which JSON cannot hold"),
        ("(async () => 1)()", "TypeError: the value is a promise; nothing here waits for one"),
        ("var a = {}; a.a = a; a", "TypeError: circular reference"),
        ("return 5", "SyntaxError: return not in a function (line 1)"),
        ("'\\ud800'", "the script's value is not JSON"),
    ],
)
async def test_a_script_without_a_value_says_why_and_where(
    sandbox: Sandbox, source: str, message: str
) -> None:
    assert (await message_of(sandbox, source)).startswith(message)


async def test_an_error_message_is_cut(sandbox: Sandbox) -> None:
    message = await message_of(sandbox, "throw new Error('x'.repeat(1e6))")

    assert len(message) < 1_100


async def test_nothing_is_there_but_the_language_and_the_input(sandbox: Sandbox) -> None:
    names = set(await value_of(sandbox, "Object.getOwnPropertyNames(globalThis)"))

    hosts = "console print load require process std os performance java Java Polyglot Graal"
    assert {"$", "JSON", "Math", "RegExp", "Map"} <= names
    assert not names & set(hosts.split())
    assert not names & {"setTimeout", "queueMicrotask", "atob", "Atomics", "SharedArrayBuffer"}


async def test_what_one_script_leaves_behind_the_next_does_not_see(sandbox: Sandbox) -> None:
    await value_of(sandbox, "globalThis.left = 1; Array.prototype.map = 1; Object.x = 2; 0")

    assert await value_of(sandbox, "typeof left + typeof [].map + typeof Object.x") == (
        "undefinedfunctionundefined"
    )


async def test_a_script_cannot_change_its_input(sandbox: Sandbox) -> None:
    argument = msgspec.json.encode(INPUT)
    before = bytes(argument)

    await sandbox.evaluate("$.n = 99; delete $.name; $.tags.push(1); $", argument)

    assert argument == before
    assert await value_of(sandbox, "$.n") == 3


async def test_a_script_that_rewrites_the_language_hurts_itself_only(sandbox: Sandbox) -> None:
    tricked = "JSON.stringify = () => 'not json'; Promise.prototype.isPrototypeOf = () => true; 7"

    assert await value_of(sandbox, tricked) == 7


async def test_an_input_of_megabytes_is_read(sandbox: Sandbox) -> None:
    rows = [{"id": at, "name": "x" * 40, "tags": ["a", "b"]} for at in range(60_000)]

    assert await value_of(sandbox, "$.rows.length + $.rows[59999].id", {"rows": rows}) == 119_999


async def test_each_size_has_its_limit(sandbox: Sandbox) -> None:
    source = await message_of(sandbox, "1;" * (SOURCE_BYTES_MAX // 2) + "1")
    argument = await sandbox.evaluate("1", b'"' + b"x" * ARGUMENT_BYTES_MAX + b'"')
    result = await message_of(sandbox, f"'x'.repeat({RESULT_BYTES_MAX})")
    depth = await message_of(sandbox, "var a = []; for (var i = 0; i < 101; i++) a = [a]; a")

    assert str(SOURCE_BYTES_MAX) in source
    assert isinstance(argument, Failure)
    assert str(ARGUMENT_BYTES_MAX) in argument.message
    assert str(RESULT_BYTES_MAX) in result
    assert "nests deeper than 100 levels" in depth
    assert await value_of(sandbox, f"'x'.repeat({RESULT_BYTES_MAX - 2})")


async def test_scripts_asked_for_at_once_are_all_answered_with_their_own(sandbox: Sandbox) -> None:
    answers = await asyncio.gather(
        *(value_of(sandbox, "$.n * 2", {"n": number}) for number in range(300))
    )

    assert answers == [number * 2 for number in range(300)]


async def test_too_many_waiting_scripts_are_refused_at_once() -> None:
    sandbox = Sandbox(waiting_max=3)

    answers = await asyncio.gather(
        *(sandbox.evaluate("1", b"{}") for _ in range(5)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [Payload] * 3 + [BusyError] * 2
    await sandbox.stop()


async def test_nothing_is_started_or_imported_before_the_first_script() -> None:
    program = (
        "import sys\n"
        "import batuta.runtime.sandbox.pool as pool\n"
        "print('_quickjs' in sys.modules, 'jq' in sys.modules, 'ctypes' in sys.modules)\n"
    )
    sandbox = Sandbox()

    await sandbox.start()

    assert sandbox.report()["children"] == []
    assert sandbox.report()["measures"] is None
    await sandbox.stop()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert printed.split() == [b"False"] * 3
