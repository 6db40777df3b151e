"""What a jq program gives, and what is said when it gives nothing; run in a real child."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from batuta.model.change import Failure
from batuta.model.payload import Payload
from batuta.runtime.sandbox import ARGUMENT_BYTES_MAX, RESULT_BYTES_MAX, SOURCE_BYTES_MAX
from batuta.runtime.sandbox.pool import Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = {"n": 3, "list": [{"id": 1, "ok": True}, {"id": 2, "ok": False}], "text": "a\nb,é😀"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.stop()


async def transform(sandbox: Sandbox, program: str, argument: Any = None) -> Any:
    answer = await sandbox.transform(program, msgspec.json.encode(argument or INPUT))
    return answer.value if isinstance(answer, Payload) else answer


@pytest.mark.parametrize(
    ("program", "values"),
    [
        (".", [INPUT]),
        (".n", [3]),
        (".list[].id", [1, 2]),
        ("[.list[] | select(.ok)]", [[{"id": 1, "ok": True}]]),
        ("empty", []),
        (".missing", [None]),
        (".text", ["a\nb,é😀"]),
        (".text | ascii_downcase, length", ["a\nb,é😀", 6]),
        (".list | map(.id) | add / length", [1.5]),
        ("{(.text[0:1]): .n}", [{"a": 3}]),
        (".list | group_by(.ok) | map(length)", [[1, 1]]),
        ("reduce .list[] as $x (0; . + $x.id)", [3]),
        ("def f(x): x * 2; f(.n)", [6]),
        ('try error("x") catch .', ["x"]),
        ("1.0, 1e3, nan, null", [1, 1000, None, None]),
        (".n as $n | [range($n)]", [[0, 1, 2]]),
        ("halt", []),
    ],
)
async def test_a_program_gives_all_its_values(
    sandbox: Sandbox, program: str, values: list[Any]
) -> None:
    assert await transform(sandbox, program) == values


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("{a", "syntax error"),
        ('error("boom")', "boom"),
        (".n.x", "Cannot index number"),
        ('1, 2, error("late")', "late"),
        ("nothing", "nothing/0 is not defined"),
        ("", "Top-level program not given"),
        ("input", "break"),
    ],
)
async def test_a_program_that_fails_says_why(sandbox: Sandbox, program: str, message: str) -> None:
    answer = await transform(sandbox, program)

    assert isinstance(answer, Failure), answer
    assert message in answer.message
    assert not answer.is_late


@pytest.mark.parametrize("program", ["env", "$ENV", "env | keys", "[env[]]"])
async def test_a_program_finds_no_environment(sandbox: Sandbox, program: str) -> None:
    assert await transform(sandbox, program) in ([{}], [[]])


@pytest.mark.parametrize(
    "program",
    [
        'import "a" as a; 1',
        'include "a"; 1',
        'import "/etc/passwd" as $x; $x',
        'import "passwd" as $x {search: "/etc"}; $x',
        'import "a" as a {search: "./"}; a::f',
        '"a" | modulemeta',
        "input_filename | error",
        "get_search_list | error",
    ],
)
async def test_a_program_reaches_no_file(sandbox: Sandbox, program: str) -> None:
    assert isinstance(await transform(sandbox, program), Failure)


async def test_a_failure_leaves_nothing_behind_in_a_program_that_is_kept(sandbox: Sandbox) -> None:
    program = ".list[] | if .ok then .id else error(.id | tostring) end"

    answers = [await transform(sandbox, program) for _ in range(3)]

    assert [answer.message for answer in answers] == ["2"] * 3
    assert await transform(sandbox, program, {"list": [{"ok": True, "id": 7}]}) == [7]


async def test_each_size_has_its_limit(sandbox: Sandbox) -> None:
    too_long = await transform(sandbox, "1" + " " * SOURCE_BYTES_MAX)
    too_much = await sandbox.transform(".", b'"' + b"x" * ARGUMENT_BYTES_MAX + b'"')
    too_large = await transform(sandbox, f'"x" * {RESULT_BYTES_MAX}')

    assert "bytes" in too_long.message
    assert isinstance(too_much, Failure)
    assert "return less" in too_large.message
