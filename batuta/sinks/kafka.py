"""Publishes to Kafka: topic ``workflow_events``, keyed by the run, so that each run is in order.

Of a partition one batch is under way at a time and the next waits for its answer: a batch that
is lost takes no later one of its runs with it. The producer is idempotent and waits for all
in-sync replicas, so what comes twice comes from us having been stopped.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from batuta.model.error import InvalidError
from batuta.sinks.base import Record, SinkError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
    from aiokafka.producer.message_accumulator import (  # type: ignore[import-untyped]
        BatchBuilder,
    )

EVENTS_TOPIC = "workflow_events"
# The original makes it and never writes to it; there are programs that expect it to be there.
TRIGGERS_TOPIC = "workflow_step_triggers"
PARTITIONS = 4  # of a topic that we make; runs are spread over them
COPIES_MAX = 3  # of each partition, on as many brokers, where there are that many
REQUEST_MS = 10_000  # for one request; less than the relay gives a delivery
MESSAGE_BYTES_MAX = 1_000_000  # of a batch too; what brokers take by default
ID_HEADER = "id"


class KafkaSink:
    """Publishes by aiokafka.

    Args:
        brokers: Each host:port, with commas between.
        request_ms: How long an answer of a broker may take.

    Raises:
        InvalidError: The package is not installed; the message says what to do.
    """

    name = "kafka"

    def __init__(self, brokers: str, *, client_id: str, request_ms: int = REQUEST_MS) -> None:
        try:
            import aiokafka  # noqa: F401  what is missing is told at the start
        except ImportError as error:
            raise InvalidError(
                "the sink 'kafka' needs the package aiokafka; pip install 'batuta[kafka]'"
            ) from error
        # Ten lines a second while a broker is away; the relay says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._brokers = [broker.strip() for broker in brokers.split(",") if broker.strip()]
        self._client_id = client_id
        self._request_ms = request_ms
        self._producer: AIOKafkaProducer | None = None
        self._partitions: list[int] = []
        self._has_failed = False

    async def open(self) -> None:
        """Connect, and make the topics that are missing.

        Raises:
            SinkError: A topic is not there and the broker does not make it.
            KafkaError: No broker answers.
        """
        from aiokafka import AIOKafkaProducer

        self._has_failed = False
        await self._make_topics()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            client_id=self._client_id,
            request_timeout_ms=self._request_ms,
            acks="all",
            enable_idempotence=True,
            max_batch_size=MESSAGE_BYTES_MAX,
            max_request_size=MESSAGE_BYTES_MAX,
        )
        await self._producer.start()
        self._partitions = await self._partitions_of(EVENTS_TOPIC)
        await self._partitions_of(TRIGGERS_TOPIC)

    async def deliver(self, records: Sequence[Record]) -> None:
        """Publish the records; each partition in order, the partitions beside each other."""
        from aiokafka.partitioner import DefaultPartitioner  # type: ignore[import-untyped]

        place = DefaultPartitioner()
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            # A gap is told to all: whoever reads one partition must know of it.
            at = [place(record.workflow_id.encode(), self._partitions, self._partitions)]
            for partition in at if record.workflow_id else self._partitions:
                by_partition.setdefault(partition, []).append(record)
        sent = [self._send(partition, some) for partition, some in by_partition.items()]
        self._has_failed = True  # until it is known; a delivery may also be cancelled
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._has_failed = False

    async def close(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            if self._has_failed:
                await _abandon(producer)
            await producer.stop()

    async def _partitions_of(self, topic: str) -> list[int]:
        """Return a topic's partitions; asking makes it, where brokers make topics themselves."""
        assert self._producer is not None, "a sink is opened before its topics are looked at"
        partitions = sorted(await self._producer.partitions_for(topic))
        if not partitions:
            raise SinkError(f"Kafka has no topic {topic!r} and does not let us make it")
        return partitions

    async def _send(self, partition: int, records: Sequence[Record]) -> None:
        for batch in self._batches(records):
            assert self._producer is not None, "a sink is opened before it is given records"
            answer = await self._producer.send_batch(batch, EVENTS_TOPIC, partition=partition)
            # An idempotent producer tries for ever; the relay wants to know.
            await asyncio.wait_for(answer, self._request_ms / 1_000)

    def _batches(self, records: Sequence[Record]) -> "Iterator[BatchBuilder]":
        assert self._producer is not None, "a sink is opened before it is given records"
        batch = self._producer.create_batch()
        for record in records:
            while not _append(batch, record):
                if not batch.record_count():
                    raise SinkError(f"record {record.record_id} is too large for Kafka")
                yield batch
                batch = self._producer.create_batch()
        yield batch

    async def _make_topics(self) -> None:
        """Make the topics that are missing, where the broker lets us."""
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
        from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._brokers,
            client_id=self._client_id,
            request_timeout_ms=self._request_ms,
        )
        try:
            await admin.start()
            there = set(await admin.list_topics())
            brokers = (await admin.describe_cluster())["brokers"]
            missing = [
                NewTopic(topic, PARTITIONS, min(len(brokers), COPIES_MAX))
                for topic in (EVENTS_TOPIC, TRIGGERS_TOPIC)
                if topic not in there
            ]
            if missing:
                try:
                    await admin.create_topics(missing)
                except (KafkaError, AttributeError):
                    # Not allowed, not offered (the client has no controller to ask then), or
                    # somebody was first: whether they are there is asked again by `open`.
                    return
        finally:
            await admin.close()


async def _abandon(producer: "AIOKafkaProducer") -> None:
    """End what a producer has under way, so that stopping it waits for nothing.

    An idempotent producer never lets a batch expire: it would try for ever, and its `stop` would
    wait for that. There is no public way to end it, so its tasks are cancelled by their name.
    """
    sending = [task for task in asyncio.all_tasks() if _is_sending(task)]
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    producer._message_accumulator.fail_all(SinkError("given up"))  # noqa: SLF001


def _is_sending(task: "asyncio.Task[Any]") -> bool:
    return getattr(task.get_coro(), "__qualname__", "").startswith("Sender._")


def _append(batch: "BatchBuilder", record: Record) -> bool:
    """Add a record to a batch; False: it is full."""
    key = record.workflow_id.encode() or None
    headers = [(ID_HEADER, record.record_id.encode())]
    added = batch.append(timestamp=None, key=key, value=record.body, headers=headers)
    return added is not None
