"""What operators ask for: each kind of operation, aimed at a run as it is now."""

import random

from batuta.model.command import (
    Control,
    DecideWorkflow,
    DeleteWorkflow,
    PauseWorkflow,
    RerunWorkflow,
    ResetCallbacks,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    SkipTask,
    TerminateWorkflow,
)
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from tests.simulation.world.world import World

_PLAIN = {
    "pause": PauseWorkflow,
    "resume": ResumeWorkflow,
    "terminate": lambda workflow_id: TerminateWorkflow(workflow_id=workflow_id, reason="enough"),
    "retry": lambda workflow_id: RetryWorkflow(workflow_id=workflow_id),
    "retry_all": lambda workflow_id: RetryWorkflow(workflow_id=workflow_id, resume_children=True),
    "restart": lambda workflow_id: RestartWorkflow(workflow_id=workflow_id),
    "restart_latest": lambda workflow_id: RestartWorkflow(workflow_id=workflow_id, use_latest=True),
    "rerun_all": lambda workflow_id: RerunWorkflow(workflow_id=workflow_id),
    "callbacks": ResetCallbacks,
    "decide": DecideWorkflow,
    "archive": lambda workflow_id: DeleteWorkflow(workflow_id=workflow_id),
    "remove": lambda workflow_id: DeleteWorkflow(workflow_id=workflow_id, must_have_ended=False),
}
CONTROLS = frozenset({*_PLAIN, "rerun", "rerun_below", "rerun_anew", "skip"})
# Retries, reruns, restarts and skips weigh more: that is where engines of this kind have had most
# of their bugs.
MEDDLING = {
    "pause": 3,
    "resume": 6,
    "terminate": 3,
    "retry": 6,
    "retry_all": 3,
    "restart": 3,
    "restart_latest": 3,
    "rerun_all": 2,
    "rerun_anew": 3,
    "rerun": 9,
    "rerun_below": 3,
    "skip": 6,
    "callbacks": 3,
    "decide": 1,
    "archive": 1,
    "remove": 1,
    "bulk": 2,
    "reference": 4,
    "signal": 3,
    "execute": 1,
    "look": 6,
    "heartbeat": 3,
    "define": 3,
}
BULK = ("pause", "resume", "retry", "restart", "terminate", "archive")


def choose(chance: random.Random) -> str:
    """Return what to do next."""
    kinds = list(MEDDLING)
    return chance.choices(kinds, [MEDDLING[kind] for kind in kinds])[0]


def make(world: World, chance: random.Random, kind: str, run: str) -> Control:
    """Make an operation on a run; one on a task takes any that it has, or may come to have."""
    if kind in _PLAIN:
        return _PLAIN[kind](run)
    row = world.state.runs[run]
    if kind == "skip":
        return SkipTask(
            workflow_id=run,
            reference_name=_skippable(world, chance, run),
            input=Payload.of({"given": "by hand"}) if chance.random() < 0.5 else None,
            output=Payload.of({"by": "hand"}),
        )
    fresh = Payload.of({"n": chance.choice([0, 1, 2]), "items": [7]})
    if kind == "rerun_anew":
        return RerunWorkflow(workflow_id=run, input=fresh, correlation_id="anew")
    tasks = [r.task for r in row.tasks.values() if not r.is_retired]
    if kind == "rerun_below":
        children = [task.child_id for task in tasks if task.child_id in world.state.runs]
        if children:
            inner = world.state.runs[chance.choice(children) or run]
            tasks = [r.task for r in inner.tasks.values() if not r.is_retired]
    if not tasks:
        return RerunWorkflow(workflow_id=run)
    task = chance.choice(tasks)
    is_changed = chance.random() < 0.3
    return RerunWorkflow(
        workflow_id=run,
        task_id=task.task_id,
        task_input=fresh if is_changed else None,
        input=fresh if is_changed and kind == "rerun" and chance.random() < 0.5 else None,
    )


def _skippable(world: World, chance: random.Random, run: str) -> str:
    """Return some name of the definition; in a loop with the number of the pass, mostly."""
    row = world.state.runs[run]
    graph = world.graph(row.workflow.definition)
    name = chance.choice(sorted(graph.nodes))
    passes = ""
    for loop in graph.nodes[name].loops:
        tasks = [r.task for r in row.tasks.values() if r.task.reference_name == loop + passes]
        passes += f"__{max(tasks[-1].iteration, 1) if tasks else 1}"
    return name + passes if chance.random() < 0.9 else name


def open_by_hand(world: World, run: str) -> list[str]:
    """Return the names of the tasks that wait for somebody's report, not for a worker's."""
    found = []
    stored = world.state.runs.get(run)
    for row in stored.tasks.values() if stored is not None else ():
        task = row.task
        is_open = task.status is TaskStatus.IN_PROGRESS and not row.is_retired
        is_waiting = task.task_type in {"WAIT", "HUMAN", "EVENT"} and not task.due_at_ms
        is_parked = task.task_type == "HTTP" and task.queue is None
        if is_open and (is_waiting or is_parked):
            found.append(task.reference_name)
    return found
