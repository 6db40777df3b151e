"""The conformance suite of stores: every promise of ``batuta.store.base``, as tests.

A new store joins with one fixture, in a test file of its own::

    class TestMyStore(StoreSuite):
        @pytest.fixture
        async def store(self) -> AsyncIterator[Subject]:
            store = await MyStore.open(...)
            yield store
            await store.close()

The fixture gives an empty store. Nothing in the suite sleeps or looks at the wall clock.
"""

import pytest

from batuta.testing.cases.catalog import CatalogCases
from batuta.testing.cases.conflict import ConflictCases
from batuta.testing.cases.journal import JournalCases
from batuta.testing.cases.lease import LeaseCases
from batuta.testing.cases.payload import PayloadCases
from batuta.testing.cases.queue import QueueCases
from batuta.testing.cases.run import RunCases
from batuta.testing.cases.search import SearchCases
from batuta.testing.cases.subject import Subject
from batuta.testing.cases.timer import TimerCases
from batuta.testing.model import ModelCases

__all__ = ["StoreSuite", "Subject"]


class StoreSuite(
    RunCases,
    PayloadCases,
    ConflictCases,
    QueueCases,
    LeaseCases,
    TimerCases,
    JournalCases,
    CatalogCases,
    SearchCases,
    ModelCases,
):
    """All cases; inherit it and give it a ``store``."""

    pytestmark = pytest.mark.asyncio
