"""What a sink is given, and what it must do. ``batuta.testing.sink`` proves each of them."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from batuta.model.error import BatutaError

RECORD_BYTES_MAX = 900_000  # of a body; brokers refuse messages of 1 MB unless told otherwise
OMITTED = "_omitted"  # in the place of a value that made a record too large: its size in bytes


class SinkError(BatutaError):
    """The sink could not take what it was given; the same will be given to it again."""

    code = "SINK"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a run, to be published.

    ``position`` is the journal's, ``index`` counts what one entry tells. ``workflow_id`` is the
    key: the records of a run are in order. It is "" for a gap. ``body`` is UTF-8 JSON, an object
    that has a ``type``. ``dialect``: of the run.
    """

    position: int
    index: int
    workflow_id: str
    dialect: str = ""
    body: bytes

    @property
    def record_id(self) -> str:
        """What tells it from all others; one that comes twice has the same."""
        return f"{self.position}-{self.index}"


class Sink(Protocol):
    """A place where records are published. One call at a time.

    ``open`` and ``close`` may follow each other many times: after an error of ``deliver`` the
    relay closes the sink, waits, opens it and delivers the same records once more.
    """

    name: str

    async def open(self) -> None:
        """Connect, and make what is missing there.

        Raises:
            Exception: It cannot be reached; it is closed and opened again later.
        """
        ...

    async def deliver(self, records: Sequence[Record]) -> None:
        """Publish records in their order, and return once all of them are there to stay.

        The order is that of the journal; a sink has to keep it within a run. Whatever was
        published before an error may be there already, as a beginning: never a record of a run
        without those before it.

        Raises:
            Exception: Not all of them are there.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection. Idempotent, also where ``open`` failed."""
        ...


def body_of(document: dict[str, Any]) -> bytes:
    """Encode what a record says; values that make it too large are replaced by their size."""
    body = msgspec.json.encode(document)
    if len(body) <= RECORD_BYTES_MAX:
        return body
    left = RECORD_BYTES_MAX // max(len(document), 1)
    sizes = {key: len(msgspec.json.encode(value)) for key, value in document.items()}
    return msgspec.json.encode(
        {
            key: value if sizes[key] <= left else {OMITTED: sizes[key]}
            for key, value in document.items()
        }
    )


def envelope(record: Record) -> bytes:
    """Return a record as one JSON line, where a sink has no place for its id and its key."""
    return b'{"id":"%b","key":"%b","event":%b}' % (
        record.record_id.encode(),
        record.workflow_id.encode(),
        record.body,
    )
