"""Which runs of a workflow are to go, by its definition and the server's settings. Pure."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from batuta.model.definition import Retention, RetentionRule
from batuta.model.execution import WorkflowStatus

DAY_MS = 86_400_000

ENDED = tuple(status.value for status in WorkflowStatus if status.is_terminal)
SUCCESSFUL = WorkflowStatus.COMPLETED.value


class Defaults(Protocol):
    """What holds where a definition says nothing; 0 is for ever. `Settings` has it."""

    @property
    def retention_days(self) -> int:
        """Days that ended runs are kept."""

    @property
    def retention_failed_days(self) -> int:
        """Days that those are kept that did not complete; 0: as the others."""

    @property
    def retention_count(self) -> int:
        """How many of the last ended runs of a workflow stay."""

    @property
    def retention_retired_days(self) -> int:
        """Days that retired tasks of kept runs are kept."""

    @property
    def sink_lag_max(self) -> int:
        """Entries of the journal that a sink may be behind and still find them."""


class Wanted(msgspec.Struct, frozen=True):
    """Runs that are to go, as ``Keep.find_ended`` asks for them."""

    statuses: tuple[str, ...]
    before_ms: int = 0
    keep_count: int = 0


def is_configured(defaults: Defaults, retention: Retention | None) -> bool:
    """Tell whether anything may ever go."""
    return any(_wanted(defaults, retention or Retention(), now_ms=DAY_MS * 100_000))


def wanted(defaults: Defaults, retention: Retention | None, *, now_ms: int) -> list[Wanted]:
    """Return which ended runs of a workflow are to go now; empty: none of them."""
    return list(_wanted(defaults, retention or Retention(), now_ms=now_ms))


def _wanted(defaults: Defaults, retention: Retention, *, now_ms: int) -> Iterator[Wanted]:
    own = retention.by_status
    general = tuple(status for status in ENDED if status not in own)
    by_days: dict[int, tuple[str, ...]] = {}
    for status in general:
        days = _days(defaults, retention, status)
        by_days[days] = (*by_days.get(days, ()), status)
    count = _first(retention.count, defaults.retention_count)
    if count and general:
        yield Wanted(general, keep_count=count)
    for days, statuses in by_days.items():
        if days:
            yield Wanted(statuses, before_ms=now_ms - days * DAY_MS)
    for status, rule in own.items():
        days = _first(rule.days, _days(defaults, retention, status))
        count = _first(rule.count, retention.count, defaults.retention_count)
        if days or count:
            before_ms = now_ms - days * DAY_MS if days else 0
            yield Wanted((status,), before_ms=before_ms, keep_count=count)


def _days(defaults: Defaults, retention: Retention | RetentionRule, status: str) -> int:
    days = defaults.retention_days
    if status != SUCCESSFUL and defaults.retention_failed_days:
        days = defaults.retention_failed_days
    return _first(retention.days, days)


def _first(*numbers: int | None) -> int:
    return next(number for number in numbers if number is not None)
