"""`batuta def export --target`: definitions for a server that is not ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.export.plain import exported
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.definition.validate import validate_workflow_def
from batuta.model.error import InvalidError
from tests.cli.live import batuta, server

# No server takes these: see tests/unit/test_corpus.py.
FAULTY = {"068-main_workflow.json", "k1_cicd_pipeline.json"}
# What a plain Conductor server refuses of these, or would wait on for ever.
CHANGED = {
    "multi-stage-deployment.json": ["now named by subWorkflowParam", "waitTime is now"],
    "pattern-generation-testing.json": ["now named by subWorkflowParam"],
}


def dag(**more: Any) -> dict[str, Any]:
    """Return a definition with a DAG of two nodes, the second under a condition."""
    nodes = [{"name": name, "taskReferenceName": name, "type": "SIMPLE"} for name in "ab"]
    edges = [{"from": "a", "to": "b", "when": "$.n > 3"}]
    graph = {"name": "g", "taskReferenceName": "g", "type": "DAG", "dagTasks": nodes}
    out = {"b": "${g.output.b.n}", "all": "${g.output}"}
    tasks = [{**graph, "dagEdges": edges}]
    return {"name": "two", "version": 1, "tasks": tasks, "outputParameters": out, **more}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), "utf-8")
    return path


def is_plain(document: dict[str, Any]) -> bool:
    read = read_workflow_def(document, strict=True)
    return validate_workflow_def(read, strict=True) == []


def test_recorded_definitions_are_exported_as_they_are(shared_data: Path) -> None:
    files = [*shared_data.glob("corpus/[0-9]*.json"), *shared_data.glob("k1/*s/*.json")]
    same = 0
    for path in sorted(files):
        document = json.loads(path.read_text("utf-8"))
        if path.parent.name in {"samples", "taskdefs"} or path.name in FAULTY:
            continue

        made = exported([document], [])

        if path.name in CHANGED:
            told = "\n".join(made.notes)
            assert all(one in told for one in CHANGED[path.name])
            assert is_plain(made.workflows[0])
        else:
            assert made.workflows == [document], path.name
            same += 1
    assert same >= 214 + 4


def test_what_is_faulty_is_refused_with_its_fields(shared_data: Path) -> None:
    document = json.loads((shared_data / "corpus" / "068-main_workflow.json").read_text("utf-8"))

    with pytest.raises(InvalidError, match=r"workflow 'main_workflow': schemaVersion"):
        exported([document], [])


def test_what_nodes_say_of_their_attempts_goes_into_the_task_definition() -> None:
    node = {"name": "build", "taskReferenceName": "one", "type": "SIMPLE", "timeoutSeconds": 60}
    other = {**node, "taskReferenceName": "two", "timeoutSeconds": 90}
    workflow = {"name": "w", "version": 1, "tasks": [node, other]}

    made = exported([workflow], [{"name": "build", "retryCount": 1}])

    assert made.workflows == [workflow]
    assert made.tasks == [
        {"name": "build", "retryCount": 1, "timeoutSeconds": 60, "responseTimeoutSeconds": 60}
    ]
    assert "task 'two' says timeoutSeconds 90, which its task definition" in made.notes[1]


def test_a_sub_workflow_that_is_brought_along_is_made_plain_too() -> None:
    child = {
        "name": "c",
        "taskReferenceName": "c",
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": "two", "workflowDefinition": dag()},
        "inputParameters": {"n": "${workflow.input.n}"},
    }

    [made] = exported([{"name": "w", "version": 1, "tasks": [child]}], []).workflows

    assert is_plain(made)
    inner = made["tasks"][0]["subWorkflowParam"]["workflowDefinition"]
    assert inner["outputParameters"]["b"] == "${g.output.result.b.n}"
    assert made["tasks"][0]["inputParameters"] == child["inputParameters"]


def test_a_workflow_that_is_started_and_brought_along_is_made_plain_too() -> None:
    start = {"startWorkflow": {"name": "two", "workflowDef": dag()}}
    task = {"name": "s", "taskReferenceName": "s", "type": "START_WORKFLOW"}

    [made] = exported(
        [{"name": "w", "version": 1, "tasks": [{**task, "inputParameters": start}]}], []
    ).workflows

    inner = made["tasks"][0]["inputParameters"]["startWorkflow"]["workflowDef"]
    assert is_plain(inner)
    assert inner["tasks"][0]["taskReferenceName"] == "a"


def test_a_dynamic_fork_that_brings_a_dag_along_is_refused_by_name() -> None:
    given = {"tasks": dag()["tasks"], "inputs": {}}
    names = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    fork = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN_DYNAMIC", **names}
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN"}
    tasks = [{**fork, "inputParameters": given}, join]

    with pytest.raises(InvalidError, match=r"dynamic fork 'f' brings a DAG along"):
        exported([{"name": "w", "version": 1, "tasks": tasks}], [])


def test_a_file_is_exported_to_the_screen_and_to_a_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "two.json", dag(retention={"default": {"days": 1}}))

    shown = batuta("def", "export", str(path), "--target", "conductor")
    kept = batuta("def", "export", str(path), "--target", "orkes", "--output", str(tmp_path / "to"))

    assert shown.returncode == kept.returncode == 0, shown.stderr + kept.stderr
    made = json.loads(shown.stdout)
    assert is_plain(made)
    assert made["outputParameters"] == {"b": "${g.output.result.b.n}", "all": "${g.output.result}"}
    assert "retention is left away" in shown.stderr
    assert "X-Authorization" in kept.stderr
    assert json.loads((tmp_path / "to" / "workflows" / "two.v1.json").read_text("utf-8")) == made


def test_a_workflow_of_nodes_and_edges_is_exported_with_the_task_of_its_worker(
    tmp_path: Path,
) -> None:
    nodes = [
        {"id": name, "base": {"id": name, "type": kind, "name": name}, "position": {"x": 0, "y": 0}}
        for name, kind in (("in", "inputText"), ("say", "notification"))
    ]
    edges = [{"id": "1", "sourceId": "in", "targetId": "say"}]
    graph = {"name": "hello", "workflow": {"nodes": nodes, "edges": edges}}
    path = write(tmp_path / "graph.json", graph)

    done = batuta("def", "export", str(path), "--target", "conductor")

    assert done.returncode == 0, done.stderr
    workflow, task = json.loads(done.stdout)
    assert is_plain(workflow)
    assert task["name"] == "workflow-tasks"
    assert (task["retryLogic"], task["retryDelaySeconds"]) == ("EXPONENTIAL_BACKOFF", 2)
    assert "batuta worker --dialect dag" in done.stderr


def test_what_has_no_plain_form_is_refused_and_nothing_written(tmp_path: Path) -> None:
    document = dag()
    document["tasks"][0]["dagEdges"][0]["when"] = "var n = $.n; n > 3"
    path = write(tmp_path / "two.json", document)

    done = batuta("def", "export", str(path), "--target", "conductor", "--output", str(tmp_path))

    assert done.returncode == 7
    assert "from 'a' to 'b' is more than one expression; write it as one" in done.stderr
    assert not (tmp_path / "workflows").exists()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("export") / "runs.db") as url:
        yield url


def test_registered_definitions_are_exported_by_name_with_their_tasks(
    url: str, tmp_path: Path
) -> None:
    both = [dag(), {"name": "a", "retryCount": 7}, {"name": "unused"}]
    write(tmp_path / "all.json", both)
    assert batuta("def", "apply", str(tmp_path), "--server", url).returncode == 0

    one = batuta("def", "export", "--target", "conductor", "--name", "two", "--server", url)
    every = batuta("def", "export", "--target", "conductor", "--server", url)
    unknown = batuta("def", "export", "--target", "conductor", "--name", "no", "--server", url)

    workflow, task = json.loads(one.stdout)
    assert is_plain(workflow)
    assert (task["name"], task["retryCount"]) == ("a", 7)
    assert len(json.loads(every.stdout)) == 3
    assert unknown.returncode == 5
    assert "no" in unknown.stderr
