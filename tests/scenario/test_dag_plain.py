"""The plain form of a DAG does what the DAG does: the same nodes run, with the same outputs."""

import json
import random
from typing import Any

import pytest

from batuta.cli.export.plain import exported, names_of
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.definition.validate import validate_workflow_def
from batuta.model.change import Failure, NeedJq, NeedScript
from batuta.model.command import StartWorkflow, UpdateTask
from batuta.model.error import InvalidError
from batuta.model.execution import TaskStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.sandbox import VALUE, child
from tests.scenario.driver import World, expand
from tests.scenario.everywhere import MAIN_ID, main_of, open_work
from tests.simulation.generate.workflow import workflow_definitions

SEEDS = 150
STEPS_MAX = 500
SCRIPT_MS_MAX = 1_000
WHENS = (
    "$.n > 4",
    "$.n <= 4",
    "$['n'] != 7 && '$.n' == \"$.n\"",
    "[$.n].some(function (n) { return n % 2; })",
    "$.n % 3 ? 'yes' : ''",
)


class Live(World):
    """A world whose scripts and jq programs are evaluated, by what the sandbox evaluates with."""

    def _answer(self, need: Any) -> Any:
        match need:
            case NeedScript(source=source, argument=argument):
                found, value = child.run(source, argument.decode(), SCRIPT_MS_MAX)
            case NeedJq(program=program, argument=argument):
                found, value = child.transform(program, argument.decode())
            case _:
                return super()._answer(need)
        return Payload(raw=value) if found == VALUE else Failure(value.decode())


def drawn(chance: random.Random, prefix: str = "n", depth: int = 1) -> dict[str, Any]:
    """Return a DAG; some of its nodes are loops or DAGs themselves."""
    names = [f"{prefix}{number}" for number in range(chance.randint(1, 8 if depth == 1 else 3))]
    edges = []
    for place, target in enumerate(names):
        for source in names[:place]:
            if chance.random() < 0.35:
                edge: dict[str, Any] = {"from": source, "to": target}
                if chance.random() < 0.5:
                    edge["when"] = chance.choice(WHENS)
                if chance.random() < 0.3:
                    edge["delayMs"] = chance.choice([1_000, 2_500])
                edges.append(edge)
    nodes = [_node(chance, name, depth) for name in names]
    chance.shuffle(nodes)
    return {"ref": f"g{prefix}", "type": "DAG", "dagTasks": nodes, "dagEdges": edges}


def _node(chance: random.Random, name: str, depth: int) -> dict[str, Any]:
    if depth == 1 and chance.random() < 0.1:
        return {**drawn(chance, f"{name}x", 2), "ref": name}
    if depth == 1 and chance.random() < 0.1:
        condition = f"$.{name}.iteration < 2"
        loop = {"ref": name, "type": "DO_WHILE", "loopCondition": condition}
        return {**loop, "loopOver": [drawn(chance, f"{name}y", 2)]}
    node: dict[str, Any] = {"ref": name, "in": {"seen": f"${{{name}.output.n}}"}, "retryCount": 0}
    if chance.random() < 0.15:
        node["optional"] = True
    elif chance.random() < 0.08:
        node["permissive"] = True
    return node


def ended(document: dict[str, Any], values: dict[str, int], *, seed: int) -> World:
    """Run a definition to its end; a node gives its value, an odd one fails where it may."""
    world, chance = Live(), random.Random(seed)
    world.define(document)
    world.submit(
        StartWorkflow(
            workflow_id=MAIN_ID, name="main", definition="main@1", definition_version=1, input=EMPTY
        )
    )
    for _ in range(STEPS_MAX):
        if main_of(world).execution.workflow.status.is_terminal:
            return world
        waiting = list(open_work(world))
        if not waiting or chance.random() < 0.2:
            world.advance(world.now_ms + 500)
            continue
        _, task = chance.choice(waiting)
        node = main_of(world).execution.graph.node_of(task).task
        may_fail = node.optional or node.permissive
        value = values[node.task_reference_name]
        is_bad = may_fail and value % 2 == 1
        world.submit(
            UpdateTask(
                workflow_id=MAIN_ID,
                task_id=task.task_id,
                status=TaskStatus.FAILED if is_bad else TaskStatus.COMPLETED,
                output=Payload.of({"n": value} if value else {}),
            )
        )
    raise AssertionError("the run goes on for ever")


def story(world: World, names: set[str]) -> Any:
    """Return what came of a run: its word, its output, and which nodes ran, in which passes.

    Of one that failed only that: what else had run by then is a matter of who was first.
    """
    execution = main_of(world).execution
    if not execution.workflow.status.is_successful:
        return execution.workflow.status
    ran = {
        task.reference_name: task.status
        for task in execution.tasks.values()
        if task.node_name in names and task.queue is not None
    }
    found = json.loads(execution.output.raw or b"{}")
    for name, given in list((found.get("of") or {}).items()):
        if "iteration" in given:  # a loop's output names all that is in it, as the notes say
            found["of"][name] = given["iteration"]
    return execution.workflow.status, found, ran


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_plain_form_runs_the_same_nodes_with_the_same_outputs(seed: int) -> None:
    chance = random.Random(seed)
    dag = drawn(chance)
    document = expand({"name": "main", "version": 1, "tasks": [dag, {"ref": "z"}]})
    document["outputParameters"] = {"of": "${gn.output}", "n0": "${gn.output.n0.n}"}

    names = set(names_of(document["tasks"]))
    values = {name: chance.randint(0, 9) for name in names}

    plain = exported([document], []).workflows[0]
    strict = read_workflow_def(plain, strict=True)
    assert validate_workflow_def(strict, strict=True) == []
    ours, theirs = ended(document, values, seed=seed), ended(plain, values, seed=seed + 1)

    assert story(theirs, names) == story(ours, names)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_stands_around_and_inside_of_dags_is_plain_or_refused_by_name(seed: int) -> None:
    for document in workflow_definitions(random.Random(seed), count=3):
        try:
            [plain] = exported([document], []).workflows
        except InvalidError as error:
            told = [fault.message for fault in error.faults]
            assert all("permissive" in one for one in told), told
            continue

        strict = read_workflow_def(plain, strict=True)
        assert validate_workflow_def(strict, strict=True) == []
        names = list(names_of(plain["tasks"]))
        assert len(set(names)) == len(names)


def graph(nodes: list[dict[str, Any]], *edges: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a definition of one DAG."""
    dag = {"ref": "g", "type": "DAG", "dagTasks": nodes, "dagEdges": list(edges), **more}
    return expand({"name": "w", "version": 1, "tasks": [dag], "outputParameters": {"n": 1}})


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            graph([{"ref": "a"}, {"ref": "b"}],
                  {"from": "a", "to": "b", "when": "if ($.n) { true }"}),
            "the condition from 'a' to 'b' is more than one expression; write it as one",
        ),
        (
            graph([{"ref": "a"}, {"ref": "b"}],
                  {"from": "a", "to": "b", "when": "var n = $.n; n > 3"}),
            "the condition from 'a' to 'b' is more than one expression",
        ),
        (
            graph([{"ref": "a", "permissive": True}], optional=True),
            "it is optional and has the permissive nodes ['a']; drop one of both",
        ),
        (graph([{"ref": "a"}], {"from": "a", "to": "a"}), "has edges that lead round"),
    ],
)  # fmt: skip
def test_what_has_no_plain_form_is_refused_by_name(document: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidError, match="workflow 'w': ") as refused:
        exported([document], [])

    assert told in refused.value.message


def test_a_chain_stays_a_list_and_a_diamond_one_fork() -> None:
    abc = [{"ref": name} for name in "abc"]
    chain = graph(abc, {"from": "a", "to": "b"}, {"from": "b", "to": "c"})
    diamond = graph(
        [*abc, {"ref": "d"}],
        *({"from": "a", "to": name} for name in "bc"),
        *({"from": name, "to": "d"} for name in "bc"),
    )

    plain = exported([chain, diamond], []).workflows

    kinds = [task.get("type", "SIMPLE") for task in plain[0]["tasks"]]
    assert kinds == ["SIMPLE", "SIMPLE", "SIMPLE", "JSON_JQ_TRANSFORM"]
    fork, join, _ = plain[1]["tasks"]
    branches = [[task["taskReferenceName"] for task in one] for one in fork["forkTasks"]]
    assert branches == [["a"], ["b_wait", "b"], ["c_wait", "c"], ["d_wait", "d"]]
    assert fork["forkTasks"][3][0]["joinOn"] == ["b", "c"]
    assert join["joinOn"] == ["a", "b", "c", "d"]
