"""Workers: healthy, slow, dying, repeating themselves, late, lying."""

import asyncio
from typing import Any

from batuta.model.command import UpdateTask
from batuta.model.error import BatutaError, NotFoundError
from batuta.model.execution import TaskStatus
from batuta.model.limit import split_part
from batuta.model.payload import Payload
from batuta.runtime.engine import Engine
from batuta.runtime.view import Polled
from tests.simulation.generate.task import EAST, POLLED, REMOTE
from tests.simulation.world.plan import GoneError
from tests.simulation.world.world import World

# What a worker with nothing to do waits before it polls some queue blindly; a pool of workers for
# all queues would be at the one that gets a task at once.
IDLE_S = (0.05, 0.5, 2.0)
KNOWING = 0.8  # of polls that go to a queue with tasks, when there is one
LATE_S_MAX = 30.0  # a lease may last an hour, and its worker keep silent for longer
PATIENCE_COUNT = 40  # reports of one result before a worker gives up


class Workers:
    """All workers of a world."""

    def __init__(self, world: World, *, count: int) -> None:
        self._world = world
        self._chance = world.chance.stream("workers")
        self._count = count
        self._results = 0
        self._seen: list[Polled] = []
        self._waits_ms = self._chance.choice([[0], [100], [0, 100, 100, 1_000]])

    def start(self) -> None:
        """Have every worker poll, for ever; each queue has at least one."""
        for number in range(self._count):
            queues = [*POLLED]
            self._world.loop.create_task(self._work(f"w{number}", queues))

    async def _work(self, name: str, queues: list[str]) -> None:
        world = self._world
        while True:
            await asyncio.sleep(self._chance.choice([0.0, 0.001, 0.05]))
            queue, domain = self._where(queues)
            count = 10 if world.is_calm else self._chance.choice([1, 1, 3])
            wait_ms = self._chance.choice(self._waits_ms)
            node = world.any_node("poll")

            async def poll(
                engine: Engine,
                queue: str = queue,
                count: int = count,
                wait_ms: int = wait_ms,
                domain: str | None = domain,
            ) -> list[Polled]:
                return await engine.poll(
                    queue, domain=domain, worker_id=name, count=count, wait_ms=wait_ms
                )

            work = world.call(node, poll, "poll", world.ledger.on_poll)
            try:
                polled = await world.abandoned(work, "poll")
            except (GoneError, BatutaError):
                await asyncio.sleep(0.1)
                continue
            for found in polled:
                world.ledger.on_delivery(found, name)
                world.errand(self._do(name, found))
            if not polled:
                await world.until_ready(self._chance.choice(IDLE_S))

    def _where(self, queues: list[str]) -> tuple[str, str | None]:
        """Choose a queue and a domain: mostly some that have tasks, as a pool of workers does."""
        names = [split_part(name)[0] for name in self._world.state.queues]
        if names and self._chance.random() < KNOWING:
            domain, mark, queue = self._chance.choice(names).rpartition(":")
            if queue in queues and domain in ("", EAST):
                return queue, domain if mark else None
        return self._chance.choice(queues), self._chance.choice([None, None, EAST])

    async def _do(self, name: str, found: Polled) -> None:
        """Do one task as this worker does things today."""
        chance, world = self._chance, self._world
        self._seen.append(found)
        if world.is_calm:
            await asyncio.sleep(chance.choice([0.0, 0.01, 0.2]))
            is_parked = self._is_parked(found)
            status = TaskStatus.IN_PROGRESS if is_parked else TaskStatus.COMPLETED
            await self._report(name, found, status, is_parked=is_parked)
            return
        if world.chance.strikes("worker.die", 0.05):
            world.fault("worker.die", name)
            return
        if world.chance.strikes("worker.late", 0.05):
            world.fault("worker.late", name)
            await self._wait(found, chance.choice([0.9, 1.0, 1.0, 1.5]))
        elif world.chance.strikes("worker.beat", 0.05):
            world.fault("worker.beat", name)
            for _ in range(chance.randint(1, 4)):
                await self._wait(found, chance.choice([0.6, 0.95, 0.99]))
                await self._beat(found)
        else:
            await asyncio.sleep(chance.choice([0.0, 0.001, 0.02, 0.5]))
        if world.chance.strikes("worker.lie", 0.03):
            world.fault("worker.lie", name)
            await self._lie(name)
        if world.chance.strikes("worker.yield", 0.08) and found.lease.poll_count < 4:
            world.fault("worker.yield", name)
            await self._report(name, found, TaskStatus.IN_PROGRESS)
            return
        statuses = [TaskStatus.COMPLETED] * 12 + [TaskStatus.FAILED] * 2
        status = chance.choice([*statuses, TaskStatus.FAILED_WITH_TERMINAL_ERROR])
        if self._is_parked(found):
            await self._report(name, found, TaskStatus.IN_PROGRESS, is_parked=True)
            return
        work = self._report(name, found, status)
        if world.chance.strikes("worker.double", 0.05):
            world.fault("worker.double", name)
            other = chance.choice([TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.IN_PROGRESS])
            world.errand(self._report(name, found, other))
        await work

    def _is_parked(self, found: Polled) -> bool:
        """Say whether somebody else is to end the task, as asyncComplete has it."""
        is_async = found.graph.node_of(found.task).task.async_complete
        return is_async and found.lease.queue.endswith(REMOTE)

    async def _wait(self, found: Polled, part: float) -> None:
        """Wait for a part of the lease's time, to the very moment when it is 1."""
        until_ms = found.lease.polled_at_ms + found.lease.lease_ms * part
        wait_s = max(until_ms - self._world.store_ms(), 0) / 1_000
        await asyncio.sleep(min(wait_s, LATE_S_MAX))

    async def _beat(self, found: Polled) -> None:
        world, lease = self._world, found.lease
        called_ms = world.state.committed_at_ms
        try:
            await world.call(
                world.any_node("beat"),
                lambda e: e.extend_lease(lease.workflow_id, lease.task_id),
                "beat",
                lambda _: world.ledger.on_beat(lease.task_id, lease.poll_count, called_ms),
            )
        except (GoneError, BatutaError):
            return

    async def _lie(self, name: str) -> None:
        """Report on a task that this worker does not hold, or that does not exist."""
        found = self._chance.choice(self._seen)
        if self._chance.random() < 0.3:
            command = UpdateTask(
                workflow_id=found.workflow.workflow_id,
                task_id="00000000-0000-7000-8000-000000000000",
                status=TaskStatus.COMPLETED,
            )
            try:
                await self._world.call(
                    self._world.any_node("lie"), lambda e: e.update(command), "lie"
                )
            except (GoneError, BatutaError):
                return
        else:
            await self._report(name, found, TaskStatus.FAILED, patience=1)

    async def _report(
        self,
        name: str,
        found: Polled,
        status: TaskStatus,
        *,
        patience: int = PATIENCE_COUNT,
        is_parked: bool = False,
    ) -> None:
        """Report until the server says that it has it, as SDKs do."""
        world, chance = self._world, self._chance
        command = self._command(name, found, status, is_parked=is_parked)
        is_with_poll = status is not TaskStatus.IN_PROGRESS and chance.random() < 0.3
        for _ in range(patience):
            if status is TaskStatus.IN_PROGRESS:
                world.ledger.given_back[command.task_id] += 1
            node = world.any_node("report")
            try:
                if is_with_poll:
                    await self._report_and_poll(name, command, node)
                else:
                    work = world.call(
                        node,
                        lambda e: e.update(command),
                        "update",
                        lambda updated: world.ledger.on_update(command, updated),
                    )
                    await world.abandoned(work, "update")
                return
            except NotFoundError as error:
                world.ledger.on_refused_update(command.task_id, error)
                return
            except (GoneError, BatutaError):
                await asyncio.sleep(0.5)

    async def _report_and_poll(self, name: str, command: UpdateTask, node: Any) -> None:
        world = self._world

        def judge(polled: Polled | None) -> None:
            world.ledger.on_ended(command)
            if polled is not None:
                world.ledger.on_poll([polled])

        work = world.call(node, lambda e: e.update_and_poll(command), "update2", judge)
        polled = await world.abandoned(work, "update2")
        if polled is not None:
            world.ledger.on_delivery(polled, name)
            world.errand(self._do(name, polled))

    def _command(
        self, name: str, found: Polled, status: TaskStatus, *, is_parked: bool
    ) -> UpdateTask:
        world, chance = self._world, self._chance
        self._results += 1
        task_id = found.task.task_id
        output: Payload | None = None
        callback_ms = 0
        if status is TaskStatus.IN_PROGRESS:
            callback_ms = chance.choice([0, 0, 1_000, 3_000])
        else:
            output = Payload.of({"u": self._results, "pad": "x" * chance.choice([0, 0, 100])})
            world.ledger.note_sent(task_id, output.raw or b"")
        return UpdateTask(
            workflow_id="" if chance.random() < 0.1 else found.workflow.workflow_id,
            task_id=task_id,
            status=status,
            is_parked=is_parked,
            output=output,
            reason="it broke" if status is TaskStatus.FAILED else None,
            callback_after_ms=callback_ms,
            worker_id=name,
            logs=("did it",) if chance.random() < 0.1 else (),
        )
