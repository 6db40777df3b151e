"""Payloads too large for a database: each is a file, and the database has its name.

``with_blobs`` puts this around any store. The order is the promise: a file is written and synced,
its folder too, before the commit that names it begins; so a reference that is durable has its
file. Whatever goes wrong in between leaves a file that nobody names, and ``sweep`` removes it
once it is older than any commit can be. A name is used once, so a file that nobody names
now will never be named again.
"""

from batuta.store.blob.folder import Folder
from batuta.store.blob.store import BlobStore, with_blobs

__all__ = ["BlobStore", "Folder", "with_blobs"]
