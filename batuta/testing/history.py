"""Random histories: what a committer might do to a few runs, from a seed.

A ``History`` makes one batch after another. It knows the state only by what a store answers,
and keeps to what a committer may do; some decisions are made from a state that is out of date
on purpose. The ids of Sends are each store's own: ``with_send_ids`` translates a batch.
"""

import random  # noqa: TID251  each history repeats from its seed
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from batuta.core.identity import uuid7
from batuta.model.change import (
    Change,
    ClearTimer,
    DropSend,
    Release,
    RemoveWorkflow,
    Reserve,
    RetireTask,
    Send,
)
from batuta.model.command import PauseWorkflow, TimerKind
from batuta.model.execution import Lease, Task, TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.store.base import Batch, Claim, Decision, Loaded, PendingSend, RunChanges, Touch
from batuta.testing import builders

QUEUES = ("a", "b")
KEYS = ("k", "l")
KINDS = (TimerKind.WAIT, TimerKind.POLL_TIMEOUT)
RUNS_MAX = 6  # few, so that decisions meet
BODIES: tuple[Any, ...] = ({}, {"n": [1, 2.5, None]}, "é" * 20, ["x" * 20_000])


def with_send_ids(batch: Batch, ids: Mapping[int, int]) -> Batch:
    """Return the batch with the ids of its DropSends replaced by those of another store."""

    def translated(run: RunChanges) -> RunChanges:
        changes = [
            DropSend(ids[change.send_id]) if isinstance(change, DropSend) else change
            for change in run.changes
        ]
        return replace(run, changes=changes)

    decisions = [Decision([translated(run) for run in one.runs]) for one in batch.decisions]
    return replace(batch, decisions=decisions)


class History:
    """A source of batches. ``tasks`` and ``runs`` are all ids it has ever made."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._id_count = 0
        self._random = random.Random(seed)  # noqa: S311  no secret is drawn from it
        self.now_ms = builders.NOW_MS
        self.runs: list[str] = []
        self.tasks: list[str] = []
        self._sends: dict[int, str] = {}  # the target of each Send ever seen
        self._straight: set[str] = set()  # tasks that a PutLease handed out: they have no place

    def next_batch(self, state: Mapping[str, Loaded], sends: Sequence[PendingSend]) -> Batch:
        """Return the next batch, given all runs as loaded, perhaps some time ago."""
        self._sends.update({send.send_id: send.workflow_id for send in sends})
        chance = self._random
        self.now_ms += chance.choice((0, 1, 7_000, 70_000))
        if state and chance.random() < 0.04:
            return self._removal(chance.choice(list(state.values())))
        runs = list(state)
        chance.shuffle(runs)
        decisions: list[Decision] = []
        while runs and len(decisions) < 3:
            members = [runs.pop() for _ in range(chance.choice((1, 1, 1, 2))) if runs]
            decisions.append(Decision([self._changes(state[one]) for one in members]))
        if len(self.runs) < RUNS_MAX and chance.random() < 0.4:
            decisions.append(Decision([self._begin()]))
        return Batch(
            now_ms=self.now_ms,
            decisions=decisions,
            touches=self._touches(state),
            claims=[
                Claim(queue=chance.choice(QUEUES), worker_id="w", count=chance.choice((1, 1, 3)))
                for _ in range(chance.choice((0, 1, 3)))
            ],
        )

    def _removal(self, known: Loaded) -> Batch:
        """Return a batch of its own: a Send to a run that goes in the same batch may be lost."""
        workflow_id = known.workflow.workflow_id
        run = builders.step(
            workflow_id, known.workflow.version, RemoveWorkflow(workflow_id), at_ms=self.now_ms
        )
        return builders.batch(run, now_ms=self.now_ms)

    def _begin(self) -> RunChanges:
        header = builders.workflow(
            workflow_id=self._new_id(),
            created_at_ms=builders.NOW_MS + len(self.runs),
            updated_at_ms=self.now_ms,
        )
        self.runs.append(header.workflow_id)
        return builders.start(
            header, *self._new_task(1), at_ms=self.now_ms, request_id=str(self._random.random())
        )

    def _changes(self, known: Loaded) -> RunChanges:
        """Return one or two commands' changes to a run, as decided from ``known``."""
        chance = self._random
        workflow_id = known.workflow.workflow_id
        changes: list[Change] = []
        if chance.random() < 0.3:
            after = replace(
                known.workflow,
                status=chance.choice(list(WorkflowStatus)),
                reason=chance.choice((None, "r")),
                updated_at_ms=self.now_ms,
            )
            changes.append(builders.put_workflow(after, known.workflow, variables=self._body()))
        leases = {lease.task_id: lease for lease in known.leases}
        for header, _, _ in known.tasks:
            if chance.random() < 0.5:
                lease = leases.get(header.task_id)
                changes += self._task_changes(workflow_id, header, lease)
        if chance.random() < 0.4:
            seqs = [header.seq for header, _, _ in known.tasks] + known.retired
            changes += self._new_task(max(seqs, default=0) + 1)
        changes += self._small_changes(workflow_id)
        return builders.step(
            workflow_id,
            known.workflow.version,
            *changes,
            commands=chance.choice((1, 1, 2)),
            at_ms=self.now_ms,
            request_id=str(chance.random()),
        )

    def _new_task(self, seq: int) -> list[Change]:
        header = builders.task(seq, task_id=self._new_id(), updated_at_ms=self.now_ms)
        self.tasks.append(header.task_id)
        changes: list[Change] = [builders.put_task(header, input=self._body())]
        if self._random.random() < 0.7:
            changes.append(self._offer(header, 0, 0))
        return changes

    def _task_changes(self, workflow_id: str, header: Task, lease: Lease | None) -> list[Change]:
        chance = self._random
        after = replace(
            header,
            status=chance.choice(list(TaskStatus)),
            worker_id=chance.choice((None, "w")),
            updated_at_ms=self.now_ms,
        )
        changes: list[Change] = []
        if chance.random() < 0.6:
            changes.append(builders.put_task(after, header, output=self._body()))
        poll_count = lease.poll_count if lease else 0
        started_at_ms = lease.started_at_ms if lease else 0
        expired_at_ms = self.now_ms if lease and chance.random() < 0.3 else None
        release = Release(
            task_id=header.task_id, poll_count=poll_count, expired_at_ms=expired_at_ms
        )
        match chance.choice(("stay", "release", "offer", "hand", "retire", "twice")):
            case "release":
                changes.append(release)
            case "offer":
                offer = self._offer(header, poll_count, started_at_ms)
                changes += [release, offer]
            case "hand":
                self._straight.add(header.task_id)
                given = builders.put_lease(
                    workflow_id,
                    header,
                    chance.choice(QUEUES),
                    poll_count=poll_count + 1,
                    started_at_ms=started_at_ms or self.now_ms,
                    polled_at_ms=self.now_ms,
                    expires_at_ms=self.now_ms + builders.LEASE_MS,
                )
                changes += [release, given]
            case "retire":
                changes += [release, RetireTask(header.seq)]
            case "twice":
                offer = self._offer(header, poll_count, started_at_ms)
                changes += [release, offer, Release(task_id=header.task_id)]
            case _:
                pass
        changes += self._timers(header)
        if chance.random() < 0.2:
            changes.append(builders.log(header, f"line {chance.random()}", self.now_ms))
        return changes

    def _offer(self, header: Task, poll_count: int, started_at_ms: int) -> Change:
        return builders.enqueue(
            header,
            self._random.choice(QUEUES),
            at_ms=self.now_ms,
            priority=self._random.choice((0, 0, 5)),
            timeout_ms=self._random.choice((0, 30_000)),
            poll_count=poll_count,
            started_at_ms=started_at_ms,
        )

    def _timers(self, header: Task | None) -> list[Change]:
        chance = self._random
        kind = chance.choice(KINDS)
        match chance.choice(("stay", "stay", "set", "clear")):
            case "set":
                due_at_ms = self.now_ms + chance.choice((-5, 0, 100, 90_000))
                return [builders.timer(header, due_at_ms, kind)]
            case "clear":
                return [ClearTimer(task_id=header.task_id if header else "", kind=kind)]
            case _:
                return []

    def _small_changes(self, workflow_id: str) -> list[Change]:
        chance = self._random
        changes = self._timers(None)
        if chance.random() < 0.2:
            until_ms = self.now_ms + chance.choice((1, 50_000))
            # Runs of one decision want different keys, as it would be its own rival.
            key = f"{chance.choice(KEYS)}{self.runs.index(workflow_id) % 2}"
            changes.append(Reserve(scope="s", key=key, workflow_id=workflow_id, until_ms=until_ms))
        if chance.random() < 0.2:
            changes.append(Send(PauseWorkflow(chance.choice(self.runs))))
        mine = [send_id for send_id, target in self._sends.items() if target == workflow_id]
        if mine and chance.random() < 0.3:
            changes.append(DropSend(chance.choice(mine[-2:])))
        return changes

    def _touches(self, state: Mapping[str, Loaded]) -> list[Touch]:
        chance = self._random
        leases = [lease for known in state.values() for lease in known.leases]
        return [
            Touch(
                task_id=lease.task_id,
                poll_count=lease.poll_count + chance.choice((0, 0, 0, 1)),
                polled_at_ms=lease.polled_at_ms + chance.choice((0, 0, 0, 1)),
                # The place of a task that never stood in a queue is the store's own choice.
                is_given_back=lease.task_id not in self._straight and chance.random() < 0.5,
            )
            for lease in leases
            if chance.random() < 0.3
        ]

    def _new_id(self) -> str:
        self._id_count += 1
        return uuid7(builders.NOW_MS, self._seed, self._id_count)

    def _body(self) -> Payload | None:
        if self._random.random() < 0.6:
            return None
        return Payload.of(self._random.choice(BODIES))
