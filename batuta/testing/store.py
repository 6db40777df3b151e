"""The conformance suite of stores: every promise of ``batuta.store.base``, as tests.

A new store joins with one fixture, in a test file of its own::

    class TestMyStore(StoreSuite):
        @pytest.fixture
        async def store(self) -> AsyncIterator[Subject]:
            store = await MyStore.open(...)
            yield store
            await store.close()

The fixture gives an empty store. One whose data outlives it adds ``DurableStoreSuite``, which
wants a fixture ``reopen`` beside ``store``; one that several nodes can open at once adds
``SharedStoreSuite``, which wants a fixture ``rival``. Nothing sleeps or looks at the wall clock.
"""

import pytest

from batuta.testing.cases.catalog import CatalogCases
from batuta.testing.cases.conflict import ConflictCases
from batuta.testing.cases.due.failing import (
    FailingCases,
    FailingDurabilityCases,
    FailingRivalCases,
)
from batuta.testing.cases.due.order import SendOrderCases
from batuta.testing.cases.journal import JournalCases
from batuta.testing.cases.lease import LeaseCases
from batuta.testing.cases.payload import PayloadCases
from batuta.testing.cases.queue import QueueCases
from batuta.testing.cases.run import RunCases
from batuta.testing.cases.search import SearchCases
from batuta.testing.cases.sharing import DurabilityCases, RivalCases
from batuta.testing.cases.subject import Subject
from batuta.testing.cases.timer import TimerCases
from batuta.testing.cursor import CursorCases, CursorDurabilityCases, CursorRivalCases
from batuta.testing.keep import KeepCases
from batuta.testing.limit import LimitCases
from batuta.testing.model import ModelCases
from batuta.testing.query import QueryCases

__all__ = ["DurableStoreSuite", "SharedStoreSuite", "StoreSuite", "Subject"]


class StoreSuite(
    RunCases,
    PayloadCases,
    ConflictCases,
    QueueCases,
    LimitCases,
    LeaseCases,
    TimerCases,
    FailingCases,
    SendOrderCases,
    JournalCases,
    CursorCases,
    CatalogCases,
    SearchCases,
    QueryCases,
    KeepCases,
    ModelCases,
):
    """All cases; inherit it and give it a ``store``."""

    pytestmark = pytest.mark.asyncio


class DurableStoreSuite(DurabilityCases, FailingDurabilityCases, CursorDurabilityCases):
    """Cases for a store that keeps its data.

    ``reopen``: an async function that closes the store given and returns it opened again.
    """

    pytestmark = pytest.mark.asyncio


class SharedStoreSuite(RivalCases, FailingRivalCases, CursorRivalCases):
    """Cases for a store that two nodes use at once. ``rival``: a second one on the same data."""

    pytestmark = pytest.mark.asyncio
