"""People and services that start runs and operate on them."""

import asyncio
from typing import Any

from batuta.model.command import (
    Control,
    PauseWorkflow,
    RerunWorkflow,
    ResetCallbacks,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    SkipTask,
    TerminateWorkflow,
    UpdateReference,
)
from batuta.model.error import BatutaError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.definitions import PIN_MS_MAX
from batuta.runtime.view import StartRequest
from tests.simulation.answers import ANY_TASK
from tests.simulation.definitions import EAST, workflow_definition
from tests.simulation.world import GoneError, World

_COMMANDS = {
    "pause": PauseWorkflow,
    "resume": ResumeWorkflow,
    "terminate": lambda workflow_id: TerminateWorkflow(workflow_id=workflow_id, reason="enough"),
    "retry": lambda workflow_id: RetryWorkflow(workflow_id=workflow_id),
    "retry_all": lambda workflow_id: RetryWorkflow(workflow_id=workflow_id, resume_children=True),
    "restart": lambda workflow_id: RestartWorkflow(workflow_id=workflow_id),
    "restart_latest": lambda workflow_id: RestartWorkflow(workflow_id=workflow_id, use_latest=True),
    "rerun_all": lambda workflow_id: RerunWorkflow(workflow_id=workflow_id),
    "callbacks": ResetCallbacks,
}
# Retries and resumes weigh more: that is where engines of this kind have had most of their bugs.
_MEDDLING = (
    *("pause", "resume", "resume", "terminate", "retry", "retry", "retry_all"),
    *("restart", "restart_latest", "rerun_all", "rerun", "rerun", "rerun", "skip", "callbacks"),
    *("reference", "look", "look", "heartbeat", "define"),
)

# Ended by hand, these would say something else than their children.
_NOT_BY_HAND = frozenset({"JOIN", "DO_WHILE", "SUB_WORKFLOW"})


# A domain that workers poll, and one that nobody does: the list falls back to the plain queue.
_DOMAINS = ({}, {}, {}, {"*": EAST}, {"build": f"{EAST},NO_DOMAIN", "test": "west,NO_DOMAIN"})


class Clients:
    """All clients of a world.

    Args:
        documents: The definitions that may be started, each of which may name those before it.
    """

    def __init__(self, world: World, documents: list[dict[str, Any]]) -> None:
        self._world = world
        self._documents = documents
        # By name, the version acknowledged as registered, and since when every node starts it.
        self._registered = {document["name"]: [(1, 0.0)] for document in documents}
        self._chance = world.chance.stream("clients")

    async def start_runs(self, count: int, within_s: float) -> None:
        """Start ``count`` runs, spread over a time; one whose answer is lost is started again."""
        for _ in range(count):
            await asyncio.sleep(self._chance.random() * 2 * within_s / count)
            self._world.loop.create_task(self._start())

    async def _start(self) -> None:
        world = self._world
        value: Any = self._chance.choice([0, 1, 2, "x" * 300])
        request = StartRequest(
            name=self._chance.choice(self._documents)["name"],
            input=Payload.of({"n": value}),
            priority=self._chance.choice([0, 0, 7]),
            task_to_domain=self._chance.choice(_DOMAINS),
        )
        for _ in range(5):
            node = world.any_node("start")
            now_s = world.loop.time()
            version = max(v for v, at_s in self._registered[request.name] if at_s <= now_s)
            work = world.call(
                node,
                lambda e: e.start(request),
                "start",
                lambda run, version=version: world.ledger.on_start(run, version),
            )
            try:
                await world.abandoned(work, "start")
            except (GoneError, BatutaError):
                await asyncio.sleep(0.3)
            else:
                return

    async def meddle(self) -> None:
        """Pause, resume, terminate, retry, report by reference, look: what people do."""
        world = self._world
        while True:
            await asyncio.sleep(self._chance.random() * 1.5)
            runs = list(world.state.runs)
            if world.is_calm or not runs:
                continue
            run = self._chance.choice(runs[-8:] if self._chance.random() < 0.7 else runs)
            kind = self._chance.choice(_MEDDLING)
            if kind == "reference":
                work = self._report(run)
            elif kind == "define":
                work = self._redefine()
            elif kind == "look":
                work = self._look(run)
            elif kind == "heartbeat":
                work = self._beat(run)
            else:
                work = self.control(kind, run)
            world.loop.create_task(work)
            if self._chance.random() < 0.1 and kind in {*_COMMANDS, "rerun", "skip"}:
                world.loop.create_task(self.control(kind, run))

    async def control(self, kind: str, run: str) -> bool:
        """Do an operation; True when it was acknowledged."""
        world = self._world
        command = self._command(kind, run)
        commit = world.checks.commits
        work = world.call(
            world.any_node("control"),
            lambda e: e.control(command),
            kind,
            lambda _: world.ledger.on_control(command),
        )
        try:
            await world.abandoned(work, kind)
        except GoneError:
            return False
        except BatutaError as error:
            world.ledger.on_refused_control(command, error, commit)
            return False
        return True

    def _command(self, kind: str, run: str) -> Control:
        """Make an operation on a run; one on a task takes any that it has, or may come to have."""
        row = self._world.state.runs[run]
        if kind == "skip":
            names = sorted(self._world.graph(row.workflow.definition).nodes)
            output = Payload.of({"by": "hand"})
            return SkipTask(
                workflow_id=run, reference_name=self._chance.choice(names), output=output
            )
        tasks = [r.task.task_id for r in row.tasks.values() if not r.is_retired]
        if kind == "rerun" and tasks:
            return RerunWorkflow(workflow_id=run, task_id=self._chance.choice(tasks))
        return _COMMANDS.get(kind, RerunWorkflow)(workflow_id=run)

    async def _report(self, run: str) -> None:
        """Report on some open task by its reference name, workers' tasks included."""
        world = self._world
        row = world.state.runs[run]
        live = [r.task for r in row.tasks.values() if not r.task.status.is_terminal]
        live = [task for task in live if task.task_type not in _NOT_BY_HAND]
        if live:
            task = self._chance.choice(live)
            status = self._chance.choice(
                [TaskStatus.COMPLETED, TaskStatus.COMPLETED, TaskStatus.FAILED]
            )
            await self.report(run, task.reference_name, status)

    async def report(self, run: str, name: str, status: TaskStatus) -> None:
        """Report on the open task of a reference name."""
        world = self._world
        output = Payload.of({"by": "hand"})
        world.ledger.note_sent(ANY_TASK, output.raw or b"")
        command = UpdateReference(
            workflow_id=run, reference_name=name, status=status, output=output
        )
        work = world.call(
            world.any_node("reference"),
            lambda e: e.update_reference(command),
            "reference",
            lambda updated: world.ledger.on_reference(command, updated),
        )
        try:
            await world.abandoned(work, "reference")
        except (GoneError, BatutaError):
            return

    async def _look(self, run: str) -> None:
        world = self._world
        version = world.checks.shadow(run).version
        node = world.any_node("look")
        tasks = [row.task.task_id for row in world.state.runs[run].tasks.values()]
        try:
            await world.abandoned(
                world.call(
                    node,
                    lambda e: e.get(run),
                    "look",
                    lambda view: world.ledger.on_get(view, version),
                ),
                "look",
            )
            if tasks:
                task_id = self._chance.choice(tasks)
                await world.call(node, lambda e: e.get_task(task_id), "look at a task")
                await world.call(node, lambda e: e.add_log(task_id, "seen"), "log")
            await world.call(node, lambda e: e.status(), "status")
        except (GoneError, BatutaError):
            return

    async def _redefine(self) -> None:
        """Register a new version of a definition; runs under way keep theirs."""
        place = self._chance.randrange(len(self._documents))
        name = self._documents[place]["name"]
        version = max(self._registered[name])[0] + 1
        before = [document["name"] for document in self._documents[:place]]
        document = {**workflow_definition(self._chance, name, before), "version": version}
        work = self._world.call(
            self._world.any_node("define"),
            lambda e: e.definitions.put_workflow_defs([document], overwrite=True),
            "define",
        )
        try:
            await self._world.abandoned(work, "define")
        except (GoneError, BatutaError):
            return
        delay_s = PIN_MS_MAX / 1_000 if self._world.node_count > 1 else 0.0
        self._registered[name].append((version, self._world.loop.time() + delay_s))

    async def _beat(self, run: str) -> None:
        world = self._world
        held = [h.lease for h in world.state.held.values() if h.lease.workflow_id == run]
        if not held:
            return
        task_id = self._chance.choice(held).task_id
        try:
            await world.call(world.any_node("beat"), lambda e: e.extend_lease(run, task_id), "beat")
        except (GoneError, BatutaError):
            return

    async def let_go(self) -> None:
        """In the quiet phase: resume what is paused, end the WAITs that wait for people."""
        world = self._world
        while True:
            await asyncio.sleep(1.0)
            if not world.is_calm:
                continue
            for run, row in list(world.state.runs.items()):
                if row.workflow.status is WorkflowStatus.PAUSED:
                    await self.control("resume", run)
                for task_row in list(row.tasks.values()):
                    task = task_row.task
                    is_waiting = task.task_type == "WAIT" and task.status is TaskStatus.IN_PROGRESS
                    if is_waiting and not task.due_at_ms:
                        await self.report(run, task.reference_name, TaskStatus.COMPLETED)
