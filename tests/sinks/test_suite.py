"""The conformance suite catches sinks that break a promise: each case is asked of bad ones."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from batuta.sinks.base import Record, Sink
from batuta.testing.sink import Arrived, OutageSuite, SinkSuite
from tests.sinks.places import ListPlace, ListSink, as_arrived

CASES = [name for name in dir(SinkSuite) if name.startswith("test_")]


class Loses(ListSink):
    """Loses one record of each larger delivery."""

    async def deliver(self, records: Sequence[Record]) -> None:
        await super().deliver(records[:1] + records[2:])


class Reorders(ListSink):
    """Delivers backwards."""

    async def deliver(self, records: Sequence[Record]) -> None:
        await super().deliver(records[::-1])


class Lies(ListSink):
    """Says that records are there when they are there at the next delivery, or the end."""

    def __init__(self, arrived: list[Arrived]) -> None:
        super().__init__(arrived)
        self._late: list[Arrived] = []

    async def deliver(self, records: Sequence[Record]) -> None:
        self.arrived += self._late
        self._late = [as_arrived(record) for record in records]

    async def close(self) -> None:
        self.arrived += self._late
        self._late = []


class Cuts(ListSink):
    """Cuts off what is long."""

    async def deliver(self, records: Sequence[Record]) -> None:
        await super().deliver([replace(record, body=record.body[:65_536]) for record in records])


class Confuses(ListSink):
    """Gives all records the key of the first."""

    async def deliver(self, records: Sequence[Record]) -> None:
        key = records[0].workflow_id if records else ""
        await super().deliver([replace(record, workflow_id=key) for record in records])


class ForgetsGaps(ListSink):
    """Thinks that what has no key is nothing."""

    async def deliver(self, records: Sequence[Record]) -> None:
        await super().deliver([record for record in records if record.workflow_id])


class StartsAnew(ListSink):
    """Empties the place when it is opened."""

    async def open(self) -> None:
        self.arrived.clear()


class DropsWhatItKnows(ListSink):
    """Takes nothing that is not newer than the last record, whatever run it is of."""

    async def deliver(self, records: Sequence[Record]) -> None:
        known = {one.record_id for one in self.arrived}
        if not any(record.record_id in known for record in records):
            await super().deliver(records)


class Invents(ListSink):
    """Tells of a delivery even when there is nothing to tell."""

    async def deliver(self, records: Sequence[Record]) -> None:
        await super().deliver(records)
        if not records:
            self.arrived.append(Arrived("0-0", "", b"{}"))


BAD = [
    *(Loses, Reorders, Lies, Cuts, Confuses),
    *(ForgetsGaps, StartsAnew, DropsWhatItKnows, Invents),
]


class BadPlace(ListPlace):
    """A list whose sink breaks a promise."""

    def __init__(self, kind: type[ListSink]) -> None:
        super().__init__()
        self._kind = kind

    def sink(self) -> Sink:
        """Return a bad sink."""
        return self._kind(self.arrived)


async def faults(kind: type[ListSink]) -> list[str]:
    """Return the cases that a kind of sink does not pass."""
    failed = []
    for name in CASES:
        try:
            await getattr(SinkSuite(), name)(BadPlace(kind))
        except AssertionError:
            failed.append(name)
    return failed


@pytest.mark.parametrize("kind", BAD)
async def test_a_sink_that_breaks_a_promise_fails_a_case(kind: type[ListSink]) -> None:
    assert await faults(kind)


async def test_a_sink_that_keeps_its_promises_fails_none() -> None:
    assert await faults(ListSink) == []


async def test_each_case_but_the_harmless_ones_catches_a_bad_sink() -> None:
    caught = {name for kind in BAD for name in await faults(kind)}

    assert set(CASES) - caught == {"test_closing_twice_or_before_opening_is_harmless"}


class Shaky(ListPlace):
    """A place whose sink says yes while it is away, and takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    def sink(self) -> Sink:
        """Return a sink that swallows."""
        return Swallows(self)

    async def down(self) -> None:
        """Be away."""
        self.is_away = True

    async def up(self) -> None:
        """Be back."""
        self.is_away = False


class Swallows(ListSink):
    """Delivers into nothing while its place is away."""

    def __init__(self, place: Shaky) -> None:
        super().__init__(place.arrived)
        self._place = place

    async def deliver(self, records: Sequence[Record]) -> None:
        if not self._place.is_away:
            await super().deliver(records)


async def test_a_sink_that_says_yes_while_it_is_away_is_caught() -> None:
    with pytest.raises(pytest.fail.Exception):
        await OutageSuite().test_a_delivery_fails_while_the_other_side_is_away(Shaky())
