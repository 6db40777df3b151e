"""What stands in the database instead of a large payload: its size and its file. Pure.

A payload is JSON, which never begins with ``@``; so a reference is told from one by its first
byte. All references are of one length: a search that knows only sizes knows which to look at.
"""

import re

import msgspec

from batuta.model.payload import Payload

_PATTERN = re.compile(rb"@blob ([0-9]{12}) ([0-9a-f]{32})")
REFERENCE_BYTES = 51


class Place(msgspec.Struct, frozen=True):
    """A payload's place: of a run (``seq`` 0) or a task; ``part`` as in ``Store.fetch``."""

    workflow_id: str
    seq: int
    part: str


class Reference(msgspec.Struct, frozen=True):
    """A file by its name, which is unique and used once, and its size."""

    name: str  # 32 hexadecimal digits
    size_bytes: int


def encode(reference: Reference) -> Payload:
    """Return what is stored instead of the payload."""
    raw = b"@blob %012d %s" % (reference.size_bytes, reference.name.encode())
    assert len(raw) == REFERENCE_BYTES, f"a payload is smaller than that: {reference}"
    return Payload(raw)


def decode(payload: Payload | None) -> Reference | None:
    """Return the reference that a stored payload is, or None when it is the payload itself."""
    raw = None if payload is None else payload.raw
    if raw is None or not raw.startswith(b"@"):
        return None
    found = _PATTERN.fullmatch(raw)
    return None if found is None else Reference(found[2].decode(), int(found[1]))


def unloaded(payload: Payload | None) -> Payload | None:
    """Return a stored payload as ``load`` gives it: one in a file comes without its bytes."""
    reference = decode(payload)
    return payload if reference is None else Payload(None, reference.size_bytes)
