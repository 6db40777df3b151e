"""Each file of ``cases`` is one behaviour of Conductor: the rule it quotes, commands, results."""

import re
from pathlib import Path

import pytest

from tests.scenario.script import parse, run

CASES = sorted((Path(__file__).parent / "cases").glob("*.txt"))
RULE = re.compile(r"semantics\.md [a-g](\.\d+)?|gotchas\.md \d+|DESIGN\.md \d+")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_case_goes_as_its_rule_says(case: Path, request: pytest.FixtureRequest) -> None:
    expected = case.read_text("utf-8")

    happened = run(expected)

    if request.config.getoption("--rewrite", default=False):
        case.write_text(happened, "utf-8")
    else:
        assert happened == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_case_quotes_the_rule_it_shows(case: Path) -> None:
    head = parse(case.read_text("utf-8"))[0].head

    assert head[0].startswith("# "), "the first line says what the case shows"
    assert any(RULE.search(line) and '"' in line for line in head), "it quotes its rule"


def test_there_are_cases() -> None:
    assert len(CASES) >= 60
