"""The memory store itself: the protocols of ``store/base.py`` over a ``State``."""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from batuta.model.error import StoreError
from batuta.model.execution import Lease, Workflow
from batuta.model.limit import LimitUse, split_part
from batuta.model.payload import Payload
from batuta.store.base import (
    Accepted,
    Batch,
    Committed,
    Document,
    Due,
    JournalRow,
    Loaded,
    LogLine,
    QueueDepth,
    Verdict,
)
from batuta.store.failing import FAILING_MAX, Failing
from batuta.store.keep import Ended
from batuta.store.memory import due, keep, queue
from batuta.store.memory.cursor import MemoryCursors
from batuta.store.memory.decision import assert_well_formed, judge, write
from batuta.store.memory.find import all_tasks
from batuta.store.memory.rows import PAYLOAD_INLINE_BYTES_MAX, Run, State, payload
from batuta.store.query.evaluate import find_tasks, find_workflows, find_workflows_by_tasks
from batuta.store.query.tree import FoundTask, Page, Query, Sort, Subject, count_limit


async def no_pause(point: str) -> None:
    """Let the store go on at once."""


class MemoryStore:
    """Keeps everything in dictionaries; gone with the process. Holds all of the contract.

    Deterministic: the same calls give the same answers in the same order. A caller's breach of
    the contract is an AssertionError.

    Args:
        now_ms: The wall clock, Unix ms; store time never goes back even if this one does.
        pause: Awaited with the name of the point that is reached: "load", "fetch",
            "commit.before", "commit.after" (written, not yet answered), "settled", "due",
            "held_by", "find_task", "catalog", "journal", "keep", "search". May wait, or raise
            what is to fail.
        state: The data of an earlier or another store (``MemoryStore.state``): a restart, a rival.
        inline_bytes_max: Payloads over this size are loaded without their bytes.
    """

    name = "memory"
    is_shared = False

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        pause: Callable[[str], Awaitable[None]] = no_pause,
        inline_bytes_max: int = PAYLOAD_INLINE_BYTES_MAX,
        state: State | None = None,
    ) -> None:
        self._clock = now_ms
        self._pause = pause
        self._inline_bytes_max = inline_bytes_max
        self.state = State() if state is None else state
        self.cursors = MemoryCursors(self.state, self._reach)
        self._commits = 0
        self._in_flight: set[asyncio.Future[None]] = set()
        self._is_closed = False

    async def load(self, known: Sequence[tuple[str, int]]) -> dict[str, Loaded]:
        """Return the runs that exist; see ``Store.load``."""
        await self._reach("load")
        runs = self.state.runs
        return {
            workflow_id: self._loaded(workflow_id, runs[workflow_id], version_known)
            for workflow_id, version_known in known
            if workflow_id in runs
        }

    async def fetch(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload]:
        """Return payloads with their bytes; see ``Store.fetch``."""
        await self._reach("fetch")
        return [self._fetched(*key) for key in wanted]

    async def commit(self, batch: Batch) -> Committed:
        """Write the batch at one instant, between two pauses; see ``Store.commit``."""
        self._refuse_when_closed()
        flight = asyncio.get_running_loop().create_future()
        self._in_flight.add(flight)
        try:
            await self._pause("commit.before")
            committed = self._write(batch)
            await self._pause("commit.after")
        finally:
            self._in_flight.discard(flight)
            flight.set_result(None)
        return committed

    async def settled(self, wanted: Sequence[tuple[str, int, str]]) -> list[bool]:
        """Say whether the journal holds these requests; see ``Store.settled``."""
        await self._reach("settled")
        requests = self.state.requests
        return [
            requests.get((workflow_id, version)) == request_id
            for workflow_id, version, request_id in wanted
        ]

    async def due(self, until_ms: int, limit: int) -> Due:
        """Return what wants a command; see ``Store.due``."""
        await self._reach("due")
        return due.due(self.state, until_ms, limit)

    async def note_failure(self, failing: Failing) -> bool:
        """Write a failure into its row; see ``Quarantine.note_failure``."""
        await self._reach("note_failure")
        return due.note_failure(self.state, failing)

    async def failing(
        self, workflow_id: str | None = None, *, limit: int = FAILING_MAX
    ) -> list[Failing]:
        """Return the rows that have failed; see ``Quarantine.failing``."""
        await self._reach("search")
        return due.failing_rows(self.state, workflow_id)[:limit]

    async def rearm(self, workflow_id: str | None = None) -> int:
        """Let quarantined rows be due again; see ``Quarantine.rearm``."""
        await self._reach("rearm")
        return due.rearm(self.state, workflow_id)

    async def held_by(self, worker_id: str) -> list[Lease]:
        """Return a worker's leases; see ``Store.held_by``."""
        await self._reach("held_by")
        leases = [held.lease for held in self.state.held.values()]
        return sorted(
            (lease for lease in leases if lease.worker_id == worker_id),
            key=lambda lease: lease.task_id,
        )

    async def forget_sends(self, workflow_id: str) -> bool:
        """Delete the Sends for a run that is not there; see ``Store.forget_sends``."""
        await self._reach("forget_sends")
        if workflow_id in self.state.runs:
            return False
        for send_id, send in list(self.state.sends.items()):
            if send.workflow_id == workflow_id:
                del self.state.sends[send_id]
                self.state.rows_written += 1
        return True

    async def find_task(self, task_id: str) -> str | None:
        """Return the id of the run that has this task, or None."""
        await self._reach("find_task")
        return self.state.seqs.get(task_id, (None, 0))[0]

    async def now_ms(self) -> int:
        """Return the clock's time, or the highest time committed or told when that is later."""
        self._refuse_when_closed()
        self.state.committed_at_ms = max(self._clock(), self.state.committed_at_ms)
        return self.state.committed_at_ms

    async def close(self) -> None:
        """Wait for the commits in flight, then refuse everything. Idempotent."""
        self._is_closed = True
        if self._in_flight:
            await asyncio.wait(tuple(self._in_flight))

    async def put_documents(self, documents: Sequence[Document], *, overwrite: bool) -> list[bool]:
        """Store all documents or none; see ``Catalog.put_documents``."""
        await self._reach("catalog")
        stored = self.state.documents
        keys = [(document.kind, document.name, document.version) for document in documents]
        answers = [overwrite or key not in stored for key in keys]
        if not all(answers):
            return answers
        for key, document in zip(keys, documents, strict=True):
            assert document.version >= 1, "version 0 asks for the highest; it names no document"
            first = stored.get(key, document)
            stored[key] = msgspec.structs.replace(document, created_at_ms=first.created_at_ms)
            self.state.rows_written += 1
        return answers

    async def get_document(self, kind: str, name: str, version: int = 0) -> Document | None:
        """Return a document; version 0 means the highest."""
        await self._reach("catalog")
        if version:
            return self.state.documents.get((kind, name, version))
        versions = self._versions(kind, name)
        return versions[-1] if versions else None

    async def list_documents(self, kind: str, name: str | None = None) -> list[Document]:
        """Return all versions of all documents of a kind, by name and version."""
        await self._reach("catalog")
        return self._versions(kind, name)

    async def delete_document(self, kind: str, name: str, version: int = 0) -> bool:
        """Delete one version (0: all); False when there was none."""
        await self._reach("catalog")
        doomed = [
            (kind, name, document.version)
            for document in self._versions(kind, name)
            if version in (0, document.version)
        ]
        for key in doomed:
            del self.state.documents[key]
            self.state.rows_written += 1
        return bool(doomed)

    async def put_snapshot(self, digest: str, body: bytes) -> None:
        """Keep a definition snapshot under its content hash; again is the same."""
        await self._reach("catalog")
        kept = self.state.snapshots.setdefault(digest, body)
        assert kept == body, f"digest {digest!r} is the hash of one content"
        self.state.rows_written += 1

    async def get_snapshot(self, digest: str) -> bytes | None:
        """Return a snapshot's body, or None."""
        await self._reach("catalog")
        return self.state.snapshots.get(digest)

    async def read_after(
        self, position: int, *, limit: int, workflow_id: str | None = None
    ) -> list[JournalRow]:
        """Return rows after ``position`` (0 = from the start), oldest first."""
        await self._reach("journal")
        first = bisect_right(self.state.journal, position, key=lambda row: row.position)
        rows = self.state.journal[first:]
        return [row for row in rows if workflow_id in (None, row.workflow_id)][:limit]

    async def ended_names(self) -> list[str]:
        """Return the names of the workflows that have ended runs, in order."""
        await self._reach("keep")
        return keep.ended_names(self.state)

    async def find_ended(
        self, name: str, statuses: Sequence[str], *, before_ms: int, keep_count: int, limit: int
    ) -> list[Ended]:
        """Return runs that are to go; see ``Keep.find_ended``."""
        await self._reach("keep")
        return keep.find_ended(
            self.state, name, statuses, before_ms=before_ms, keep_count=keep_count, limit=limit
        )

    async def purge(self, runs: Sequence[Ended], *, now_ms: int, rows_max: int) -> list[str]:
        """Remove runs that are as they were found; see ``Keep.purge``."""
        await self._reach("keep")
        return keep.purge(self.state, runs, now_ms=now_ms, rows_max=rows_max)

    async def purge_retired(self, *, before_ms: int, rows_max: int) -> int:
        """Delete retired tasks; see ``Keep.purge_retired``."""
        await self._reach("keep")
        return keep.purge_retired(self.state, before_ms=before_ms, rows_max=rows_max)

    async def purge_removed(
        self, *, before_ms: int, position_max: int | None, rows_max: int
    ) -> int:
        """Delete what is left of removed runs; see ``Keep.purge_removed``."""
        await self._reach("keep")
        return keep.purge_removed(
            self.state, before_ms=before_ms, position_max=position_max, rows_max=rows_max
        )

    async def find_payloads(self, wanted: Sequence[tuple[str, int, str]]) -> list[Payload | None]:
        """Return payloads with their bytes, None for each that does not exist."""
        await self._reach("keep")
        return [keep.find_payload(self.state, *key) for key in wanted]

    async def search(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[Workflow]:
        """Return a page of the runs that match; see ``Search.search``."""
        await self._reach("search")
        if query.subject is Subject.TASK:
            tasks = list(all_tasks(self.state))
            return find_workflows_by_tasks(query, tasks, sort=sort, start=start, size=size)
        runs = [run.workflow for run in self.state.runs.values()]
        return find_workflows(query, runs, sort=sort, start=start, size=size)

    async def search_tasks(
        self, query: Query, *, sort: Sequence[Sort], start: int, size: int
    ) -> Page[FoundTask]:
        """Return a page of the tasks that match; see ``Search.search_tasks``."""
        await self._reach("search")
        tasks = list(all_tasks(self.state))
        return find_tasks(query, tasks, sort=sort, start=start, size=size)

    async def recent(self, *, limit: int, status: str | None = None) -> list[Workflow]:
        """Return the newest runs by creation."""
        await self._reach("search")
        workflows = [run.workflow for run in self.state.runs.values()]
        found = [workflow for workflow in workflows if status in (None, workflow.status)]
        found.sort(key=lambda workflow: (-workflow.created_at_ms, workflow.workflow_id))
        return found[:limit]

    async def counts(self) -> dict[str, int]:
        """Return how many runs have each status, as far as they are counted."""
        await self._reach("search")
        found = Counter(run.workflow.status.value for run in self.state.runs.values())
        return {status: min(count, count_limit(0, 0) + 1) for status, count in found.items()}

    async def parts(self) -> list[str]:
        """Return the parts of queues that have ready tasks, by name."""
        await self._reach("search")
        return sorted(name for name in self.state.queues if split_part(name)[1])

    async def limit_use(self, key: str, since_ms: int) -> LimitUse:
        """Return how many tasks of a limit's key are held, and were taken after a time."""
        await self._reach("search")
        return queue.limit_use(self.state, key, since_ms)

    async def queues(self) -> list[QueueDepth]:
        """Return the queues that have ready or leased tasks, by name."""
        await self._reach("search")
        return queue.depths(self.state)

    async def logs(self, task_id: str) -> list[LogLine]:
        """Return a task's log, oldest first."""
        await self._reach("search")
        return sorted(self.state.logs.get(task_id, ()), key=lambda line: line.created_at_ms)

    async def statistics(self) -> dict[str, Any]:
        """Return how often it committed and wrote a row; it knows no statements."""
        await self._reach("search")
        return {
            "commits": self._commits,
            "batches": self._commits,
            "statements": 0,
            "rows_written": self.state.rows_written,
        }

    async def _reach(self, point: str) -> None:
        self._refuse_when_closed()
        await self._pause(point)

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise StoreError("the memory store is closed")

    def _write(self, batch: Batch) -> Committed:
        """Write decisions, then touches, then claims: so a short claim means an empty queue."""
        assert_well_formed(batch)
        state = self.state
        state.committed_at_ms = max(batch.now_ms, state.committed_at_ms)
        self._commits += 1
        verdicts: list[Verdict] = []
        for decision in batch.decisions:
            verdict = judge(state, decision, batch.now_ms)
            verdicts.append(verdict)
            if isinstance(verdict, Accepted):
                for changes in decision.runs:
                    write(state, changes)
        touched = [queue.touch(state, wish, batch.now_ms) for wish in batch.touches]
        claimed = [queue.claim(state, wish, batch.now_ms) for wish in batch.claims]
        return Committed(verdicts=verdicts, claimed=claimed, touched=touched)

    def _loaded(self, workflow_id: str, run: Run, version_known: int) -> Loaded:
        def part(seq: int, name: str) -> Payload | None:
            return payload(run, seq, name, inline_bytes_max=self._inline_bytes_max)

        newer = [row for _, row in sorted(run.tasks.items()) if row.version > version_known]
        return Loaded(
            workflow=run.workflow,
            input=part(0, "input"),
            output=part(0, "output"),
            variables=part(0, "variables"),
            tasks=[
                (row.task, part(row.task.seq, "input"), part(row.task.seq, "output"))
                for row in newer
                if not row.is_retired
            ],
            retired=[row.task.seq for row in newer if row.is_retired],
            leases=[
                held.lease
                for held in self.state.held.values()
                if held.lease.workflow_id == workflow_id
            ],
        )

    def _fetched(self, workflow_id: str, seq: int, part: str) -> Payload:
        found = keep.find_payload(self.state, workflow_id, seq, part)
        if found is None:
            raise StoreError(f"run {workflow_id!r} has no {part!r} of seq {seq}")
        return found

    def _versions(self, kind: str, name: str | None) -> list[Document]:
        found = [
            document
            for document in self.state.documents.values()
            if document.kind == kind and name in (None, document.name)
        ]
        return sorted(found, key=lambda document: (document.name, document.version))
