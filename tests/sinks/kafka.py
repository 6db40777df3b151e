"""A broker that speaks Kafka's protocol: librdkafka's own mock cluster, which can be away."""

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import pytest

BROKER = 1  # the id of the only one


class MockCluster:
    """One broker in this process, at a port of its own; topics are made when they are named."""

    def __init__(self) -> None:
        self._library = _library()
        conf = self._call("rd_kafka_conf_new")
        for name, value in ((b"bootstrap.servers", b"127.0.0.1:1"), (b"log_level", b"0")):
            why = ctypes.create_string_buffer(512)
            self._library.rd_kafka_conf_set(ctypes.c_void_p(conf), name, value, why, 512)
        why = ctypes.create_string_buffer(512)
        self._client = self._call("rd_kafka_new", 0, ctypes.c_void_p(conf), why, 512)
        assert self._client, why.value
        self._cluster = self._call(
            "rd_kafka_mock_cluster_new", ctypes.c_void_p(self._client), BROKER
        )
        name = self._library.rd_kafka_mock_cluster_bootstraps
        name.restype = ctypes.c_char_p
        self.brokers: str = name(ctypes.c_void_p(self._cluster)).decode()

    def down(self) -> None:
        """Refuse connections, and end those there are."""
        self._library.rd_kafka_mock_broker_set_down(ctypes.c_void_p(self._cluster), BROKER)

    def up(self) -> None:
        """Be back, with all records."""
        self._library.rd_kafka_mock_broker_set_up(ctypes.c_void_p(self._cluster), BROKER)

    def hang(self, answer_ms: int) -> None:
        """Take connections and requests, and answer only after so long."""
        self._library.rd_kafka_mock_broker_set_rtt(
            ctypes.c_void_p(self._cluster), BROKER, answer_ms
        )

    def close(self) -> None:
        """End it."""
        self._library.rd_kafka_mock_cluster_destroy(ctypes.c_void_p(self._cluster))
        self._library.rd_kafka_destroy(ctypes.c_void_p(self._client))

    def _call(self, name: str, *arguments: Any) -> int:
        function = getattr(self._library, name)
        function.restype = ctypes.c_void_p
        return int(function(*arguments) or 0)


def _library() -> ctypes.CDLL:
    """Load the library that the package carries; skip, saying so, where it has none."""
    found = importlib.util.find_spec("confluent_kafka")
    if found is None or found.origin is None:
        pytest.skip("no Kafka: the package confluent-kafka is not installed")
    folder = Path(found.origin).parent.parent / "confluent_kafka.libs"
    libraries = sorted(folder.glob("librdkafka*.so*"))
    if not libraries:
        pytest.skip("no Kafka: the package confluent-kafka carries no librdkafka here")
    return ctypes.CDLL(str(libraries[0]))


async def read_topic(brokers: str, topic: str) -> list[Any]:
    """Return all messages of a topic, partition by partition, from their beginning."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(topic, bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = list(consumer.assignment())
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        found: list[Any] = []
        while sum(ends.values()) > len(found):
            batch = await consumer.getmany(timeout_ms=500)
            found += [message for messages in batch.values() for message in messages]
        return sorted(found, key=lambda message: (message.partition, message.offset))
    finally:
        await consumer.stop()
