"""Hostile jq programs: each is ended in time, and the next program works."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from batuta.model.change import Failure
from batuta.model.payload import Payload
from batuta.runtime.sandbox import time_message
from batuta.runtime.sandbox.pool import Sandbox

SCRIPT_MS_MAX = 400
LATE_MS_MAX = 600  # a second attempt after a death, and the start of another child

HOSTILE = {
    "an endless recursion": "def f: f; f",
    "an endless recursion that grows": "def f: 1 + f; f",
    "an endless repeat": "[repeat(1)]",
    "an endless last": "last(repeat(1))",
    "an endless until": "until(false; .)",
    "an endless while": "[while(true; . )]",
    "an endless range": "last(range(1e12))",
    "a huge range": "[range(1e9)] | length",
    "a huge string": '"x" * 1e9 | length',
    "a string that doubles": 'def f: . + . | f; "x" | f',
    "an array that doubles": "def f: . + . | f; [1] | f",
    "an object that grows": "reduce range(1e9) as $i ({}; .[$i | tostring] = $i)",
    "a huge index": ".list[1e9] = 1",
    "a negative stride": "[range(0; 1e12; 1e-9)] | length",
    "a combination": "[range(1e4)] | [combinations(5)] | length",
    "combinations of combinations": "[[range(100)] | combinations(8)] | length",
    "a catastrophic regex": '("a" * 50 + "b") | test("(a+)+$")',
    "a catastrophic replacement": '("x" * 60) | gsub("(x+x+)+y"; "")',
    "a deep array": "reduce range(1e7) as $i (1; [.]) | tojson",
    "a deep path": "reduce range(1e6) as $i ([]; . + [0]) as $p | null | setpath($p; 1)",
    "deep parentheses": "(" * 50_000 + "1" + ")" * 50_000,
    "deep JSON": '("[" * 100000) | fromjson',
    "a sort of much": "[range(1e8)] | sort | length",
    "a flattening": "reduce range(1e6) as $i ([]; [.]) | flatten",
    "a limit of endless": "[limit(1e12; repeat(1))] | length",
    "a foreach": "[foreach repeat(1) as $x (0; . + $x)] | length",
    "a label that is never left": "label $out | foreach repeat(1) as $i (0; . + 1; empty)",
    "a walk of the endless": "def f: [., .] | f; f",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)
    yield sandbox
    await sandbox.stop()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_program_fails_in_time_and_the_next_one_works(
    sandbox: Sandbox, program: str
) -> None:
    assert await sandbox.transform(".x", b'{"x":1}') == Payload(b"[1]")

    async with asyncio.timeout((SCRIPT_MS_MAX + LATE_MS_MAX) / 1_000):
        answer = await sandbox.transform(program, b'{"list":[]}')

    assert isinstance(answer, Failure), answer
    assert await sandbox.transform(".x", b'{"x":2}') == Payload(b"[2]")
    assert await sandbox.evaluate("$.x", b'{"x":3}') == Payload(b"3")


async def test_an_endless_program_is_killed_at_the_deadline_and_said_to_be_late() -> None:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)

    answer = await sandbox.transform("def f: f; f", b"null")

    assert answer == Failure(time_message(SCRIPT_MS_MAX), is_late=True)
    assert sandbox.report()["kills"] == 1
    await sandbox.stop()
