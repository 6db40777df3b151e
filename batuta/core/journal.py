"""What a command changed, small enough to keep for ever; and back again.

Folding the entries of a run in order gives the headers of its workflow and tasks as a store
loads them (RELIABILITY I37 and the design's fifth rule; the conformance suite checks it).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from batuta.model.change import Change, Publish, PutTask, PutWorkflow, RetireTask
from batuta.model.execution import Task, Workflow
from batuta.model.payload import Payload

_TASK_NAMES = {f.name: f.encode_name for f in msgspec.structs.fields(Task)}
_WORKFLOW_NAMES = {f.name: f.encode_name for f in msgspec.structs.fields(Workflow)}
_ENCODER = msgspec.json.Encoder()
# The entry's own columns hold these, so the document need not.
_IMPLIED = frozenset({"version", "updated_at_ms"})


def entry_document(changes: Sequence[Change]) -> bytes:
    """Return one command's header differences: ``{"w": {..}, "t": {seq: {..}}, "x": [seq]}``.

    Messages that it publishes stand under ``e``: ``[[queue, message id, payload], ...]``.
    """
    document: dict[str, Any] = {}
    tasks: dict[int, Any] = {}
    retired: list[int] = []
    messages: list[Any] = []
    for change in changes:
        if isinstance(change, PutTask):
            tasks[change.task.seq] = _difference(change.task, change.changed, _TASK_NAMES)
        elif isinstance(change, PutWorkflow):
            document["w"] = _difference(change.workflow, change.changed, _WORKFLOW_NAMES)
        elif isinstance(change, RetireTask):
            retired.append(change.seq)
        elif isinstance(change, Publish):
            payload = msgspec.Raw(change.payload.raw or b"{}")
            messages.append((change.queue, change.message_id, payload))
    if tasks:
        document["t"] = tasks
    if retired:
        document["x"] = retired
    if messages:
        document["e"] = messages
    return _ENCODER.encode(document)


def messages_of(document: bytes) -> list[Publish]:
    """Return the messages that an entry published, in order: what event handlers are told."""
    return [
        Publish(queue=queue, message_id=message_id, payload=Payload(bytes(payload)))
        for queue, message_id, payload in _MESSAGES.decode(document).e
    ]


class _Messages(msgspec.Struct):
    e: list[tuple[str, str, msgspec.Raw]] = []


_MESSAGES = msgspec.json.Decoder(_Messages)


def fold(
    entries: Iterable[tuple[int, int, bytes]],
) -> tuple[Workflow | None, dict[int, Task]]:
    """Return the headers after ``(version, at_ms, document)`` entries, oldest first."""
    workflow: dict[str, Any] | None = None
    tasks: dict[int, dict[str, Any]] = {}
    for version, at_ms, document in entries:
        changed = msgspec.json.decode(document)
        if "w" in changed:
            workflow = {**(workflow or {}), **changed["w"]}
        if workflow is not None:
            workflow = {**workflow, "v": version, "ua": at_ms}
        for seq, fields in changed.get("t", {}).items():
            tasks[int(seq)] = {**tasks.get(int(seq), {}), **fields, "ua": at_ms}
        for seq in changed.get("x", ()):
            tasks.pop(seq, None)
    return (
        None if workflow is None else msgspec.convert(workflow, Workflow),
        {seq: msgspec.convert(fields, Task) for seq, fields in tasks.items()},
    )


def _difference(record: Any, changed: dict[str, Any] | None, names: dict[str, str]) -> Any:
    if changed is None:
        return record
    return {names[name]: value for name, value in changed.items() if name not in _IMPLIED}
