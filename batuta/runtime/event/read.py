"""Reading what EVENT tasks published: from the journal, in commit order, behind a cursor."""

import msgspec

from batuta.core.journal import messages_of
from batuta.model.payload import Payload
from batuta.store.base import Journal

ROWS_MAX = 1_000  # of the journal, that one reading goes through; most publish nothing


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as published; ``message_id`` is its task's, the same whenever it is read."""

    position: int
    queue: str
    message_id: str
    workflow_id: str
    at_ms: int
    payload: Payload


class Messages(msgspec.Struct, frozen=True):
    """What was read, oldest first, and the cursor to go on from: also where nothing was found."""

    messages: list[Message]
    position: int


async def read_messages(
    journal: Journal, position: int, *, queue: str | None = None, rows_max: int = ROWS_MAX
) -> Messages:
    """Return the messages that were published after a position, 0 for the beginning.

    Reading again from the cursor of an answer gives each message once, in commit order.

    Args:
        queue: Only those of this queue, such as ``conductor:orders:paid``.
        rows_max: Rows of the journal to look at. Fewer messages may be found, or none: there is
            nothing more to read only when the cursor stays where it is.
    """
    rows = await journal.read_after(position, limit=rows_max)
    found = [
        Message(
            position=row.position,
            queue=message.queue,
            message_id=message.message_id,
            workflow_id=row.workflow_id,
            at_ms=row.entry.at_ms,
            payload=message.payload,
        )
        for row in rows
        for message in messages_of(row.entry.changed)
        if queue in (None, message.queue)
    ]
    return Messages(found, rows[-1].position if rows else position)
