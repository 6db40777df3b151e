"""Definitions as the catalogue has them: one that is damaged is refused by name, others are not."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.graph import Snapshot
from batuta.model.definition import TaskDef, WorkflowDef
from batuta.model.error import InvalidError, UnreadableError
from batuta.store.base import Document

_log = logging.getLogger(__name__)

_DAMAGES = (msgspec.MsgspecError, InvalidError, UnicodeDecodeError)
_SNAPSHOT_DECODER = msgspec.json.Decoder(Snapshot)

_T = TypeVar("_T")


def workflow_def(document: Document) -> WorkflowDef:
    """Read a workflow definition; raises UnreadableError, which names it."""
    found = _read(document, lambda: read_workflow_def(msgspec.json.decode(document.body)))
    times = (document.created_at_ms, document.updated_at_ms)
    return replace(found, create_time=times[0], update_time=times[1])


def task_def(document: Document) -> TaskDef:
    """Read a task definition; raises UnreadableError, which names it."""
    found = _read(document, lambda: read_task_def(msgspec.json.decode(document.body)))
    times = (document.created_at_ms, document.updated_at_ms)
    return replace(found, create_time=times[0], update_time=times[1])


def readable(documents: Sequence[Document], read: Callable[[Document], _T]) -> list[_T]:
    """Read those documents that can be read; the log names the others."""
    found = []
    for document in documents:
        try:
            found.append(read(document))
        except UnreadableError as error:
            _log.error("left out of a list: %s", error)
    return found


def snapshot(digest: str, body: bytes) -> Snapshot:
    """Read what a run is pinned to; raises UnreadableError."""
    try:
        return _SNAPSHOT_DECODER.decode(body)
    except _DAMAGES as error:
        raise UnreadableError(f"definition snapshot {digest!r} is damaged: {error}") from error


def _read(document: Document, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except _DAMAGES as error:
        raise UnreadableError(
            f"the stored {document.kind} {document.name!r} version {document.version} is damaged:"
            f" {error}; register it again"
        ) from error
