"""The default database: one SQLite file beside the server.

One thread writes (and checkpoints), two threads read: one for the engine, one for searches. A
batch is ONE statement: an insert into a view whose trigger checks and writes every table (see
``trigger``). So the writer hands the interpreter's lock over once for each batch instead of
once for each table or row, and a saturated event loop does not slow it down.
"""

from batuta.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
