"""PostgreSQL: several nodes on one database.

READ COMMITTED; a batch is one transaction. It locks the rows of its runs in the order of their
ids, compares versions, drops the decisions that are stale and writes the rest. Tasks are handed
out by SKIP LOCKED. The driver is an extra and is imported when a store is opened.
"""

from batuta.store.postgres.commit import HINT_CHANNEL
from batuta.store.postgres.store import PostgresStore, migrate

__all__ = ["HINT_CHANNEL", "PostgresStore", "migrate"]
