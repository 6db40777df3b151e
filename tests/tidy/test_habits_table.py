"""The table of Conductor's 62 habits in docs/reference/compatibility.md: whole, and shown by tests.

A row names what shows it: a test function, as ``path::name``, or a case of tests/scenario.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
TITLE = "## Where re-implementations go wrong"
HABITS = range(1, 63)
VERDICT = re.compile(r"\*\*(same|differs|later)\*\*")
SHOWN = re.compile(r"`([^`]+)`")
CITED = re.compile(r"gotchas?(?:\.md)? (\d+)")
REASON = re.compile(r"\b(because|since)\b")
WORDS_MIN = 6  # of a cell: fewer say that, not how


def _rows() -> dict[str, list[str]]:
    """Return the cells of each row, by its number as it is written."""
    _, _, section = PAGE.read_text("utf-8").partition(f"{TITLE}\n")
    section = section.partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows[2:]}


ROWS = _rows()
each_row = pytest.mark.parametrize("number", list(ROWS))


@functools.cache
def _tests_of(path: Path) -> set[str]:
    """Return what pytest collects from a file: functions, and methods of test classes."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        names |= {
            one.name for one in inside if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
    return {name for name in names if name.startswith("test_")}


def test_each_habit_has_its_row_in_order() -> None:
    section = PAGE.read_text("utf-8").partition(f"{TITLE}\n")[2].partition("\n## ")[0]

    numbers = re.findall(r"^\| (\d+) \|", section, re.MULTILINE)

    assert numbers == [str(number) for number in HABITS], "each once, none left out"


@each_row
def test_a_row_says_what_conductor_does_what_we_do_and_what_shows_it(number: str) -> None:
    conductor, ours, shown = ROWS[number]

    assert len(conductor.split()) >= WORDS_MIN
    assert VERDICT.match(ours), "begin with **same**, **differs** or **later**"
    assert SHOWN.findall(shown), "name a test"


@each_row
def test_a_deviation_has_its_reason(number: str) -> None:
    ours = ROWS[number][1]

    for verdict, words in zip(VERDICT.findall(ours), VERDICT.split(ours)[2::2], strict=True):
        if verdict != "same":
            assert len(words.split()) >= WORDS_MIN, f"{verdict}: how, and why?"
        if verdict == "differs":
            assert REASON.search(words), "say why it is better so"


@each_row
def test_what_shows_a_row_is_a_test_that_is_run(number: str) -> None:
    for shown in SHOWN.findall(ROWS[number][2]):
        path, _, name = shown.partition("::")
        file = ROOT / path
        assert file.is_file(), f"{path} is not there"
        if name:
            assert file.name.startswith("test_")
            assert name in _tests_of(file), f"{path} has no {name}"
        else:
            assert path.startswith("tests/scenario/cases/"), f"{path} is no case"
            assert file.suffix == ".txt"


def test_each_case_that_cites_a_habit_cites_one_that_has_a_row() -> None:
    cases = (ROOT / "tests" / "scenario" / "cases").glob("*.txt")
    cited = {number for case in cases for number in CITED.findall(case.read_text("utf-8"))}

    assert cited <= set(ROWS), f"no such habit: {cited - set(ROWS)}"
