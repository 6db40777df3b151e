"""Random runs: the promises of every decision hold, and every run comes to an end.

``tests/scenario/promises.py`` is checked after each command: the derived indexes equal those of a
fresh load, deciding twice gives the same and changes nothing, the journal folds to the headers.
"""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from batuta.core.identity import uuid7
from batuta.model.change import PutTask
from batuta.model.command import (
    DecideWorkflow,
    FireTimer,
    PauseWorkflow,
    RerunWorkflow,
    ResetCallbacks,
    RestartWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    SkipTask,
    StartWorkflow,
    TerminateWorkflow,
    TimerKind,
    UpdateTask,
)
from batuta.model.error import BatutaError
from batuta.model.execution import Task, TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from tests.scenario.drawing import SCRIPTS, Builder
from tests.scenario.driver import START_MS, Run, World

STEPS_MAX = 400  # commands in which a run of these sizes must come to its end
SECOND_MS = 1_000
REPORTS = (
    TaskStatus.COMPLETED,
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.IN_PROGRESS,
    TaskStatus.FAILED_WITH_TERMINAL_ERROR,
    TaskStatus.CANCELED,
)
TASK_DEFS = (
    {"name": "plain", "retryCount": 1, "retryDelaySeconds": 0},
    {"name": "slow", "retryCount": 2, "retryDelaySeconds": 7, "backoffJitterMs": 900},
    {
        "name": "limited",
        "retryCount": 1,
        "retryDelaySeconds": 3,
        "timeoutSeconds": 20,
        "responseTimeoutSeconds": 10,
        "pollTimeoutSeconds": 15,
        "totalTimeoutSeconds": 60,
        "timeoutPolicy": "RETRY",
    },
    {"name": "strict", "timeoutSeconds": 20, "responseTimeoutSeconds": 10},
)
RERUNS = (13, 14)
RESTART, RERUN_ALL, SKIP, CALLBACKS = 15, 16, 17, 18
STEP = st.tuples(st.integers(0, 18), st.integers(0, 1_000))  # what to do, and to which


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    for task_def in TASK_DEFS:
        world.define_task(task_def)
    limits: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"timeoutSeconds": 90, "timeoutPolicy": "TIME_OUT_WF"},
                {"failureWorkflow": "undo"},
            ]
        )
    )
    world.scripts.update(SCRIPTS)
    child = [{"ref": "a", "name": "plain"}, {"ref": "b", "type": "WAIT", "in": {"duration": "9s"}}]
    world.define({"name": "child", "tasks": child})
    world.define({"name": "undo", "tasks": [{"ref": "u", "name": "plain"}]})
    tasks = Builder(draw).tasks(0)
    if draw(st.integers(0, 2)) == 0:
        # Whatever it is, it is done in a loop too.
        tasks = [{"ref": "l", "type": "DO_WHILE", "in": {"_items": [1, 2]}, "loopOver": tasks}]
    world.define({"name": "main", "tasks": tasks, **limits})
    return world


def start(world: World, name: str = "main") -> Run:
    workflow_id = uuid7(START_MS, 1, len(world.runs))
    world.submit(
        StartWorkflow(workflow_id=workflow_id, name=name, definition=f"{name}@1", input=EMPTY)
    )
    return world.runs[workflow_id]


def report(world: World, run: Run, task: Task, status: TaskStatus, *, callback_ms: int = 0) -> None:
    world.submit(
        UpdateTask(
            workflow_id=run.execution.workflow.workflow_id,
            task_id=task.task_id,
            status=status,
            output=Payload(b'{"v":1}'),
            callback_after_ms=callback_ms,
        )
    )


def step(world: World, action: int, choice: int) -> None:
    """Do something to some run; what the run refuses changes nothing."""
    runs = list(world.runs.values())
    run = runs[choice % len(runs)]
    workflow_id = run.execution.workflow.workflow_id
    tasks = run.execution.in_order()
    live = run.execution.live_tasks()
    if action <= 4 and live:
        status = REPORTS[choice % len(REPORTS)]
        delay_ms = choice % 3 * 4 * SECOND_MS
        report(world, run, live[choice % len(live)], status, callback_ms=delay_ms)
    elif action == 5 and tasks:
        report(world, run, tasks[choice % len(tasks)], REPORTS[choice % len(REPORTS)])
    elif action == 6:
        for name in ("plain", "slow", "limited", "strict", "none"):
            world.poll(name)
    elif action == 7:
        world.advance(world.now_ms + choice % 30 * SECOND_MS)
    elif action == 8:
        world.submit((PauseWorkflow if choice % 2 else ResumeWorkflow)(workflow_id))
    elif action == 9:
        world.submit(TerminateWorkflow(workflow_id=workflow_id, reason="enough"))
    elif action == 10:
        world.submit(RetryWorkflow(workflow_id=workflow_id, resume_children=choice % 2 == 0))
    elif action == 11 and tasks:
        kinds = list(TimerKind)
        world.submit(
            FireTimer(
                workflow_id=workflow_id,
                task_id=tasks[choice % len(tasks)].task_id,
                kind=kinds[choice % len(kinds)],
                due_at_ms=world.now_ms,
            )
        )
    elif action == 12:
        world.are_sends_held = not world.are_sends_held
        world.deliver()
    elif action > 12:
        operate(world, run, action, choice)


def operate(world: World, run: Run, action: int, choice: int) -> None:
    """Do what an operator may do to a run that has ended, mostly: end it first."""
    workflow_id = run.execution.workflow.workflow_id
    tasks = run.execution.in_order()
    task = tasks[choice % len(tasks)] if tasks else None
    if action < SKIP and not run.execution.workflow.status.is_terminal and choice % 4:
        world.submit(TerminateWorkflow(workflow_id=workflow_id))
    given = Payload(b'{"k":2,"v":3}') if choice % 3 == 0 else None
    if action in RERUNS and task is not None:
        owner = world.runs.get(task.child_id or "")
        inner = owner.execution.in_order() if owner is not None and choice % 2 else []
        if owner is not None and inner:
            workflow_id, up_to = owner.execution.workflow.workflow_id, workflow_id
            task = inner[choice % len(inner)]
            rerun = RerunWorkflow(workflow_id=workflow_id, task_id=task.task_id, up_to=up_to)
        else:
            rerun = RerunWorkflow(workflow_id=workflow_id, task_id=task.task_id, task_input=given)
        world.submit(rerun)
    elif action == RESTART:
        world.submit(RestartWorkflow(workflow_id=workflow_id, use_latest=choice % 2 == 0))
    elif action == RERUN_ALL:
        world.submit(RerunWorkflow(workflow_id=workflow_id, input=given))
    elif action == SKIP:
        names = list(run.execution.graph.nodes)
        name = names[choice % len(names)] + ("", "", "__1", "__2", "__1__1")[choice % 5]
        world.submit(SkipTask(workflow_id=workflow_id, reference_name=name, output=given))
    elif action == CALLBACKS:
        world.submit((ResetCallbacks if choice % 2 else DecideWorkflow)(workflow_id))


def finish(world: World) -> None:
    """Let the clock run and complete whatever is open, until every run has ended."""
    world.are_sends_held = False
    world.deliver()
    for _ in range(STEPS_MAX):
        open_runs = [r for r in world.runs.values() if not r.execution.workflow.status.is_terminal]
        if not open_runs:
            return
        world.advance(world.now_ms)
        for run in open_runs:
            if run.execution.workflow.status is WorkflowStatus.PAUSED:
                world.submit(ResumeWorkflow(run.execution.workflow.workflow_id))
            for task in run.execution.live_tasks():
                if task.queue is not None or task.task_type in {"WAIT", "HUMAN"}:
                    report(world, run, task, TaskStatus.COMPLETED)
        world.advance(world.now_ms + 10 * SECOND_MS)
    raise AssertionError("a run does not come to its end")


@settings(max_examples=150, deadline=None)
@given(
    world=worlds(),
    steps=st.lists(STEP, max_size=40),
)
def test_whatever_happens_the_promises_hold_and_every_run_ends(
    world: World, steps: list[tuple[int, int]]
) -> None:
    start(world)

    for action, choice in steps:
        try:
            step(world, action, choice)
        except BatutaError:
            world.deliver()  # refused, as an operator's request may be
    finish(world)


def test_a_completion_costs_the_same_in_a_run_of_a_hundred_and_of_ten_thousand() -> None:
    costs = []
    for count in (100, 10_000):
        world = World()
        branches = [[{"ref": f"t{number}"}] for number in range(count)]
        names = [f"t{number}" for number in range(count)]
        fork = {"ref": "f", "type": "FORK_JOIN", "forkTasks": branches}
        world.define({"tasks": [fork, {"ref": "j", "type": "JOIN", "joinOn": names}]})
        run = start(world)
        task = run.execution.latest_task("t50")

        changes = world.decide(
            UpdateTask(
                workflow_id=run.execution.workflow.workflow_id,
                task_id=task.task_id,
                status=TaskStatus.COMPLETED,
            )
        )

        costs.append(len(changes))
        assert [change.task.seq for change in changes if isinstance(change, PutTask)] == [task.seq]
    assert costs[0] == costs[1]
