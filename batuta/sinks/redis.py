"""Publishes to Redis: a stream of records, and a copy of each instance as a document."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from batuta.model.error import InvalidError
from batuta.sinks.base import Record, SinkError

if TYPE_CHECKING:
    from redis.asyncio import Redis

STREAM = "workflow_events"
INSTANCE = "workflow_instance:"  # and the run's id: the key of its copy
ANSWER_S = 10.0  # of a command; less than the relay gives a delivery
PIPELINE_MAX = 500  # commands sent together

Document = Callable[[Record], Awaitable[bytes | None]]
"""Returns what the copy of a record's run says now; None: this run has no copy."""


class Place:
    """Where Redis is.

    Raises:
        InvalidError: The package is not installed; the message says what to do.
    """

    def __init__(self, host: str, port: int, password: str) -> None:
        try:
            import redis.asyncio  # noqa: F401  what is missing is told at the start
        except ImportError as error:
            raise InvalidError(
                "sinks of Redis need the package redis; pip install 'batuta[redis]'"
            ) from error
        self._host = host
        self._port = port
        self._password = password

    async def connect(self) -> "Redis":
        """Return a client that has been answered.

        Raises:
            RedisError: Nobody answers, or the password is wrong.
        """
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        client = Redis(
            host=self._host,
            port=self._port,
            password=self._password or None,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),  # the relay tries again, and tells of it
        )
        try:
            await client.ping()
        except BaseException:
            await client.aclose()
            raise
        return client


class RedisStreamSink:
    """Adds each record to a stream, as ``id``, ``key`` and ``event``.

    Args:
        length_max: Entries that the stream keeps, about; 0 keeps all.
    """

    name = "redis-stream"

    def __init__(self, place: Place, *, length_max: int) -> None:
        self._place = place
        self._length_max = length_max
        self._client: Redis | None = None

    async def open(self) -> None:
        """Connect."""
        self._client = await self._place.connect()

    async def deliver(self, records: Sequence[Record]) -> None:
        """Add the records, PIPELINE_MAX in one go."""
        assert self._client is not None, "a sink is opened before it is given records"
        for first in range(0, len(records), PIPELINE_MAX):
            # As one transaction: nothing of a later record without what comes before it.
            async with self._client.pipeline(transaction=True) as pipeline:
                for record in records[first : first + PIPELINE_MAX]:
                    fields: dict[Any, Any] = {
                        "id": record.record_id,
                        "key": record.workflow_id,
                        "event": record.body,
                    }
                    pipeline.xadd(STREAM, fields, maxlen=self._length_max or None)
                await pipeline.execute()

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class RedisInstancesSink:
    """Keeps a copy of each instance under ``workflow_instance:<id>``, as it is now or newer.

    A copy does not expire, and stays when its run is removed.
    """

    name = "redis-instances"

    def __init__(self, place: Place, document: Document) -> None:
        self._place = place
        self._document = document
        self._client: Redis | None = None

    async def open(self) -> None:
        """Connect."""
        self._client = await self._place.connect()

    async def deliver(self, records: Sequence[Record]) -> None:
        """Write the copies of the runs that the records are about, one for each run."""
        assert self._client is not None, "a sink is opened before it is given records"
        last = {record.workflow_id: record for record in records if record.workflow_id}
        copies: dict[str, bytes] = {}
        for workflow_id, record in last.items():
            found = await self._document(record)
            if found is not None:
                copies[INSTANCE + workflow_id] = found
        if copies and not await self._client.mset(copies):
            raise SinkError("Redis did not take the copies")

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
