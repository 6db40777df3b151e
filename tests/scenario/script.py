"""The language of the case files: commands, and how the state after each is written down.

A case is a text of blocks divided by blank lines. Lines with ``#`` are comment. A command is
followed by ``----`` and by what it changed: one line for each run and task that is not as before,
``nothing`` when all is. Times are seconds since the start of the case.

    define {...}  taskdef {...}            register a definition (more lines may follow)
    domain QUEUE   script SOURCE = JSON    what Needs are answered with
    late SOURCE                            a script that takes too long
    start NAME [JSON] [priority=N] [domains=JSON]
    poll QUEUE     heartbeat TASK          take a task, renew the lease
    complete|fail|error|cancel|progress TASK [JSON] ['reason'] [callback=SECONDS] [parked=yes]
    reference TASK STATUS [JSON]           report by reference name
    advance SECONDSs                       move the clock, firing what is due
    fire TASK KIND   expire TASK           a timer or lease expiry that comes twice
    pause|resume|retry|terminate RUN [children] ['reason']
    restart RUN [latest]   rerun RUN [TASK] [JSON] [input=JSON] [correlation=ID]
    skip [RUN:]REFERENCE [JSON] [input=JSON]   remove RUN [anyway]   callbacks RUN   decide RUN
    hold   deliver                         keep Sends back, and let them go
    input|output TASK|RUN   journal RUN    show a payload; show the versions
    messages RUN                           show what was published, one line each

TASK is ``[RUN:]REFERENCE[#RETRY_COUNT]``, in run ``main`` and the newest attempt unless given.
"""

import json
import re
from typing import TYPE_CHECKING

import msgspec

from batuta.core.identity import uuid7
from batuta.core.journal import messages_of
from batuta.model.command import (
    ExpireLease,
    FireTimer,
    StartWorkflow,
    TimerKind,
    UpdateReference,
    UpdateTask,
)
from batuta.model.error import BatutaError
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY, Payload
from tests.scenario import operations
from tests.scenario.arguments import arguments
from tests.scenario.driver import START_MS, Run, World

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUSES = {
    "complete": TaskStatus.COMPLETED,
    "fail": TaskStatus.FAILED,
    "error": TaskStatus.FAILED_WITH_TERMINAL_ERROR,
    "cancel": TaskStatus.CANCELED,
    "progress": TaskStatus.IN_PROGRESS,
}


class Block(msgspec.Struct):
    """A piece of a case file: comments, or a command and what is expected of it."""

    head: list[str]
    expected: list[str] | None = None

    def text(self) -> str:
        """Return the block as it stands in the file."""
        lines = self.head if self.expected is None else [*self.head, "----", *self.expected]
        return "\n".join(lines)


def parse(text: str) -> list[Block]:
    """Return the blocks of a case file."""
    blocks = []
    for piece in re.split(r"\n\s*\n", text.strip()):
        lines = [line.rstrip() for line in piece.splitlines()]
        if "----" in lines:
            cut = lines.index("----")
            blocks.append(Block(lines[:cut], lines[cut + 1 :]))
        else:
            blocks.append(Block(lines))
    return blocks


def run(text: str) -> str:
    """Carry out a case file; return it with what really happened in place of what is expected."""
    player = Player()
    blocks = parse(text)
    for block in blocks:
        command = " ".join(line for line in block.head if not line.startswith("#"))
        if not command:
            continue
        happened = player.play(command)
        block.expected = happened if happened or block.expected is not None else None
    return "\n\n".join(block.text() for block in blocks) + "\n"


class Player:
    """Carries out the commands of one case."""

    def __init__(self) -> None:
        self.world = World()
        self._shown: dict[str, str] = {}
        self._starts = 0

    def play(self, text: str) -> list[str]:
        """Carry out one command; return the lines of what has changed."""
        word, _, rest = text.partition(" ")
        if word in {"define", "taskdef", "domain", "script", "late", "hold"}:
            self._prepare(word, rest.strip())
            return []
        if word in {"input", "output", "journal", "messages"}:
            return self._show(word, rest.strip())
        try:
            self._command(word, rest.strip())
        except BatutaError as error:
            return [self._named(f"{type(error).__name__}: {error}")]
        lines = self._lines()
        changed = [line for key, line in lines.items() if self._shown.get(key) != line]
        gone = [line.split()[0] for key, line in self._shown.items() if key not in lines]
        changed += [f"{label} retired" for label in gone]
        self._shown = lines
        return changed or ["nothing"]

    # -- commands --------------------------------------------------------------------------

    def _prepare(self, word: str, rest: str) -> None:
        if word == "define":
            self.world.define(json.loads(rest))
        elif word == "taskdef":
            self.world.define_task(json.loads(rest))
        elif word == "domain":
            self.world.domains.add(rest)
        elif word == "late":
            self.world.late.add(rest)
        elif word == "hold":
            self.world.are_sends_held = True
        else:
            source, _, value = rest.rpartition(" = ")
            self.world.scripts[source] = json.loads(value)

    def _command(self, word: str, rest: str) -> None:
        if word in _STATUSES:
            self._update(word, rest)
            return
        plain: dict[str, Callable[[str], object]] = {
            "start": self._start,
            "poll": self.world.poll,
            "heartbeat": lambda name: self.world.heartbeat(*self.task(name)),
            "reference": self._reference,
            "advance": lambda time: self.world.advance(self.world.now_ms + _ms(time)),
            "fire": self._fire,
            "expire": self._expire,
            "deliver": self._deliver,
        }
        if word in plain:
            plain[word](rest)
        else:
            self.world.submit(operations.READ[word](self, rest))

    def _start(self, rest: str) -> None:
        name, document, options = arguments(rest)
        graph = self.world.graph(name, 0)
        assert graph is not None, f"definition {name!r} is registered"
        self._starts += 1
        workflow_id = uuid7(START_MS, self._starts, 0)
        self.world.submit(
            StartWorkflow(
                workflow_id=workflow_id,
                name=name,
                definition=graph.digest,
                definition_version=graph.definition.version,
                input=document or EMPTY,
                priority=int(options.get("priority", "0")),
                task_to_domain=json.loads(options.get("domains", "{}")),
                correlation_id=options.get("correlation"),
            )
        )

    def _update(self, word: str, rest: str) -> None:
        name, document, options = arguments(rest)
        run, task = self.task(name)
        self.world.submit(
            UpdateTask(
                workflow_id=run.execution.workflow.workflow_id,
                task_id=task.task_id,
                status=_STATUSES[word],
                output=document,
                reason=options.get("reason"),
                callback_after_ms=_ms(options.get("callback", "0s")),
                is_parked="parked" in options,
            )
        )

    def _reference(self, rest: str) -> None:
        name, document, options = arguments(rest)
        label, _, reference = name.rpartition(":")
        self.world.submit(
            UpdateReference(
                workflow_id=self.id(label or "main"),
                reference_name=reference,
                status=TaskStatus(options["reason"]),
                output=document,
            )
        )

    def _fire(self, rest: str) -> None:
        name, kind = rest.split()
        if name.endswith(":"):
            workflow_id, task_id = self.id(name[:-1]), ""
        else:
            run, task = self.task(name)
            workflow_id, task_id = run.execution.workflow.workflow_id, task.task_id
        self.world.submit(
            FireTimer(
                workflow_id=workflow_id,
                task_id=task_id,
                kind=TimerKind(kind),
                due_at_ms=self.world.now_ms,
            )
        )

    def _expire(self, rest: str) -> None:
        run, task = self.task(rest)
        lease = run.execution.leases.get(task.task_id)
        self.world.submit(
            ExpireLease(
                workflow_id=run.execution.workflow.workflow_id,
                task_id=task.task_id,
                poll_count=lease.poll_count if lease else 1,
            )
        )

    def _deliver(self, _: str) -> None:
        self.world.are_sends_held = False
        self.world.deliver()

    # -- names -----------------------------------------------------------------------------

    def run(self, label: str) -> Run:
        """Return the run of a label."""
        return next(run for run in self.world.runs.values() if run.label == label)

    def id(self, label: str) -> str:
        """Return the id of the run of a label."""
        return self.run(label).execution.workflow.workflow_id

    def task(self, name: str) -> tuple[Run, Task]:
        """Return the task of ``[RUN:]REFERENCE[#RETRY_COUNT]``, and its run."""
        label, _, reference = name.rpartition(":")
        run = self.run(label or "main")
        reference, _, count = reference.partition("#")
        found = [t for t in run.execution.in_order() if t.reference_name == reference]
        wanted = [t for t in found if not count or t.retry_count == int(count)]
        assert wanted, f"{name} has been made"
        return run, wanted[-1]

    def _named(self, text: str) -> str:
        """Put labels in place of the ids of a text."""
        for run in self.world.runs.values():
            text = text.replace(run.execution.workflow.workflow_id, f"<{run.label}>")
            for task in run.execution.in_order():
                text = text.replace(task.task_id, f"<{_label(run, task)}>")
        return text

    # -- what is shown ---------------------------------------------------------------------

    def _show(self, word: str, name: str) -> list[str]:
        if word == "journal":
            run = self.run(name)
            return [self._named(document.decode()) for _, _, document in run.entries]
        if word == "messages":
            entries = self.run(name).entries
            found = [one for _, _, document in entries for one in messages_of(document)]
            lines = [f"{one.queue} {one.message_id} {_text(one.payload)}" for one in found]
            return [self._named(line) for line in lines] or ["none"]
        labels = {run.label for run in self.world.runs.values()}
        if name in labels:
            execution = self.run(name).execution
            payload = execution.input if word == "input" else execution.output
        else:
            run, task = self.task(name)
            payloads = run.execution.inputs if word == "input" else run.execution.outputs
            payload = payloads.get(task.seq)
        return [self._named(_text(payload or EMPTY))]

    def _lines(self) -> dict[str, str]:
        lines = {}
        for run in self.world.runs.values():
            lines[run.label] = self._named(self._run_line(run))
            for task in run.execution.in_order():
                lines[task.task_id] = self._named(self._task_line(run, task))
        return lines

    def _run_line(self, run: Run) -> str:
        execution = run.execution
        workflow = execution.workflow
        parts = [f"{run.label} {workflow.status}"]
        parts += _timers(run, "")
        if execution.variables != EMPTY:
            parts.append(f"variables {_text(execution.variables)}")
        if execution.output is not None:
            parts.append(f"output {_text(execution.output)}")
        if workflow.reason is not None:
            parts.append(f"reason {workflow.reason!r}")
        if workflow.failed_references:
            parts.append(f"failed {','.join(workflow.failed_references)}")
        if workflow.priority:
            parts.append(f"priority {workflow.priority}")
        return ", ".join(parts)

    def _task_line(self, run: Run, task: Task) -> str:
        parts = [f"{_label(run, task)} {task.status}"]
        lease = run.execution.leases.get(task.task_id)
        row = run.queued.get(task.task_id)
        if row is not None:
            priority = f" with priority {row.priority}" if row.priority else ""
            parts.append(f"in queue {row.queue}{priority}")
        if lease is not None:
            parts.append(f"held until {_time(lease.expires_at_ms)}")
        parts += _timers(run, task.task_id)
        if task.task_type == "DO_WHILE":
            parts.append(f"iteration {task.iteration}")
        if task.poll_count and not task.status.is_terminal:
            parts.append(f"polled {task.poll_count}")
        if task.child_id:
            child = self.world.runs.get(task.child_id)
            parts.append(f"child {child.label if child else 'unborn'}")
        output = run.execution.outputs.get(task.seq, EMPTY)
        if output != EMPTY:
            parts.append(f"output {_text(output)}")
        if task.reason is not None:
            parts.append(f"reason {task.reason!r}")
        return ", ".join(parts)


def _label(run: Run, task: Task) -> str:
    count = f"#{task.retry_count}" if task.retry_count else ""
    return f"{run.label}:{task.reference_name}{count}"


def _timers(run: Run, task_id: str) -> list[str]:
    found = sorted((kind, due) for (owner, kind), due in run.timers.items() if owner == task_id)
    return [f"{kind} at {_time(due)}" for kind, due in found]


def _time(at_ms: int) -> str:
    return f"{(at_ms - START_MS) / 1000:g}s"


def _ms(text: str) -> int:
    return round(float(text.removesuffix("s")) * 1000)


def _text(payload: Payload) -> str:
    assert payload.raw is not None, "the driver loads everything"
    return payload.raw.decode()
