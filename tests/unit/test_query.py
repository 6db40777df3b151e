"""Reading queries: random text is read or refused, and what is read means what it says."""

import contextlib
import random

import pytest

from batuta.model.error import InvalidError
from batuta.store.query.parse import parse_query, parse_sort
from batuta.store.query.tree import FIELDS, Comparison, Every, Kind, Some, Subject

WORDS = [
    "status", "workflowType", "startTime", "version", "workflowId", "x", "AND", "OR", "NOT", "IN",
    "(", ")", ",", "=", "!=", "<", ">=", "'", '"', "''", "FAILED", "5", "*", " ", "  ", "\t", "\\",
    "2026-01-01", "é", "\U0001f600", "null", "-", ":", "|", ";", "--", "%",
]  # fmt: skip
WORKFLOW = FIELDS[Subject.WORKFLOW]


def refusal(text: str) -> InvalidError | None:
    """Read a query; give the refusal, if it is one."""
    try:
        parse_query(text, Subject.WORKFLOW, free_text=text)
    except InvalidError as error:
        return error
    return None


@pytest.mark.parametrize("seed", range(40))
def test_random_text_is_read_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    read = 0
    for _ in range(100):
        glue = chance.choice(["", " "])
        text = glue.join(chance.choices(WORDS, k=chance.randint(1, 12)))
        refused = refusal(text)
        if refused is None:
            read += 1
            continue
        assert refused.message.startswith("query: at character "), text
        assert refused.faults[0].path == "query"
        with contextlib.suppress(InvalidError):
            parse_sort(text, Subject.WORKFLOW)
    assert read < 50, "most of it is no query"


@pytest.mark.parametrize("part", [" ", "a ", "a AND ", "' ", "(", "a OR", "NOT ", "IN(", "\t\n"])
def test_the_longest_text_is_read_in_no_time(part: str) -> None:
    text = ("workflowType=a" + part * 8_192)[:8_192]

    refused = refusal(text)

    assert refused is None or len(refused.message) < 1_000


def test_and_binds_tighter_than_or_and_not_is_carried_to_the_tests() -> None:
    read = parse_query("NOT (version=1 AND version<2 OR priority=3)", Subject.WORKFLOW).where

    version, priority = WORKFLOW["version"], WORKFLOW["priority"]
    assert read == Every(
        (
            Some(
                (
                    Comparison(version, "IN", (1,), is_negated=True),
                    Comparison(version, "<", (2,), is_negated=True),
                )
            ),
            Comparison(priority, "IN", (3,), is_negated=True),
        )
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a b", "a b"),
        ("  a  ", "a"),
        ("'a'", "a"),
        ("' a '", "a"),
        ("'it''s'", "it's"),
        ('"say ""x"""', 'say "x"'),
        ("'a AND b'", "a AND b"),
        ("'a)'", "a)"),
        ("sand", "sand"),
        ("a=b==", "a=b=="),
        ("a,b", "a,b"),
        ("ANDROID ORDER", "ANDROID ORDER"),
    ],
)
def test_a_value_is_what_is_between_its_quotes_or_around_it(written: str, read: str) -> None:
    [text] = parse_query(f"workflowType={written} AND version=1", Subject.WORKFLOW).where.parts[:1]

    assert text == Comparison(WORKFLOW["workflowType"], "IN", (read,))


@pytest.mark.parametrize(
    ("written", "at_ms"),
    [
        ("0", 0),
        ("1767225600000", 1_767_225_600_000),
        ("2026-01-01", 1_767_225_600_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("'2026-01-01 01:00:00.250+01:00'", 1_767_225_600_250),
    ],
)
def test_a_time_is_unix_milliseconds_or_iso_8601(written: str, at_ms: int) -> None:
    where = parse_query(f"endTime>{written}", Subject.WORKFLOW).where

    assert where == Comparison(WORKFLOW["endTime"], ">", (at_ms,))
    assert WORKFLOW["endTime"].kind is Kind.INSTANT
