"""A JSON document that the engine carries and rarely looks into.

The bytes were checked once, at the door; they are stored and sent on as they are. Only an
expression that names something inside decodes them, once.
"""

from typing import Any

import msgspec


class Payload:
    """UTF-8 JSON bytes, with the decoded value beside them after the first look.

    A payload may be known without being loaded (``raw`` is None): deciding with it then answers
    ``Needs`` and the committer fetches the bytes.
    """

    __slots__ = ("_value", "raw", "size_bytes")

    def __init__(self, raw: bytes | None, size_bytes: int | None = None) -> None:
        self.raw = raw
        self.size_bytes = len(raw) if raw is not None else (size_bytes or 0)
        self._value: Any = msgspec.UNSET

    @classmethod
    def of(cls, value: Any) -> "Payload":
        """Encode ``value``, whose parts may be ``msgspec.Raw``."""
        return cls(msgspec.json.encode(value))

    @property
    def value(self) -> Any:
        """The decoded document; do not change it. Decoded at the first access only."""
        if self._value is msgspec.UNSET:
            assert self.raw is not None, "a payload is loaded before it is looked into"
            self._value = msgspec.json.decode(self.raw)
        return self._value

    @property
    def is_loaded(self) -> bool:
        """True when the bytes are in memory."""
        return self.raw is not None

    @property
    def is_decoded(self) -> bool:
        """True when somebody has looked inside; the promise tests count these."""
        return self._value is not msgspec.UNSET

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Payload({self.raw!r})"


EMPTY = Payload(b"{}")


def encode_hook(value: object) -> object:
    """Let ``msgspec`` encode a record that holds payloads: their bytes, verbatim."""
    if isinstance(value, Payload):
        assert value.raw is not None, "a payload is loaded before it is written"
        return msgspec.Raw(value.raw)
    raise NotImplementedError(f"cannot encode {type(value)!r}")


def decode_hook(kind: type, value: object) -> object:
    """Let ``msgspec`` decode a record that holds payloads. The reverse of ``encode_hook``."""
    if kind is Payload:
        return Payload.of(value)
    raise NotImplementedError(f"cannot decode {kind!r}")
