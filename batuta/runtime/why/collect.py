"""Collect the facts about a run and its sub-workflows' runs, and have them explained."""

from batuta.core.execution import Execution
from batuta.model.error import NotFoundError, UnreadableError
from batuta.model.limit import Limit, LimitUse
from batuta.runtime.engine import Engine
from batuta.runtime.view import Status
from batuta.runtime.why.cause import Cause, Why
from batuta.runtime.why.explain import Facts, QueueFacts, explain, explain_absent
from batuta.store.failing import Failing

CAUSES_MAX = 100  # told of one run; a fork of 10,000 says the same of each branch
DEPTH_MAX = 5  # sub-workflows inside sub-workflows that are looked into
CHILDREN_MAX = 20  # runs of sub-workflows that one answer looks into, each one load


async def why(engine: Engine, workflow_id: str) -> Why:
    """Say why a run is not moving, from what is on disk and what this node sees of workers.

    Sub-workflows are looked into, DEPTH_MAX deep and CHILDREN_MAX in all. Polls are known for
    this node and since its start only.

    Raises:
        NotFoundError: No such run.
        UnreadableError: Its rows, or its definition, are damaged.
    """
    execution = await engine.committer.committed(workflow_id, is_from_store=True)
    looking = _Looking(engine, await engine.status())
    try:
        causes = await looking.causes(execution, depth=0)
    except LookupError as error:
        raise UnreadableError(
            f"run {workflow_id!r} is damaged: its rows name {error}, which it does not have;"
            " `batuta doctor` tells more"
        ) from error
    return Why(
        workflow_id=workflow_id,
        status=execution.workflow.status.value,
        summary=causes[0].message,
        causes=causes[:CAUSES_MAX],
        omitted=max(len(causes) - CAUSES_MAX, 0),
        at_ms=looking.now_ms,
    )


class _Looking:
    """One answer under way: the node's facts, taken once, and how much may still be read."""

    def __init__(self, engine: Engine, status: Status) -> None:
        self._engine = engine
        self._started_at_ms = status.started_at_ms
        self._queues = {
            state.queue: QueueFacts(
                ready=state.ready,
                leased=state.leased,
                last_poll_at_ms=state.last_poll_at_ms,
                is_polled=engine.committer.queues.is_active(state.queue),
            )
            for state in status.queues
        }
        self._children_left = CHILDREN_MAX
        self.now_ms = engine.timers.now_ms()

    async def causes(self, execution: Execution, *, depth: int) -> list[Cause]:
        """Return the causes of a run; of its sub-workflows' while there is depth left."""
        workflow_id = execution.workflow.workflow_id
        children: dict[str, list[Cause] | None] = {}
        if depth < DEPTH_MAX and not execution.workflow.status.is_terminal:
            for task in execution.live_tasks():
                if task.child_id and self._children_left > 0:
                    self._children_left -= 1
                    children[task.child_id] = await self._of_child(task.child_id, depth + 1)
        return explain(
            Facts(
                execution=execution,
                now_ms=self.now_ms,
                node_started_at_ms=self._started_at_ms,
                queues=self._queues,
                failing=await self._failing(workflow_id),
                has_messages=workflow_id in self._engine.committer.stored_targets,
                children=children,
                limits=await self._limits(execution),
            )
        )

    async def _limits(self, execution: Execution) -> dict[str, tuple[Limit | None, LimitUse]]:
        """Look up the limits of ready tasks, and how much of them is used."""
        keys = {
            execution.graph.node_of(task).policy.limit_key
            for task in execution.live_tasks()
            if task.queue is not None and task.task_id not in execution.leases
        }
        return {key: await self._engine.gate.use(key, self.now_ms) for key in sorted(keys - {""})}

    async def _of_child(self, child_id: str, depth: int) -> list[Cause] | None:
        try:
            child = await self._engine.committer.committed(child_id, is_from_store=True)
        except NotFoundError:
            has_messages = child_id in self._engine.committer.stored_targets
            return explain_absent(await self._failing(child_id), has_messages=has_messages)
        causes = await self.causes(child, depth=depth)
        return causes[:CAUSES_MAX]

    async def _failing(self, workflow_id: str) -> tuple[Failing, ...]:
        return tuple(await self._engine.quarantine.rows_of(workflow_id))
