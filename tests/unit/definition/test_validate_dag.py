"""What is refused of a DAG, each with the field that is wrong. Source: docs/design/010-dag.md."""

from typing import Any

import pytest

from batuta.core.dag.ways import DAG_TASKS_MAX, DELAY_MS_MAX, ways_of
from batuta.core.definition.normalize import read_workflow_def, to_document
from batuta.core.definition.validate import validate_workflow_def
from batuta.model.error import InvalidError
from tests.scenario.driver import expand

NODES = [{"ref": "a"}, {"ref": "b"}, {"ref": "c"}]


def faults_of(*edges: dict[str, Any], nodes: Any = None, strict: bool = False) -> dict[str, str]:
    """Return the faults of a definition with one DAG, by path."""
    listed = NODES if nodes is None else nodes
    dag = {"ref": "g", "type": "DAG", "dagTasks": listed, "dagEdges": list(edges)}
    definition = read_workflow_def(expand({"tasks": [dag]}))
    return {one.path: one.message for one in validate_workflow_def(definition, strict=strict)}


def test_a_dag_with_edges_in_any_order_is_accepted() -> None:
    edges = [{"from": "b", "to": "c", "when": "$.n > 1"}, {"from": "a", "to": "b", "delayMs": 5}]

    assert faults_of(*edges) == {}


def test_a_dag_without_edges_is_accepted() -> None:
    assert faults_of() == {}


def test_a_dag_without_nodes_is_refused() -> None:
    assert list(faults_of(nodes=[])) == ["tasks[0].dagTasks"]


def test_a_circle_is_refused_and_spelled_out() -> None:
    edges = [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}, {"from": "c", "to": "b"}]

    [(path, message)] = faults_of(*edges).items()

    assert path == "tasks[0].dagEdges"
    assert "'c' -> 'b' -> 'c'" in message


def test_an_edge_from_a_node_to_itself_is_refused() -> None:
    assert list(faults_of({"from": "a", "to": "a"})) == ["tasks[0].dagEdges"]


@pytest.mark.parametrize("field", ["from", "to"])
def test_an_edge_with_an_unknown_end_is_refused(field: str) -> None:
    edge = {"from": "a", "to": "b", field: "x"}

    [(path, message)] = faults_of(edge).items()

    assert path == f"tasks[0].dagEdges[0].{field}"
    assert "'x'" in message


def test_a_second_edge_between_the_same_nodes_is_refused() -> None:
    edge = {"from": "a", "to": "b"}

    assert list(faults_of(edge, edge)) == ["tasks[0].dagEdges[1]"]


@pytest.mark.parametrize("delay_ms", [-1, DELAY_MS_MAX + 1])
def test_a_delay_out_of_its_bounds_is_refused(delay_ms: int) -> None:
    edge = {"from": "a", "to": "b", "delayMs": delay_ms}

    assert list(faults_of(edge)) == ["tasks[0].dagEdges[0].delayMs"]


def test_an_empty_condition_is_refused() -> None:
    edge = {"from": "a", "to": "b", "when": " "}

    assert list(faults_of(edge)) == ["tasks[0].dagEdges[0].when"]


@pytest.mark.parametrize("kind", ["JOIN", "SWITCH", "FORK_JOIN", "DECISION", "EXCLUSIVE_JOIN"])
def test_a_node_that_says_itself_what_is_next_is_refused(kind: str) -> None:
    assert "tasks[0].dagTasks[0].type" in faults_of(nodes=[{"ref": "a", "type": kind}])


def test_the_rules_of_a_nodes_type_hold_inside_a_dag() -> None:
    loop = {"ref": "l", "type": "DO_WHILE", "loopOver": [{"ref": "i"}]}

    assert list(faults_of(nodes=[loop])) == ["tasks[0].dagTasks[0].loopCondition"]


def test_a_name_that_a_node_shares_with_a_task_outside_is_refused() -> None:
    nodes = [{"ref": "a"}, {"ref": "g"}]

    assert "tasks[0].dagTasks[1].taskReferenceName" in faults_of(nodes=nodes)


def test_more_nodes_than_the_limit_are_refused() -> None:
    nodes = [{"ref": f"n{number}"} for number in range(DAG_TASKS_MAX + 1)]

    assert list(faults_of(nodes=nodes)) == ["tasks[0].dagTasks"]


def test_in_strict_mode_a_dag_is_refused() -> None:
    assert list(faults_of(strict=True)) == ["tasks[0].type"]


@pytest.mark.parametrize(
    ("edges", "path"),
    [("x", "dagEdges"), ([1], "dagEdges[0]"), ([{"from": {}}], "dagEdges[0].from")],
)
def test_edges_of_the_wrong_type_are_refused(edges: Any, path: str) -> None:
    dag = {"ref": "g", "type": "DAG", "dagTasks": NODES, "dagEdges": edges}

    with pytest.raises(InvalidError) as caught:
        read_workflow_def(expand({"tasks": [dag]}))

    assert [fault.path for fault in caught.value.faults] == [f"tasks[0].{path}"]


def test_a_definition_without_a_dag_shows_none_of_its_fields() -> None:
    [task] = to_document(read_workflow_def(expand({"tasks": [{"ref": "a"}]})))["tasks"]

    assert not [name for name in task if name.startswith("dag")]


def test_an_edge_is_shown_as_it_was_given() -> None:
    edge = {"from": "a", "to": "b", "when": "$.n", "delayMs": 7}
    dag = {"ref": "g", "type": "DAG", "dagTasks": NODES, "dagEdges": [edge]}

    [task] = to_document(read_workflow_def(expand({"tasks": [dag]})))["tasks"]

    assert task["dagEdges"] == [edge]


def test_nodes_in_a_circle_come_last_in_order() -> None:
    edges = [{"from": "b", "to": "c"}, {"from": "c", "to": "b"}]
    dag = {"ref": "g", "type": "DAG", "dagTasks": NODES, "dagEdges": edges}
    [task] = read_workflow_def(expand({"tasks": [dag]})).tasks

    assert ways_of(task).order == ("a", "b", "c")
