"""Bugs planted on limits, on pages and on what the journal is read by."""

import contextlib
from typing import Any
from unittest import mock

from msgspec.structs import replace

from batuta.sinks.relay import Relay
from batuta.store.memory import queue, store

Patch = contextlib.AbstractContextManager[Any]


def held_not_counted() -> Patch:
    """A claim counts nothing that workers hold already."""
    real = queue.limit_use
    return mock.patch.object(queue, "limit_use", lambda *given: replace(real(*given), held=0))


def taken_not_counted() -> Patch:
    """A claim counts nothing that was taken in the window."""
    real = queue.limit_use
    return mock.patch.object(queue, "limit_use", lambda *given: replace(real(*given), taken=0))


def pages_overlap() -> Patch:
    """Each page but the first begins with the last run of the one before."""
    real = store.find_workflows

    def find(query: Any, runs: Any, *, start: int, **given: Any) -> Any:
        return real(query, runs, start=max(start - 1, 0), **given)

    return mock.patch.object(store, "find_workflows", find)


def task_lost_between_pages() -> Patch:
    """Each page of tasks but the first leaves one out."""
    real = store.find_tasks

    def find(query: Any, tasks: Any, *, start: int, **given: Any) -> Any:
        return real(query, tasks, start=start + bool(start), **given)

    return mock.patch.object(store, "find_tasks", find)


def cursor_before_delivery() -> Patch:
    """A reader's cursor is moved on before the sink has what it passes."""
    real = Relay._deliver

    async def deliver(self: Any, records: Any, position: int) -> bool:
        self._position = position
        await self._store_position()
        return await real(self, records, position)

    return mock.patch.object(Relay, "_deliver", deliver)


def journal_out_of_order() -> Patch:
    """The journal is read newest first."""
    real = store.MemoryStore.read_after

    async def read_after(self: Any, *given: Any, **named: Any) -> Any:
        return [*reversed(await real(self, *given, **named))]

    return mock.patch.object(store.MemoryStore, "read_after", read_after)


READER_PLANTS = (
    held_not_counted,
    taken_not_counted,
    pages_overlap,
    task_lost_between_pages,
    cursor_before_delivery,
    journal_out_of_order,
)
