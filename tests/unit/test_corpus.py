"""Definitions that others wrote: 215 recorded ones and the K1 suite are read and judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from batuta.core.definition.normalize import read_task_def, read_workflow_def, to_document
from batuta.core.definition.validate import validate_task_def, validate_workflow_def
from batuta.model.error import InvalidError

# All that Conductor's own rules refuse of the recorded definitions.
REFUSED = {
    # schemaVersion is 1; rule a.1: must be exactly 2.
    "068-main_workflow.json": ["schemaVersion"],
    # A SWITCH without evaluatorType and expression; rule a.3: it needs both.
    "k1_cicd_pipeline.json": [
        "tasks[4].decisionCases.PASS[2].evaluatorType",
        "tasks[4].decisionCases.PASS[2].expression",
    ],
}
# Contract S2.2: both SUB_WORKFLOW tasks lack subWorkflowParam, which strict asks for.
REFUSED_BY_STRICT = REFUSED | {
    "pattern-generation-testing.json": ["tasks[1].subWorkflowParam"],
    "multi-stage-deployment.json": ["tasks[0].forkTasks[0][0].subWorkflowParam"],
}


def workflow_files(shared_data: Path) -> list[Path]:
    files = [
        *shared_data.glob("corpus/[0-9]*.json"),
        *shared_data.glob("k1/workflows/*.json"),
        *shared_data.glob("k1/orkes/*.json"),
    ]
    return sorted(files)


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("strict", "refused"), [(False, REFUSED), (True, REFUSED_BY_STRICT)], ids=["lenient", "strict"]
)
def test_recorded_workflows_are_accepted_but_for_what_conductor_refuses(
    shared_data: Path, refused: dict[str, list[str]], *, strict: bool
) -> None:
    faults = {
        path.name: validate_workflow_def(
            read_workflow_def(load(path), strict=strict), strict=strict
        )
        for path in workflow_files(shared_data)
    }

    assert len(faults) == 223
    assert {name: [f.path for f in found] for name, found in faults.items() if found} == refused


def test_recorded_workflows_survive_a_round_trip(shared_data: Path) -> None:
    for path in workflow_files(shared_data):
        read = read_workflow_def(load(path))

        assert read_workflow_def(to_document(read)) == read, path.name


def test_recorded_workflows_lose_nothing_that_conductor_knows(shared_data: Path) -> None:
    """Rule 0: what is given comes back, but for nulls and for properties Conductor has not."""
    dropped: set[str] = set()

    for path in workflow_files(shared_data):
        document = load(path)
        echoed = to_document(read_workflow_def(document, strict=True))
        dropped |= lost(document, echoed)

    # Both are unknown to Conductor: the first on a task, the second on a workflow.
    assert dropped == {"callbackFromWorker", "onStateChange"}


def lost(given: Any, echoed: Any) -> set[str]:
    """Name the keys of `given` that `echoed` lacks; a different value is a failure."""
    if isinstance(given, dict) and isinstance(echoed, dict):
        names = {key for key, value in given.items() if value is not None and key not in echoed}
        return names.union(*(lost(given[key], echoed[key]) for key in given.keys() & echoed.keys()))
    if isinstance(given, list) and isinstance(echoed, list):
        assert len(given) == len(echoed)
        return set().union(*(lost(a, b) for a, b in zip(given, echoed, strict=True)))
    assert given == echoed or given is None
    return set()


def test_k1_task_definitions_are_accepted_verbatim(shared_data: Path) -> None:
    """Contract S2.2: all 20 omit responseTimeoutSeconds and have timeoutSeconds <= 300."""
    documents = load(shared_data / "k1" / "all-taskdefs-verbatim.json")
    singles = [load(path) for path in sorted(shared_data.glob("k1/taskdefs/*.json"))]

    for document in [*documents, *singles]:
        read = read_task_def(document)

        assert validate_task_def(read, strict=False) == []
        assert read.response_timeout_seconds == min(3600, read.timeout_seconds)
        assert read_task_def(to_document(read)) == read
        assert lost(document, to_document(read)) == set()
    assert (len(documents), len(singles)) == (20, 20)


def test_strict_refuses_all_k1_task_definitions(shared_data: Path) -> None:
    """Contract S2.2: TaskTimeoutConstraint refuses a response timeout above the timeout."""
    for path in sorted(shared_data.glob("k1/taskdefs/*.json")):
        try:
            faults = validate_task_def(read_task_def(load(path), strict=True), strict=True)
        except InvalidError as error:
            faults = list(error.faults)

        assert [fault.path for fault in faults] == [
            "outputKeys" if path.stem == "capture_performance_metrics" else "responseTimeoutSeconds"
        ]
