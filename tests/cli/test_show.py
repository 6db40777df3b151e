"""How a run is drawn: its tree, its signs, its durations, with and without a terminal."""

import io
import re
from typing import Any

import pytest

from batuta.cli.show.style import Style
from batuta.cli.show.tree import duration, tree_lines
from batuta.cli.show.watch import _cut

NOW_MS = 1_763_625_600_000


class Stream(io.StringIO):
    """A stream that says what a test wants of it."""

    def __init__(self, *, is_tty: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._is_tty = is_tty
        self._encoding = encoding

    def isatty(self) -> bool:
        return self._is_tty

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def simple(name: str) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE"}


def task(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"referenceTaskName": name, "taskId": name, "status": status, **more}


def drawn(tasks: list[dict[str, Any]], *nodes: dict[str, Any], **more: Any) -> list[str]:
    run = {
        "workflowName": "w",
        "workflowId": "id",
        "status": "RUNNING",
        "createTime": NOW_MS - 1_500,
        "workflowDefinition": {"tasks": list(nodes)},
        "tasks": tasks,
        **more,
    }
    return tree_lines(run, NOW_MS, Style(Stream(is_tty=False)))


def test_a_tree_has_the_shape_of_the_definition() -> None:
    fork = {
        "taskReferenceName": "f",
        "forkTasks": [[simple("a"), simple("b")], [simple("c")]],
    }

    lines = drawn([task("f", "COMPLETED"), task("a", "IN_PROGRESS", startTime=NOW_MS - 40)], fork)

    assert lines == [
        "● w  RUNNING  1.5 s  id",
        "└─ ✓ f  -",
        "   ├─ branch 1",
        "   │  ├─ ● a  40 ms",
        "   │  └─ · b",
        "   └─ branch 2",
        "      └─ · c",
    ]


def test_the_way_that_was_not_taken_is_left_out_once_it_is_known() -> None:
    switch = {
        "taskReferenceName": "s",
        "decisionCases": {"yes": [simple("a")]},
        "defaultCase": [simple("b")],
    }

    before = drawn([], switch)
    after = drawn([task("s", "COMPLETED"), task("b", "SCHEDULED")], switch)

    assert [line.strip("│├└─ ·") for line in before[1:]] == ["s", "yes", "a", "otherwise", "b"]
    assert after[2:] == ["   └─ otherwise", "      └─ ○ b"]


def test_a_retry_shows_its_attempt_its_wait_and_its_reason() -> None:
    tasks = [
        task("a", "FAILED", reasonForIncompletion="lost"),
        task(
            "a",
            "SCHEDULED",
            retryCount=1,
            callbackAfterSeconds=30,
            reasonForIncompletion="lost",
        ),
    ]

    assert drawn(tasks, simple("a"))[1] == "└─ ○ a  attempt 2  waits 30 s"
    assert drawn(tasks[:1], simple("a"))[1] == "└─ ✗ a  -  lost"


def test_a_loop_shows_its_latest_pass() -> None:
    loop = {"taskReferenceName": "l", "loopOver": [simple("a")]}
    tasks = [
        task("l", "IN_PROGRESS"),
        task("a__1", "COMPLETED", iteration=1),
        task("a__2", "IN_PROGRESS", iteration=2),
    ]

    assert drawn(tasks, loop)[2] == "   └─ ● a__2"


def test_an_endless_reason_takes_one_line() -> None:
    lines = drawn([], reasonForIncompletion="x\ny" * 99, status="FAILED")

    assert len(lines[-1]) == 100
    assert "\n" not in lines[-1]


@pytest.mark.parametrize(
    ("took_ms", "text"),
    [(0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (59_940, "59.9 s"), (61_000, "1 min 01 s")],
)
def test_a_duration_has_the_unit_that_fits(took_ms: int, text: str) -> None:
    assert duration(NOW_MS, NOW_MS + took_ms, 0) == text


def test_a_stream_without_unicode_gets_ascii() -> None:
    style = Style(Stream(is_tty=True, encoding="ascii"))

    style.has_colour = False
    text = style.lines("├─ │ └─") + "".join(
        style.sign(status) for status in (None, "COMPLETED", "FAILED", "IN_PROGRESS", "SCHEDULED")
    )

    assert text.isascii()


@pytest.mark.parametrize(
    ("is_tty", "environment", "has_colour", "is_live"),
    [
        (True, {}, True, True),
        (False, {}, False, False),
        (True, {"NO_COLOR": "1"}, False, True),
        (True, {"TERM": "dumb"}, False, False),
        (False, {"FORCE_COLOR": "1"}, True, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colour_is_for_terminals_and_for_who_wants_it(
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_tty: bool,
    environment: dict[str, str],
    has_colour: bool,
    is_live: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    style = Style(Stream(is_tty=is_tty))

    assert (style.has_colour, style.is_live) == (has_colour, is_live)


def test_a_line_is_cut_to_the_terminal_without_its_colours_counting() -> None:
    line = "\x1b[31mabcdef\x1b[0mghi"

    assert _cut(line, 9) == line
    assert re.sub(r"\x1b\[[0-9;]*m", "", _cut(line, 4)) == "abcd"
    assert _cut(line, 4).endswith("\x1b[0m")
