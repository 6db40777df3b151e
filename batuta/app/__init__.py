"""The composition root: the only package that names concrete stores and sinks."""

from batuta.app.engine import (
    blob_folder,
    data_folder,
    examine,
    is_postgres,
    migrate,
    open_engine,
    open_store,
    set_aside,
)
from batuta.app.server import alias_ports, serve

__all__ = [
    "alias_ports",
    "blob_folder",
    "data_folder",
    "examine",
    "is_postgres",
    "migrate",
    "open_engine",
    "open_store",
    "serve",
    "set_aside",
]
