"""Which runs are to go: the definition's word before the server's."""

from typing import Any

import msgspec
import pytest

from batuta.core.definition.normalize import read_workflow_def, to_document
from batuta.core.definition.validate import validate_workflow_def
from batuta.model.definition import Retention, RetentionRule
from batuta.model.error import InvalidError
from batuta.runtime.keep.plan import DAY_MS, ENDED, Wanted, is_configured, wanted

NOW_MS = 1_790_000_000_000
FAILED = ("FAILED", "TIMED_OUT", "TERMINATED")


class Settings(msgspec.Struct, frozen=True):
    """What the server says."""

    retention_days: int = 0
    retention_failed_days: int = 0
    retention_count: int = 0
    retention_retired_days: int = 0
    sink_lag_max: int = 1_000


def before(days: int) -> int:
    """Return the time that many days ago."""
    return NOW_MS - days * DAY_MS


CASES: list[tuple[Settings, Retention | None, list[Wanted]]] = [
    (Settings(), None, []),
    (Settings(), Retention(), []),
    (Settings(retention_retired_days=3), None, []),
    (Settings(retention_days=7), None, [Wanted(ENDED, before(7))]),
    (Settings(retention_count=9), None, [Wanted(ENDED, keep_count=9)]),
    (Settings(retention_failed_days=30), None, [Wanted(FAILED, before(30))]),
    (
        Settings(retention_days=7, retention_failed_days=30, retention_count=9),
        None,
        [
            Wanted(ENDED, keep_count=9),
            Wanted(("COMPLETED",), before(7)),
            Wanted(FAILED, before(30)),
        ],
    ),
    (Settings(), Retention(days=2, count=5), [Wanted(ENDED, 0, 5), Wanted(ENDED, before(2))]),
    # what a definition says beats all of the server's days, those of failed runs too
    (
        Settings(retention_days=7, retention_failed_days=9),
        Retention(days=2),
        [
            Wanted(ENDED, before(2)),
        ],
    ),
    (Settings(retention_days=7, retention_count=9), Retention(days=0, count=0), []),
    (
        Settings(),
        Retention(days=2, by_status={"FAILED": RetentionRule(days=90)}),
        [
            Wanted(("COMPLETED", "TIMED_OUT", "TERMINATED"), before(2)),
            Wanted(("FAILED",), before(90)),
        ],
    ),
    # a rule of a status that leaves a field out has it from one level above
    (
        Settings(retention_count=8),
        Retention(days=2, by_status={"FAILED": RetentionRule(days=0)}),
        [
            Wanted(("COMPLETED", "TIMED_OUT", "TERMINATED"), 0, 8),
            Wanted(("COMPLETED", "TIMED_OUT", "TERMINATED"), before(2)),
            Wanted(("FAILED",), 0, 8),
        ],
    ),
    (
        Settings(retention_failed_days=30),
        Retention(by_status={"TERMINATED": RetentionRule(count=1)}),
        [Wanted(("FAILED", "TIMED_OUT"), before(30)), Wanted(("TERMINATED",), before(30), 1)],
    ),
]


@pytest.mark.parametrize(("settings", "retention", "expected"), CASES)
def test_what_goes_is_what_definition_and_settings_say(
    settings: Settings, retention: Retention | None, expected: list[Wanted]
) -> None:
    found = wanted(settings, retention, now_ms=NOW_MS)

    assert found == expected
    assert is_configured(settings, retention) == bool(expected)


def document(**retention: Any) -> dict[str, Any]:
    """Return a definition with a retention."""
    task = {"name": "a", "taskReferenceName": "a", "type": "SIMPLE"}
    return {"name": "w", "tasks": [task], "retention": retention}


def test_a_retention_comes_back_as_it_was_written() -> None:
    given = {"days": 30, "count": 1_000, "byStatus": {"FAILED": {"days": 0}, "COMPLETED": {}}}

    read = read_workflow_def(document(**given))

    assert to_document(read)["retention"] == given
    assert validate_workflow_def(read, strict=True) == []


def test_a_definition_without_retention_shows_none() -> None:
    read = read_workflow_def({"name": "w"})

    assert "retention" not in to_document(read)


@pytest.mark.parametrize(
    ("retention", "path"),
    [
        ({"days": -1}, "retention.days"),
        ({"days": 40_000}, "retention.days"),
        ({"count": 1.5}, "retention.count"),
        ({"byStatus": []}, "retention.byStatus"),
        ({"byStatus": {"FAILED": {"days": "soon"}}}, "retention.byStatus.FAILED.days"),
    ],
)
def test_a_retention_of_a_wrong_type_is_refused(retention: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read_workflow_def(document(**retention))

    assert [fault.path for fault in refused.value.faults] == [path]


@pytest.mark.parametrize("word", ["RUNNING", "PAUSED", "failed", "DONE", ""])
def test_a_status_that_no_run_ends_with_is_a_fault(word: str) -> None:
    read = read_workflow_def(document(byStatus={word: {"days": 1}}))

    [fault] = validate_workflow_def(read, strict=False)

    assert fault.path == f"retention.byStatus.{word}"
    assert "COMPLETED, FAILED, TIMED_OUT, TERMINATED" in fault.message
