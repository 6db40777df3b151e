"""Graphs at random, stopped and carried on at random, against what their edges say in five lines.

Source: DESIGN.md 7: a node runs when every parent that was not skipped has completed, and is
skipped when all its parents were.
"""

import random
from typing import Any

import pytest

from batuta.model.command import (
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UpdateTask,
)
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from tests.scenario.driver import World
from tests.scenario.everywhere import MAIN_ID, main_of, open_work

SEEDS = 150
NODES_MAX = 9
STEP_MS = 700
STEPS_MAX = 2_000


def graph_of(chance: random.Random) -> tuple[list[str], list[dict[str, Any]]]:
    """Return nodes and edges without a circle; some have conditions, some delays, some both."""
    names = [f"n{number}" for number in range(chance.randint(1, NODES_MAX))]
    edges = []
    for place, target in enumerate(names):
        for source in names[:place]:
            if chance.random() < 0.35:
                edge: dict[str, Any] = {"from": source, "to": target}
                if chance.random() < 0.5:
                    edge["when"] = f"$.n {chance.choice(['>', '<='])} {chance.randint(0, 9)}"
                if chance.random() < 0.3:
                    edge["delayMs"] = chance.randint(1, 3_000)
                edges.append(edge)
    nodes = list(names)
    chance.shuffle(nodes)
    chance.shuffle(edges)
    return nodes, edges


def expected(names: list[str], edges: list[dict[str, Any]], values: dict[str, int]) -> set[str]:
    """Return the nodes that run."""
    run: set[str] = set()
    for name in sorted(names):
        into = [edge for edge in edges if edge["to"] == name]
        if not into or any(e["from"] in run and is_taken(e, values) for e in into):
            run.add(name)
    return run


def is_taken(edge: dict[str, Any], values: dict[str, int]) -> bool:
    """Evaluate an edge's condition by hand."""
    if "when" not in edge:
        return True
    _, sign, limit = edge["when"].split()
    value = values[edge["from"]]
    return value > int(limit) if sign == ">" else value <= int(limit)


def disturb(world: World, chance: random.Random) -> None:
    """Stop the run in one of the ways that an operator has, and have it go on."""
    if chance.random() < 0.5:
        world.submit(PauseWorkflow(MAIN_ID))
        world.advance(world.now_ms + chance.randint(0, STEP_MS))
        world.submit(ResumeWorkflow(MAIN_ID))
    else:
        world.submit(TerminateWorkflow(workflow_id=MAIN_ID))
        world.advance(world.now_ms + chance.randint(0, STEP_MS))
        world.submit(RetryWorkflow(workflow_id=MAIN_ID))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_graph_runs_what_its_edges_say_however_it_is_disturbed(seed: int) -> None:
    chance = random.Random(seed)
    nodes, edges = graph_of(chance)
    values = {name: chance.randint(0, 9) for name in nodes}
    world = World()
    dag = {"ref": "g", "type": "DAG", "dagTasks": [{"ref": one} for one in nodes]}
    world.define({"tasks": [{**dag, "dagEdges": edges}]})
    world.submit(
        StartWorkflow(
            workflow_id=MAIN_ID, name="main", definition="main@1", definition_version=1, input=EMPTY
        )
    )

    for _ in range(STEPS_MAX):
        if main_of(world).execution.workflow.status.is_terminal:
            break
        waiting = list(open_work(world))
        if chance.random() < 0.2:
            disturb(world, chance)
        elif waiting and chance.random() < 0.8:
            _, task = chance.choice(waiting)
            world.submit(
                UpdateTask(
                    workflow_id=MAIN_ID,
                    task_id=task.task_id,
                    status=TaskStatus.COMPLETED,
                    output=Payload.of({"n": values[task.reference_name]}),
                )
            )
        else:
            world.advance(world.now_ms + STEP_MS)

    execution = main_of(world).execution
    assert execution.workflow.status is WorkflowStatus.COMPLETED
    newest = {one: execution.latest_task(one) for one in nodes}
    done = {name for name, one in newest.items() if one and one.status is TaskStatus.COMPLETED}
    left = {name for name, one in newest.items() if one and one.status is TaskStatus.SKIPPED}
    assert done == expected(nodes, edges, values)
    assert left == set(nodes) - done
    for edge in edges:
        source, target = newest[edge["from"]], newest[edge["to"]]
        assert source is not None
        assert target is not None
        if edge["to"] in done and edge["from"] in done and is_taken(edge, values):
            begun_at_ms = target.first_scheduled_at_ms
            assert begun_at_ms >= source.ended_at_ms + edge.get("delayMs", 0)
