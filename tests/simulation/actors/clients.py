"""People and services that start runs and operate on them."""

import asyncio
from typing import Any

from batuta.model.command import RerunWorkflow, UpdateReference, UpdateTask
from batuta.model.error import BatutaError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.definitions import PIN_MS_MAX
from batuta.runtime.engine import Engine
from batuta.runtime.operations import Bulk
from batuta.runtime.view import StartRequest
from tests.simulation.actors import operations
from tests.simulation.checks.answers import ANY_TASK
from tests.simulation.generate.task import EAST
from tests.simulation.generate.workflow import workflow_definition
from tests.simulation.world.plan import GoneError
from tests.simulation.world.world import World

# Ended by hand, these would say something else than their children.
_NOT_BY_HAND = frozenset({"JOIN", "EXCLUSIVE_JOIN", "DO_WHILE", "DAG", "SUB_WORKFLOW"})


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
            self._world.errand(self._start())

    async def _start(self) -> None:
        world = self._world
        request = self._request()
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

    def _request(self) -> StartRequest:
        chance = self._chance
        values: Any = {"n": chance.choice([0, 1, 2, "x" * 300])}
        values["items"] = chance.choice([[], ["a"], ["a", {"k": 2}, 3], "no list", [None, 1]])
        if chance.random() < 0.05:
            del values["items"]
        return StartRequest(
            name=chance.choice(self._documents)["name"],
            input=Payload.of(values),
            correlation_id=chance.choice([None, "order 7"]),
            priority=chance.choice([0, 0, 7]),
            task_to_domain=chance.choice(_DOMAINS),
        )

    async def meddle(self) -> None:
        """Pause, resume, terminate, retry, report by reference, look: what people do."""
        world = self._world
        while True:
            await asyncio.sleep(self._chance.random() * world.scale.operation_s)
            if world.is_calm:
                return
            runs = list(world.state.runs)
            if not runs:
                continue
            run = self._chance.choice(runs[-8:] if self._chance.random() < 0.7 else runs)
            kind = operations.choose(self._chance)
            if not world.chance.happens("operation"):
                continue
            world.operations[f"{kind} {world.state.runs[run].workflow.status}"] += 1
            if kind in operations.CONTROLS:
                world.errand(self.control(kind, run))
                if self._chance.random() < 0.1:
                    world.errand(self.control(kind, run))
            else:
                world.errand(self._do(kind, run))

    async def _do(self, kind: str, run: str) -> None:
        if run in self._world.state.runs:
            await getattr(self, "_" + kind)(run)

    async def control(self, kind: str, run: str) -> bool:
        """Do an operation; True when it was acknowledged."""
        world = self._world
        if run not in world.state.runs:
            return False
        command = operations.make(world, self._chance, kind, run)
        commit = world.checks.commits
        if isinstance(command, RerunWorkflow) and command.task_id is not None:
            world.checks.agreement.asked.setdefault(command.task_id, []).append(command)

        async def work(engine: Engine) -> None:
            if isinstance(command, RerunWorkflow):
                await engine.operations.rerun(command)
            else:
                await engine.control(command)

        called = world.call(
            world.any_node("control"),
            work,
            kind,
            lambda _: world.ledger.on_control(command, commit),
        )
        try:
            await world.abandoned(called, kind)
        except GoneError:
            return False
        except BatutaError as error:
            world.ledger.on_refused_control(command, error, commit)
            return False
        return True

    async def _bulk(self, _run: str) -> None:
        """Do one thing to many runs in one call; some of them are nobody's."""
        world = self._world
        if not world.state.runs:
            return
        runs = self._chance.choices(list(world.state.runs), k=4)
        commit = world.checks.commits
        kind = self._chance.choice(operations.BULK)
        commands = {run: operations.make(world, self._chance, kind, run) for run in runs}

        async def work(engine: Engine) -> Bulk:
            return await engine.operations.each(
                [*commands, "00000000-0000-7000-8000-000000000000"],
                lambda run: engine.control(commands[run]),
            )

        def judge(bulk: Bulk) -> None:
            for run in bulk.done:
                world.ledger.on_control(commands[run], commit)

        try:
            await world.abandoned(world.call(world.any_node("bulk"), work, "bulk", judge), "bulk")
        except (GoneError, BatutaError):
            return

    async def _signal(self, run: str) -> None:
        """Report on the first open WAIT of a run and its sub-workflows, as a signal does."""
        world = self._world
        output = Payload.of({"by": "signal"})
        world.ledger.note_sent(ANY_TASK, output.raw or b"")
        wait_s = self._chance.choice([0.0, 0.5, 3.0])

        async def work(engine: Engine) -> None:
            with engine.waiting.waiter() as waiter:
                found = await engine.waiting.open_wait(run)
                if found is None:
                    return
                status = TaskStatus.COMPLETED
                command = UpdateTask(
                    workflow_id=found[0],
                    task_id=found[1],
                    status=status,
                    output=output,
                    is_merged=True,
                )
                world.ledger.on_update(command, await engine.update(command))
                outcome = await engine.waiting.until_blocked(waiter, run, wait_s=wait_s)
                world.ledger.on_outcome(run, outcome)

        try:
            await world.abandoned(world.call(world.any_node("signal"), work, "signal"), "signal")
        except (GoneError, BatutaError):
            return

    async def _execute(self, _run: str) -> None:
        """Start a run and wait for its end in the same call."""
        world = self._world
        request = self._request()
        wait_s = self._chance.choice([0.5, 5.0])

        async def work(engine: Engine) -> None:
            with engine.waiting.waiter() as waiter:
                run = await engine.start(request)
                world.ledger.on_start(run, 0)
                outcome = await engine.waiting.until_blocked(waiter, run, wait_s=wait_s)
                world.ledger.on_outcome(run, outcome)

        try:
            await world.abandoned(world.call(world.any_node("execute"), work, "execute"), "execute")
        except (GoneError, BatutaError):
            return

    async def _reference(self, run: str) -> None:
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

    async def _define(self, _run: str) -> None:
        """Register a new version of a definition; runs under way keep theirs."""
        place = self._chance.randrange(len(self._documents))
        name = self._documents[place]["name"]
        version = max(self._registered[name])[0] + 1
        before = [document["name"] for document in self._documents[:place]]
        document = {**self._definition(name, before), "version": version}
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

    def _definition(self, name: str, before: list[str]) -> dict[str, Any]:
        most = self._world.scale.tasks_max
        return workflow_definition(self._chance, name, before, tasks_max=most)

    async def _heartbeat(self, run: str) -> None:
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
                if run not in world.state.runs or row.workflow.status.is_terminal:
                    continue  # removed meanwhile, or over
                if row.workflow.status is WorkflowStatus.PAUSED:
                    await self.control("resume", run)
                for name in operations.open_by_hand(world, run):
                    await self.report(run, name, TaskStatus.COMPLETED)
