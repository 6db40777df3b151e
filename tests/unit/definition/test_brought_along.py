"""Definitions that a task brings along for its sub-workflow: which rules they are held to."""

from typing import Any

from batuta.core.definition.normalize import read_workflow_def
from batuta.core.definition.validate import validate_workflow_def


def _definition(**task: Any) -> Any:
    node = {"name": "a", "taskReferenceName": "a", "type": "SIMPLE", **task}
    return read_workflow_def({"name": "child", "tasks": [node]})


def test_a_name_unknown_in_a_definition_that_is_brought_along_reads_null() -> None:
    """Source: semantics a.3, definitions that arrive through SUB_WORKFLOW are not looked at."""
    reads = _definition(inputParameters={"number": "${a_task_of_the_parent.output.number}"})

    brought_along = validate_workflow_def(reads, strict=True, is_registered=False)
    registered = validate_workflow_def(reads, strict=True)

    assert brought_along == []
    assert [fault.path for fault in registered] == ["tasks[0].inputParameters.number"]


def test_what_could_not_run_is_refused_in_a_definition_that_is_brought_along_too() -> None:
    faults = validate_workflow_def(_definition(type="FORK_JOIN"), strict=False, is_registered=False)

    assert "tasks[0].forkTasks" in [fault.path for fault in faults]
