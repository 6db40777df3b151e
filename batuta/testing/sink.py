"""The conformance suite of sinks: every promise of ``batuta.sinks.base``, as tests.

A new sink joins with one fixture, in a test file of its own::

    class TestMySink(SinkSuite):
        @pytest.fixture
        async def place(self) -> AsyncIterator[Place]:
            ...

The fixture gives an empty place where records arrive. A sink that can lose its connection adds
``OutageSuite``, whose fixture ``place`` can be taken ``down`` and brought ``up``. Nothing sleeps.
"""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest

from batuta.runtime.clock import pause
from batuta.sinks.base import RECORD_BYTES_MAX, Record, Sink, body_of
from batuta.sinks.relay import Relay
from batuta.store.memory import MemoryStore
from batuta.testing.builders import NOW_MS, new_id, step
from batuta.testing.cases.subject import a_run, accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAIT_S = 30.0  # for what comes within moments; only a hang comes near it


class Arrived(msgspec.Struct, frozen=True):
    """What a reader of the place finds."""

    record_id: str
    key: str
    body: bytes


class Place(Protocol):
    """Where a sink publishes, as its readers see it."""

    def sink(self) -> Sink:
        """Return a new sink that publishes here, not open yet."""
        ...

    async def read(self) -> list[Arrived]:
        """Return all that is here, that of a run in the order in which it came."""
        ...


class ShakyPlace(Place, Protocol):
    """A place that can be away."""

    async def down(self) -> None:
        """Be away: nobody is answered."""
        ...

    async def up(self) -> None:
        """Be back, with all that was there."""
        ...


def records(*keys: str, first: int = 1, **fields: Any) -> list[Record]:
    """Return a record for each key, at the positions from ``first`` on."""
    return [
        Record(
            position=position,
            index=0,
            workflow_id=key,
            body=body_of({"type": "TEST", "position": position, **fields}),
        )
        for position, key in enumerate(keys, start=first)
    ]


def check(sent: Sequence[Record], arrived: Sequence[Arrived]) -> None:
    """Assert that all that was sent has arrived whole, nothing else, each run in order.

    What came again is left out of account: a record counts where it came first.
    """
    known = {record.record_id: record for record in sent}
    order: dict[str, list[str]] = {}
    seen: set[str] = set()
    for one in arrived:
        record = known.get(one.record_id)
        assert record is not None, f"{one.record_id} was never sent"
        assert (one.key, one.body) == (record.workflow_id, record.body), "it arrives as it was sent"
        if one.record_id not in seen:
            order.setdefault(one.key, []).append(one.record_id)
            seen.add(one.record_id)
    missing = known.keys() - seen
    assert not missing, f"never arrived: {sorted(missing)[:10]}"
    for key, ids in order.items():
        wanted = [record.record_id for record in sent if record.workflow_id == key]
        assert ids == list(dict.fromkeys(wanted)), f"the records of run {key!r} are in order"


@asynccontextmanager
async def opened(place: Place) -> "AsyncIterator[Sink]":
    """Give an open sink."""
    sink = place.sink()
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


class SinkSuite:
    """All cases; inherit it and give it a ``place``."""

    pytestmark = pytest.mark.asyncio

    async def test_records_arrive_whole_and_in_the_order_of_their_run(self, place: Place) -> None:
        one, two = new_id(), new_id()
        sent = records(one, two, one, one, two)

        async with opened(place) as sink:
            await sink.deliver(sent)

        check(sent, await place.read())

    async def test_what_is_delivered_is_there_when_the_call_returns(self, place: Place) -> None:
        sent: list[Record] = []
        async with opened(place) as sink:
            for number in range(1, 6):
                some = records(*[new_id()] * 3, first=number * 10)
                await sink.deliver(some)
                sent += some

                check(sent, await place.read())

    async def test_of_nothing_nothing_arrives(self, place: Place) -> None:
        async with opened(place) as sink:
            await sink.deliver([])

        assert await place.read() == []

    async def test_what_is_delivered_again_takes_nothing_away(self, place: Place) -> None:
        run = new_id()
        sent = records(run, run, run, run)
        async with opened(place) as sink:
            await sink.deliver(sent[:2])
        async with opened(place) as sink:
            await sink.deliver(sent[:3])
            await sink.deliver(sent)

        check(sent, await place.read())

    async def test_a_sink_goes_on_after_it_was_closed_and_opened(self, place: Place) -> None:
        run = new_id()
        sent = records(run, run)
        sink = place.sink()
        for record in sent:
            await sink.open()
            await sink.deliver([record])
            await sink.close()

        check(sent, await place.read())

    async def test_closing_twice_or_before_opening_is_harmless(self, place: Place) -> None:
        sink = place.sink()
        await sink.close()
        await sink.open()
        await sink.close()
        await sink.close()

    async def test_every_character_and_the_largest_record_arrive(self, place: Place) -> None:
        run = new_id()
        text = 'é "quoted" \\ \u2028 \U0001f600 \x7f\n\r\t'
        size = RECORD_BYTES_MAX - len(records(run, text="")[0].body)
        sent = [*records(run, text=text), *records(run, first=2, text="x" * (size - 10))]

        async with opened(place) as sink:
            await sink.deliver(sent)

        check(sent, await place.read())

    async def test_many_records_of_many_runs_are_in_the_order_of_their_run(
        self, place: Place
    ) -> None:
        runs = [new_id() for _ in range(30)]
        sent = records(*[runs[number * 7 % 30] for number in range(900)], text="y" * 300)

        async with opened(place) as sink:
            for first in range(0, len(sent), 300):
                await sink.deliver(sent[first : first + 300])

        check(sent, await place.read())

    async def test_a_gap_is_told(self, place: Place) -> None:
        sent = records("", new_id())

        async with opened(place) as sink:
            await sink.deliver(sent)

        check(sent, await place.read())


class OutageSuite:
    """Cases for a sink whose other side may be away. ``place``: a ``ShakyPlace``."""

    pytestmark = pytest.mark.asyncio

    async def test_a_delivery_fails_while_the_other_side_is_away(self, place: ShakyPlace) -> None:
        run = new_id()
        sent = records(run, run, run)
        sink = place.sink()
        await sink.open()
        await sink.deliver(sent[:1])
        await place.down()
        with pytest.raises(Exception):  # noqa: B017, PT011  whatever its client raises
            await sink.deliver(sent[1:])
        await sink.close()
        await place.up()

        await sink.open()
        await sink.deliver(sent[1:])
        await sink.close()

        check(sent, await place.read())

    async def test_a_relay_delivers_everything_after_an_outage_and_no_run_waits(
        self, place: ShakyPlace
    ) -> None:
        store = MemoryStore(lambda: NOW_MS)
        relay = Relay(
            place.sink(),
            store,
            cursor="test",
            node="n",
            tellers={},
            now_ms=lambda: NOW_MS,
            lag_max=10**6,
        )
        await relay.begin()
        running = asyncio.create_task(relay.run(lambda: None))
        try:
            runs = [(await a_run(store)).workflow_id for _ in range(5)]
            await _until(lambda: relay.facts()["delivered"] >= 5)
            await place.down()
            for run in runs:  # each is committed while nobody takes what it tells
                await accept(store, step(run, 1))
            more = [(await a_run(store)).workflow_id for _ in range(5)]
            relay.hint()
            await _until(lambda: relay.facts()["failures"] > 0)
            assert relay.facts()["lag"] > 0
            await place.up()
            await _until(lambda: relay.facts()["lag"] == 0 and not relay.facts()["lastError"])
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        firsts = list(dict.fromkeys(one.record_id for one in await place.read()))
        keys = {one.key for one in await place.read()}
        assert len(firsts) == 10
        assert keys == {*runs, *more}


async def _until(is_so: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await pause(0.01)
