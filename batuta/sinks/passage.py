"""Entries of the journal with the records that they are about: what tellers read.

An entry has only what differs, so the headers that do not change and the payloads are read from
the store: of each run only what is as new as the first of its entries at hand. A task that has
been retired since, or a run that was removed, is known by its journal alone.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from batuta.model.error import StoreError
from batuta.model.execution import Task, TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from batuta.store.base import Journal, JournalRow, Loaded, Store
from batuta.store.keep import Keep

PAGE_ROWS = 500  # of a run's journal at a time
ROWS_MAX = 100_000  # of one run's journal; who is behind that far is not told of retired tasks

_log = logging.getLogger(__name__)


class History(Store, Journal, Keep, Protocol):
    """What is read of a store."""


class TaskChange(msgspec.Struct, frozen=True):
    """What an entry did to a task; ``status`` None: it stayed as it was.

    ``task`` is the header of now: what an entry changed is in ``fields``, by stored names.
    """

    task: Task
    is_new: bool
    status: TaskStatus | None
    fields: dict[str, Any]


class Run:
    """A run as far as its entries at hand need it."""

    def __init__(self, store: History, workflow: Workflow, loaded: Loaded | None) -> None:
        self._store = store
        self._payloads: dict[tuple[int, str], Payload | None] = {}
        self.workflow = workflow
        self.tasks: dict[int, Task] = {}
        if loaded is not None:
            self._payloads[0, "input"] = loaded.input
            for task, given, output in loaded.tasks:
                self.tasks[task.seq] = task
                self._payloads[task.seq, "input"] = given
                self._payloads[task.seq, "output"] = output

    async def payload(self, seq: int, part: str) -> Payload:
        """Return the ``input`` or ``output`` of a task, or of the run (seq 0).

        It is that of now, which a task keeps once it has ended. Empty when there is none.
        """
        key = (seq, part)
        payload = self._payloads.get(key)
        if key not in self._payloads or (payload is not None and not payload.is_loaded):
            # Not kept: it is large, or of a task that is rarely told of.
            [payload] = await self._store.find_payloads([(self.workflow.workflow_id, *key)])
        return payload or EMPTY


class Passage(msgspec.Struct, frozen=True):
    """One entry: its row, its run, and what it did.

    ``status``: of the run, None when it stayed as it was. ``fields``: of the run's header.
    """

    row: JournalRow
    run: Run
    status: WorkflowStatus | None
    fields: dict[str, Any]
    tasks: Sequence[TaskChange]

    @property
    def is_start(self) -> bool:
        """True for the entry with which the run began."""
        return self.row.entry.version == 1


Tell = Callable[[Passage], Awaitable[list[bytes]]]
"""Says what an entry means, as bodies of records, in order."""


async def passages(
    store: History, rows: Sequence[JournalRow]
) -> list[tuple[JournalRow, Passage | None]]:
    """Return each entry with what it did; None where that cannot be read: it is damaged.

    Left out are entries of runs of which the beginning is not known any more.

    Raises:
        StoreError: The database failed.
    """
    runs = await _runs(store, rows)
    found: list[tuple[JournalRow, Passage | None]] = []
    for row in rows:
        run = runs[row.workflow_id]
        passage = None if run is None else _passage(row, run)
        if run is None or passage is None:
            _log.warning("entry %d of the journal, or its run, is damaged", row.position)
            found.append((row, None))
        elif run.workflow.name:
            found.append((row, passage))
    return found


async def _runs(store: History, rows: Sequence[JournalRow]) -> dict[str, Run | None]:
    """Return the runs of entries with all tasks that the entries are about; None: damaged."""
    firsts: dict[str, int] = {}
    seqs: dict[str, set[int]] = {}
    for row in rows:
        firsts.setdefault(row.workflow_id, row.entry.version)
        changed = _changed(row)
        known = seqs.setdefault(row.workflow_id, set())
        known.update(int(seq) for seq in (changed.t if changed else ()) if seq.isdecimal())
    loaded = await _load(store, [(run, version - 1) for run, version in firsts.items()])
    runs: dict[str, Run | None] = {}
    for workflow_id, wanted in seqs.items():
        found = loaded.get(workflow_id)
        run = None if found is None else Run(store, found.workflow, found)
        if run is None or not wanted <= run.tasks.keys():
            run = await _from_journal(store, workflow_id, run)
        runs[workflow_id] = run
    return runs


async def _load(store: History, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
    """Load runs; one that is damaged takes no other with it, and is left out."""
    try:
        return await store.load(known)
    except StoreError:
        raise
    except Exception:  # noqa: BLE001  whatever a row may hold that nobody wrote
        if len(known) == 1:
            return {}
        alone = [await _load(store, [one]) for one in known]
        return {run: loaded for one in alone for run, loaded in one.items()}


class _Changed(msgspec.Struct):
    w: dict[str, Any] = {}
    t: dict[str, dict[str, Any]] = {}


_decoder = msgspec.json.Decoder(_Changed)
_UNKNOWN = Workflow(workflow_id="", name="", definition="")


def _changed(row: JournalRow) -> _Changed | None:
    try:
        return _decoder.decode(row.entry.changed)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _passage(row: JournalRow, run: Run) -> Passage | None:
    changed = _changed(row)
    if changed is None:
        return None
    status = changed.w.get("s")
    if row.entry.version == 1 and status is None:
        status = WorkflowStatus.RUNNING.value  # a default is not written
    try:
        return Passage(
            row=row,
            run=run,
            status=None if status is None else WorkflowStatus(status),
            fields=changed.w,
            tasks=list(_task_changes(changed, run)),
        )
    except ValueError:
        return None


def _task_changes(changed: _Changed, run: Run) -> Iterator[TaskChange]:
    for seq in sorted(changed.t, key=int):
        task = run.tasks.get(int(seq))
        if task is None:
            continue
        fields = changed.t[seq]
        is_new = "id" in fields  # a new record is written whole
        status = fields.get("s", TaskStatus.SCHEDULED.value if is_new else None)
        yield TaskChange(task, is_new, None if status is None else TaskStatus(status), fields)


async def _from_journal(store: History, workflow_id: str, run: Run | None) -> Run | None:
    """Return a run with all tasks that its journal knows, those that were retired too."""
    workflow: dict[str, Any] = {}
    tasks: dict[str, dict[str, Any]] = {}
    position = count = 0
    while count < ROWS_MAX:
        page = await store.read_after(position, limit=PAGE_ROWS, workflow_id=workflow_id)
        for row in page:
            changed = _changed(row)
            if changed is None:
                continue
            workflow |= changed.w
            for seq, fields in changed.t.items():
                tasks[seq] = tasks.get(seq, {}) | fields
        if len(page) < PAGE_ROWS:
            break
        position, count = page[-1].position, count + len(page)
    try:
        if run is None:
            header = msgspec.convert(workflow, Workflow) if "id" in workflow else _UNKNOWN
            run = Run(store, header, None)
        for seq, fields in tasks.items():
            if int(seq) not in run.tasks and "id" in fields:
                run.tasks[int(seq)] = msgspec.convert(fields, Task)
    except ValueError:  # of msgspec too: the journal does not fit together
        return None
    return run
