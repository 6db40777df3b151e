"""The store of tests and simulations: dictionaries, the whole contract, nothing on disk."""

from batuta.store.memory.rows import PAYLOAD_INLINE_BYTES_MAX
from batuta.store.memory.store import MemoryStore

__all__ = ["PAYLOAD_INLINE_BYTES_MAX", "MemoryStore"]
