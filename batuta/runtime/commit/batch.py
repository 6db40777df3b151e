"""One batch in the making: commands decided, their changes merged for the store.

A ``Share`` is one run's part; a ``Unit`` is what the store accepts or refuses as a whole: one
run, or several that a Send settled in place has joined. Everything here is synchronous: between
two awaits of the committer the facts stay true.
"""

import asyncio
from collections.abc import Callable, Sequence

from batuta.core.apply import apply
from batuta.core.commands.update import open_task
from batuta.core.decide import decide
from batuta.core.execution import Execution
from batuta.core.graph import Graph
from batuta.core.journal import entry_document
from batuta.model.change import (
    Answers,
    Change,
    ClearTimer,
    DropSend,
    Enqueue,
    Needs,
    Publish,
    PutLease,
    PutTask,
    PutWorkflow,
    Release,
    RemoveWorkflow,
    Send,
    SetTimer,
)
from batuta.model.command import Command, StartWorkflow, UpdateReference
from batuta.model.error import BusyError, NotFoundError
from batuta.model.execution import Task, Workflow
from batuta.model.limit import split_part
from batuta.runtime.commit.backlog import Backlog
from batuta.runtime.queues import Waiter
from batuta.store.base import Decision, Entry, RunChanges

ATTEMPTS_MAX = 8  # decisions a command may cost when other nodes keep winning
SEND_ATTEMPTS_MAX = 2  # of a stored Send: refused again it may be consumed, the next pass sees

DecideFunction = Callable[..., Sequence[Change] | Needs]


class Submitted:
    """A command with its caller: what was asked, by whom, and where the answer goes.

    ``answer`` is None for a Send settled in place: nobody waits for it.
    """

    __slots__ = (
        "actor",
        "answer",
        "answers",
        "attempts",
        "backlog",
        "command",
        "error",
        "is_sure",
        "needs_rounds",
        "poll_worker",
        "request_id",
        "seed",
        "send_id",
        "size_bytes",
        "task",
        "task_id",
        "tried",
        "versions_unknown",
    )

    def __init__(
        self,
        command: Command,
        answer: "asyncio.Future[Execution] | None",
        *,
        seed: bytes,
        actor: str = "",
        request_id: str = "",
        send_id: int | None = None,
    ) -> None:
        self.command = command
        self.answer = answer
        self.seed = seed
        self.actor = actor
        self.request_id = request_id
        self.send_id = send_id
        self.answers: Answers = {}
        self.attempts = 0
        self.needs_rounds = 0
        self.error: Exception | None = None
        self.poll_worker: Waiter | None = None
        self.backlog: Backlog | None = None  # that it is counted in until its answer
        self.size_bytes = 0  # with so many
        self.is_sure = False  # decided on a run that was read after the command had come
        # Of commits without an outcome: the versions of its run that it may have become, or may
        # yet, and the run as the last of them would have left it.
        self.versions_unknown: tuple[int, ...] = ()
        self.tried: Execution | None = None
        # The task it is about (of an UpdateReference once decided), and how it stood when the
        # answer became true: the run itself moves on before the caller looks.
        self.task_id: str = getattr(command, "task_id", None) or ""
        self.task: Task | None = None

    @property
    def is_worn_out(self) -> bool:
        """True when it is not decided any more; what an earlier try has stored is answered."""
        limit = ATTEMPTS_MAX if self.send_id is None else SEND_ATTEMPTS_MAX
        return self.attempts >= limit

    def may_be_in(self, version: int) -> bool:
        """Say whether an earlier try may be in its run at this version: then look it up.

        A version beyond may yet be taken by an earlier try, which then refuses this one.
        """
        return any(known <= version for known in self.versions_unknown)

    def resolve(self, execution: Execution) -> None:
        """Tell the caller what became of the command."""
        self._leave()
        if self.answer is None or self.answer.done():
            return
        if self.error is None:
            self.task = execution.task(self.task_id) if self.task_id else None
            self.answer.set_result(execution)
        else:
            self.refuse(self.error)

    def resolve_late(self, execution: Execution) -> None:
        """Tell the caller of what an earlier try has done; a poll that came with it ends empty."""
        if self.poll_worker is not None:
            self.poll_worker.resolve([])
        self.resolve(execution)

    def refuse_at_last(self) -> None:
        """Tell the caller that it was decided too often."""
        run = repr(self.command.workflow_id)
        self.refuse(BusyError(f"workflow {run} is changed by others too often; try again"))

    def refuse(self, error: Exception) -> None:
        """Tell the caller why it was not done; a poll that came with it ends empty."""
        self._leave()
        if self.poll_worker is not None:
            self.poll_worker.resolve([])
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def _leave(self) -> None:
        """Make room for further commands, once."""
        if self.backlog is not None:
            self.backlog.size_bytes -= self.size_bytes
            self.backlog = None


class Share:
    """One run's part of a batch: its execution, moved on by each command, and what to write."""

    __slots__ = (
        "commands",
        "enqueued",
        "entries",
        "execution",
        "freed",
        "is_damaged",
        "leased",
        "other",
        "task_puts",
        "timers",
        "unit",
        "version_from",
        "workflow_put",
    )

    def __init__(self, execution: Execution, unit: "Unit") -> None:
        self.execution = execution
        self.unit = unit
        self.version_from = execution.workflow.version
        self.commands: list[Submitted] = []
        # A bug of ours stopped a decision half-way: reload the run.
        self.is_damaged = False
        self.entries: list[Entry] = []
        self.workflow_put: PutWorkflow | None = None
        self.task_puts: dict[int, PutTask] = {}
        self.enqueued: dict[str, Enqueue] = {}
        self.timers: dict[tuple[str, str], SetTimer | ClearTimer] = {}
        self.leased: list[PutLease] = []
        self.freed: set[str] = set()  # keys of limits under which a task was held until now
        self.other: list[Change] = []
        unit.shares.append(self)

    def add(self, changes: Sequence[Change], entry: Entry, now_ms: int) -> list[Send]:
        """Take one command's changes: move the run on, merge the records, give out the Sends."""
        self._note_freed(changes)
        apply(self.execution, changes, now_ms=now_ms)
        self.entries.append(entry)
        sends: list[Send] = []
        for change in changes:
            if isinstance(change, PutTask):
                self._merge_task(change)
            elif isinstance(change, Release):
                # A task queued by an earlier command of this batch is on no table yet.
                if self.enqueued.pop(change.task_id, None) is None:
                    self.other.append(change)
            elif isinstance(change, Enqueue):
                self.enqueued[change.task_id] = change
            elif isinstance(change, PutWorkflow):
                self._merge_workflow(change)
            elif isinstance(change, SetTimer | ClearTimer):
                self.timers[change.task_id, change.kind] = change
            elif isinstance(change, Send):
                sends.append(change)
            elif not isinstance(change, RemoveWorkflow | Publish):
                # A removal is written last; a message is in the entry.
                self.other.append(change)
        return sends

    def _note_freed(self, changes: Sequence[Change]) -> None:
        leases = self.execution.leases
        for change in changes if leases else ():
            if isinstance(change, Release) and (lease := leases.get(change.task_id)):
                key = split_part(lease.queue)[1]
                if key:
                    self.freed.add(key)

    @property
    def request_id(self) -> str:
        """The request that this run's newest entry came from."""
        return self.entries[-1].request_id if self.entries else ""

    def run_changes(self) -> RunChanges:
        """Return what the store writes for this run."""
        changes: list[Change] = [self.workflow_put] if self.workflow_put else []
        changes.extend(self.task_puts.values())
        changes.extend(self.other)
        changes.extend(self.timers.values())
        changes.extend(self.enqueued.values())
        changes.extend(self.leased)
        if self.execution.is_removed:
            changes.append(RemoveWorkflow(self.execution.workflow.workflow_id))
        return RunChanges(
            workflow_id=self.execution.workflow.workflow_id,
            version_from=self.version_from,
            version_to=self.version_from + len(self.entries),
            changes=changes,
            entries=self.entries,
        )

    def _merge_task(self, change: PutTask) -> None:
        before = self.task_puts.get(change.task.seq)
        if before is not None:
            change = PutTask(
                task=change.task,
                changed=None if before.changed is None else change.changed,
                input=change.input or before.input,
                output=change.output or before.output,
            )
        self.task_puts[change.task.seq] = change

    def _merge_workflow(self, change: PutWorkflow) -> None:
        before = self.workflow_put
        if before is not None:
            change = PutWorkflow(
                workflow=change.workflow,
                changed=None if before.changed is None else change.changed,
                input=change.input or before.input,
                output=change.output or before.output,
                variables=change.variables or before.variables,
            )
        self.workflow_put = change


class Unit:
    """Runs that stand or fall together."""

    __slots__ = ("has_stored_sends", "shares")

    def __init__(self) -> None:
        self.shares: list[Share] = []
        self.has_stored_sends = False

    def absorb(self, other: "Unit") -> None:
        """Join another unit to this one."""
        for share in other.shares:
            share.unit = self
        self.shares.extend(other.shares)
        self.has_stored_sends |= other.has_stored_sends
        other.shares = []

    def has_been_tried(self) -> bool:
        """Say whether some command of it was decided and sent to the store before."""
        return any(submitted.attempts for share in self.shares for submitted in share.commands)

    def note_unknown(self) -> None:
        """Have its commands remember as what they may yet come to be stored."""
        for share in self.shares:
            versions = {entry.request_id: entry.version for entry in share.entries}
            for submitted in share.commands:
                version = versions.get(submitted.request_id)
                if version is not None:
                    submitted.versions_unknown += (version,)
                    submitted.tried = share.execution

    def dissolve(self) -> None:
        """Let the runs go once all callers are told.

        Unit and share name each other: what they hold would be left to the collector of cycles,
        which costs as much as the step itself.
        """
        self.shares = []

    def decision(self) -> Decision:
        """Return the unit as the store takes it; runs without a change are left out."""
        return Decision([share.run_changes() for share in self.shares if share.entries])


def decide_on(
    share: Share,
    submitted: Submitted,
    *,
    now_ms: int,
    environment: dict[str, str],
    deciding: DecideFunction = decide,
) -> Needs | list[Send]:
    """Decide a command on its run's share and merge what it changes.

    Returns:
        What it needs, then nothing was changed; or the Sends it makes, to be settled.

    Raises:
        BatutaError: The run's state refuses the command.
    """
    command = submitted.command
    # A start that could not be decided leaves the empty run that it was to fill: nothing else is
    # done to that.
    is_empty = share.version_from == 0 and not share.entries
    if share.execution.is_removed or (is_empty and not isinstance(command, StartWorkflow)):
        raise NotFoundError(f"no workflow {command.workflow_id!r}")
    if isinstance(command, UpdateReference):
        meant = open_task(share.execution, command.reference_name)
        submitted.task_id = meant.task_id if meant else ""
    changes = deciding(
        share.execution,
        command,
        now_ms=now_ms,
        seed=submitted.seed,
        answers=submitted.answers,
        environment=environment,
    )
    if isinstance(changes, Needs):
        return changes
    if submitted.send_id is not None:
        changes = [*changes, DropSend(submitted.send_id)]
    if not changes:
        return []
    entry = Entry(
        version=share.execution.workflow.version + 1,
        at_ms=now_ms,
        kind=tag_of(command),
        actor=submitted.actor,
        request_id=submitted.request_id,
        changed=entry_document(changes),
    )
    return share.add(changes, entry, now_ms)


def tag_of(command: Command) -> str:
    """Return the command's kind as the journal names it."""
    tag = type(command).__struct_config__.tag
    assert isinstance(tag, str), "every command has a tag"
    return tag


def new_execution(command: StartWorkflow, graph: Graph) -> Execution:
    """Return the empty execution, version 0, that a StartWorkflow is decided on."""
    workflow = Workflow(
        workflow_id=command.workflow_id,
        name=command.name,
        definition=command.definition,
        definition_version=command.definition_version,
        correlation_id=command.correlation_id,
        priority=command.priority,
        parent_id=command.parent_id,
        parent_task_id=command.parent_task_id,
        depth=command.depth,
        task_to_domain=command.task_to_domain,
        event=command.event,
        dialect=command.dialect,
        owner=command.owner,
    )
    return Execution(workflow, graph, input=command.input)
