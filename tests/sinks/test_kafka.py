"""What is Kafka's own: keys, partitions, topics, brokers that hang, a package that is absent."""

import asyncio
import sys
import time

import pytest

from batuta.model.error import InvalidError
from batuta.sinks.kafka import EVENTS_TOPIC, PARTITIONS, TRIGGERS_TOPIC, KafkaSink
from batuta.sinks.redis import Place
from batuta.testing.builders import new_id
from batuta.testing.sink import check, opened, records
from tests.sinks.kafka import MockCluster, read_topic
from tests.sinks.places import REQUEST_MS, KafkaPlace


async def test_the_records_of_a_run_have_its_key_and_one_partition(kafka: MockCluster) -> None:
    runs = [new_id() for _ in range(40)]
    sent = records(*runs, *runs)

    async with opened(KafkaPlace(kafka)) as sink:
        await sink.deliver(sent)

    messages = await read_topic(kafka.brokers, EVENTS_TOPIC)
    partitions = {run: {m.partition for m in messages if m.key == run.encode()} for run in runs}
    assert all(len(found) == 1 for found in partitions.values())
    assert len(set.union(*partitions.values())) == PARTITIONS, "the runs are spread"
    assert [dict(message.headers)["id"] for message in messages if message.key == runs[0].encode()]


async def test_runs_are_spread_as_other_producers_spread_their_keys(kafka: MockCluster) -> None:
    from confluent_kafka import Producer

    runs = [new_id() for _ in range(20)]
    async with opened(KafkaPlace(kafka)) as sink:
        await sink.deliver(records(*runs))
    # The partitioner of Java's client, under its name in librdkafka.
    other = Producer({"bootstrap.servers": kafka.brokers, "partitioner": "murmur2"})
    for run in runs:
        other.produce(EVENTS_TOPIC, key=run, value=b"other")
    assert other.flush(20) == 0

    messages = await read_topic(kafka.brokers, EVENTS_TOPIC)
    for run in runs:
        assert len({m.partition for m in messages if m.key == run.encode()}) == 1


async def test_a_gap_is_told_to_the_readers_of_every_partition(kafka: MockCluster) -> None:
    async with opened(KafkaPlace(kafka)) as sink:
        await sink.deliver(records(""))

    messages = await read_topic(kafka.brokers, EVENTS_TOPIC)
    assert sorted(message.partition for message in messages) == list(range(PARTITIONS))


async def test_both_topics_are_there_once_it_is_open(kafka: MockCluster) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    async with opened(KafkaPlace(kafka)):
        pass

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.brokers)
    await admin.start()
    assert {EVENTS_TOPIC, TRIGGERS_TOPIC} <= set(await admin.list_topics())
    await admin.close()


async def test_a_broker_that_hangs_is_given_up_and_tried_again(kafka: MockCluster) -> None:
    run = new_id()
    sent = records(run, run, run)
    place = KafkaPlace(kafka)
    sink = place.sink()
    await sink.open()
    await sink.deliver(sent[:1])
    kafka.hang(60_000)
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        await sink.deliver(sent)
    await asyncio.wait_for(sink.close(), 5)
    took_s = time.monotonic() - began_s
    kafka.hang(0)

    await sink.open()
    await sink.deliver(sent)
    await sink.close()

    assert took_s < REQUEST_MS / 1_000 + 5
    check(sent, await place.read())


def test_without_the_packages_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    with pytest.raises(InvalidError, match=r"pip install 'batuta\[kafka\]'"):
        KafkaSink("localhost:9092", client_id="batuta")
    with pytest.raises(InvalidError, match=r"pip install 'batuta\[redis\]'"):
        Place("localhost", 6379, "")
