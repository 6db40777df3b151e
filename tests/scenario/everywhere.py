"""Every operator in every place of a definition, and a way to carry any run to its end."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from batuta.model.command import StartWorkflow, UpdateTask
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import EMPTY, Payload
from tests.scenario.driver import Run, World, expand

Tasks = list[dict[str, Any]]
Wrap = Callable[[Tasks], Tasks]

MAIN_ID = "01a1f824-0000-7001-8000-000000000000"
STEPS_MAX = 200  # that a run of these may take; more means that it goes round in circles
STEP_MS = 10_000
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_SCRIPTS = {"(function () { return 7 })()": 7, ".n | 7": [7]}
_CASES = {"1": [{"ref": "ta"}, {"ref": "tb"}]}
_BRANCHES = [[{"ref": "ta"}, {"ref": "tb"}], [{"ref": "tc"}]]


def _fork(**join: Any) -> Tasks:
    fork = {"ref": "t", "type": "FORK_JOIN", "forkTasks": _BRANCHES, "in": {"n": 1}}
    return [fork, {"ref": "tj", "type": "JOIN", "joinOn": ["tb", "tc"], "in": {"n": 1}, **join}]


# An operator's tasks; the first is the one that is meant, unless another one is named ``t``.
OPERATORS: dict[str, Tasks] = {
    "SIMPLE": [{"ref": "t", "in": {"n": 1}}],
    "HTTP": [{"ref": "t", "type": "HTTP", "in": {"uri": "http://h/", "method": "GET", "n": 1}}],
    "DYNAMIC": [
        {"ref": "t", "type": "DYNAMIC", "dynamicTaskNameParam": "as", "in": {"as": "x", "n": 1}}
    ],
    "HUMAN": [{"ref": "t", "type": "HUMAN", "in": {"n": 1}}],
    "NOOP": [{"ref": "t", "type": "NOOP", "in": {"n": 1}}],
    "WAIT": [{"ref": "t", "type": "WAIT", "in": {"duration": "5s", "n": 1}}],
    "SET_VARIABLE": [{"ref": "t", "type": "SET_VARIABLE", "in": {"n": 1}}],
    "INLINE": [{"ref": "t", "type": "INLINE", "in": {"expression": "3 > 2", "n": 1}}],
    "LAMBDA": [{"ref": "t", "type": "LAMBDA", "in": {"scriptExpression": "return 7", "n": 1}}],
    "JSON_JQ_TRANSFORM": [
        {"ref": "t", "type": "JSON_JQ_TRANSFORM", "in": {"queryExpression": ".n | 7", "n": 1}}
    ],
    "SWITCH": [
        {
            "ref": "t",
            "type": "SWITCH",
            "evaluatorType": "value-param",
            "expression": "k",
            "in": {"k": 1, "n": 1},
            "decisionCases": _CASES,
        }
    ],
    "DECISION": [
        {
            "ref": "t",
            "type": "DECISION",
            "caseValueParam": "k",
            "in": {"k": "1", "n": 1},
            "decisionCases": _CASES,
        }
    ],
    "FORK_JOIN": _fork(),
    "JOIN": [{**_fork()[0], "ref": "tf"}, {**_fork()[1], "ref": "t"}],
    "EXCLUSIVE_JOIN": [
        {**_fork()[0], "ref": "tf"},
        {**_fork(type="EXCLUSIVE_JOIN")[1], "ref": "t"},
    ],
    "FORK_JOIN_DYNAMIC": [
        {
            "ref": "t",
            "type": "FORK_JOIN_DYNAMIC",
            "in": {"forkTaskName": "x", "forkTaskInputs": [1, 2], "n": 1},
        },
        {"ref": "tj", "type": "JOIN"},
    ],
    "DO_WHILE": [
        {
            "ref": "t",
            "type": "DO_WHILE",
            "loopCondition": "$.t.iteration < 2",
            "in": {"n": 1},
            "loopOver": [{"ref": "ta"}, {"ref": "tb"}],
        }
    ],
    "DAG": [
        {
            "ref": "t",
            "type": "DAG",
            "in": {"n": 1},
            "dagTasks": [{"ref": "ta"}, {"ref": "tb"}, {"ref": "tc"}, {"ref": "td"}],
            "dagEdges": [
                {"from": "ta", "to": "tb", "when": "$.by == 'x'"},
                {"from": "ta", "to": "tc", "delayMs": 3_000},
                {"from": "tb", "to": "td"},
                {"from": "tc", "to": "td", "delayMs": 3_000},
            ],
        }
    ],
    "SUB_WORKFLOW": [
        {
            "ref": "t",
            "type": "SUB_WORKFLOW",
            "subWorkflowParam": {"name": "inner"},
            "in": {"n": 1},
        }
    ],
    "START_WORKFLOW": [
        {"ref": "t", "type": "START_WORKFLOW", "in": {"startWorkflow": {"name": "inner"}, "n": 1}}
    ],
    "TERMINATE": [
        {"ref": "t", "type": "TERMINATE", "in": {"terminationStatus": "COMPLETED", "n": 1}}
    ],
}


def _in_fork(tasks: Tasks) -> Tasks:
    last = tasks[-1]["ref"]
    fork = {"ref": "f", "type": "FORK_JOIN", "forkTasks": [tasks, [{"ref": "b1"}, {"ref": "b2"}]]}
    return [fork, {"ref": "j", "type": "JOIN", "joinOn": [last, "b2"]}]


def _in_loop(tasks: Tasks) -> Tasks:
    over = [{"ref": "la"}, *tasks, {"ref": "lz"}]
    condition = "$.l.iteration < 2"
    return [{"ref": "l", "type": "DO_WHILE", "loopCondition": condition, "loopOver": over}]


def _in_switch(tasks: Tasks) -> Tasks:
    choose = {"evaluatorType": "value-param", "expression": "k", "in": {"k": 1}}
    cases = {"1": [{"ref": "sa"}, *tasks, {"ref": "sz"}]}
    return [{"ref": "s", "type": "SWITCH", "decisionCases": cases, **choose}]


def _in_dag(tasks: Tasks) -> Tasks:
    """Only the first task: a node is one. Two nodes are beside it, and one behind all."""
    inside = tasks[0]["ref"]
    ways = [("da", inside), ("da", "h1"), ("h1", "h2"), (inside, "dz"), ("h2", "dz")]
    dag = {
        "ref": "g",
        "type": "DAG",
        "dagTasks": [{"ref": "da"}, tasks[0], {"ref": "h1"}, {"ref": "h2"}, {"ref": "dz"}],
        "dagEdges": [{"from": before, "to": behind} for before, behind in ways],
    }
    dag["dagEdges"].append({"from": "da", "to": "dz", "delayMs": 2_000})
    return [dag]


def _in_dynamic_fork(tasks: Tasks) -> Tasks:
    """Only the first task: a branch that is made at run time is one task."""
    given = {"tasks": expand({"tasks": [tasks[0], {"ref": "o"}]})["tasks"], "inputs": {}}
    fork = {
        "ref": "f",
        "type": "FORK_JOIN_DYNAMIC",
        "dynamicForkTasksParam": "tasks",
        "dynamicForkTasksInputParamName": "inputs",
        "in": given,
    }
    return [fork, {"ref": "j", "type": "JOIN"}]


PLACES: dict[str, Wrap] = {
    "top": lambda tasks: tasks,
    "fork": _in_fork,
    "loop": _in_loop,
    "switch": _in_switch,
    "dynamic_fork": _in_dynamic_fork,
    "dag": _in_dag,
    "sub_workflow": lambda tasks: tasks,
    "fork_in_loop": lambda tasks: _in_loop(_in_fork(tasks)),
    "loop_in_fork": lambda tasks: _in_fork(_in_loop(tasks)),
    "dag_in_loop": lambda tasks: _in_loop(_in_dag(tasks)),
    "loop_in_dag": lambda tasks: _in_dag(_in_loop(tasks)),
    "dag_in_fork": lambda tasks: _in_fork(_in_dag(tasks)),
    "switch_in_loop": lambda tasks: _in_loop(_in_switch(tasks)),
    "sub_workflow_in_loop": lambda tasks: tasks,
}
# A branch that is made at run time is one task: not one that needs a JOIN behind it, nor a JOIN.
NO_BRANCH = {"FORK_JOIN", "JOIN", "EXCLUSIVE_JOIN", "FORK_JOIN_DYNAMIC", "DYNAMIC"}
# A node of a DAG is one task that stands for all inside it.
NO_NODE = NO_BRANCH - {"DYNAMIC"} | {"SWITCH", "DECISION"}
EVERYWHERE = [
    (operator, place)
    for place in PLACES
    for operator in OPERATORS
    if (place != "dynamic_fork" or operator not in NO_BRANCH)
    and (place not in {"dag", "dag_in_loop", "dag_in_fork"} or operator not in NO_NODE)
]


def started(operator: str, place: str) -> World:
    """Start a run that has the operator in that place, with a task before and one behind it."""
    world = World()
    world.scripts |= _SCRIPTS
    inside = [{"ref": "a"}, *PLACES[place](OPERATORS[operator]), {"ref": "z"}]
    world.define({"name": "inner", "tasks": [{"ref": "i"}]})
    if place.startswith("sub_workflow"):
        world.define({"name": "child", "tasks": inside})
        params = {"name": "child"}
        sub = [{"ref": "c", "type": "SUB_WORKFLOW", "subWorkflowParam": params}]
        inside = [{"ref": "ma"}, *(_in_loop(sub) if "loop" in place else sub), {"ref": "mz"}]
    world.define({"tasks": inside})
    command = StartWorkflow(
        workflow_id=MAIN_ID, name="main", definition="main@1", definition_version=1, input=EMPTY
    )
    world.submit(command)
    return world


def main_of(world: World) -> Run:
    """Return the run that was started."""
    return world.runs[MAIN_ID]


def carry_on(world: World, *, until: Callable[[Run, Task], bool] | None = None) -> Task | None:
    """Do all that workers, people and time would, until all has ended.

    Args:
        until: Stop before a task is done for which it holds, and return that one.
    """
    for _ in range(STEPS_MAX):
        found = next(open_work(world), None)
        if found is not None and until is not None and until(*found):
            return found[1]
        if found is not None:
            report(world, *found)
        elif any(run.timers for run in world.runs.values()):
            world.advance(world.now_ms + STEP_MS)
        else:
            return None
    raise AssertionError("the run goes round in circles")


def open_work(world: World) -> Iterator[tuple[Run, Task]]:
    """Yield what a worker or somebody could do now, oldest run first."""
    for run in list(world.runs.values()):
        for task in run.execution.live_tasks():
            if task.task_id in run.queued or task.task_type == "HUMAN":
                yield run, task


def report(world: World, run: Run, task: Task, status: TaskStatus = TaskStatus.COMPLETED) -> None:
    """Report on a task, which gives its name."""
    world.submit(
        UpdateTask(
            workflow_id=run.execution.workflow.workflow_id,
            task_id=task.task_id,
            status=status,
            output=Payload.of({"by": task.reference_name}),
        )
    )


def tasks_called(world: World, name: str) -> list[tuple[Run, Task]]:
    """Return the newest attempts of a node in main and below it, one for each pass, in order."""
    return [
        (run, task)
        for run in tree(world)
        for task in run.execution.in_order()
        if task.node_name == name and not task.is_retried
    ]


def tree(world: World) -> list[Run]:
    """Return main, its children and theirs."""
    found = [main_of(world)]
    for run in found:
        children = [task.child_id for task in run.execution.in_order() if not task.is_retried]
        found += [world.runs[child_id] for child_id in children if child_id in world.runs]
    return found


def picture(world: World, *, is_cut_short_shown: bool = True) -> list[Any]:
    """Return how a run and those below it stand, without ids: the same when all is the same.

    Args:
        is_cut_short_shown: With the tasks that the run's end cancelled.
    """
    return [
        (
            run.execution.graph.definition.name,
            run.execution.workflow.status,
            _plain(run.execution.output),
            sorted(
                (task.reference_name, task.status, _plain(run.execution.outputs.get(task.seq)))
                for task in run.execution.in_order()
                if not task.is_retried
                and (is_cut_short_shown or task.status is not TaskStatus.CANCELED)
            ),
        )
        for run in tree(world)
    ]


def _plain(payload: Payload | None) -> str:
    return _ID.sub("<id>", str((payload or EMPTY).value))
