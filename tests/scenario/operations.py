"""Operators' commands in the case files: what each asks of a run."""

from collections.abc import Callable
from typing import Protocol

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
from batuta.model.execution import Task
from batuta.model.payload import Payload
from tests.scenario.arguments import arguments
from tests.scenario.driver import Run


class Names(Protocol):
    """What the names in a case file stand for."""

    def id(self, label: str) -> str:
        """Return the id of the run of a label."""
        ...

    def task(self, name: str) -> tuple[Run, Task]:
        """Return a task and its run."""
        ...


def _retry(names: Names, rest: str) -> Control:
    label, *more = rest.split()
    return RetryWorkflow(workflow_id=names.id(label), resume_children=more == ["children"])


def _terminate(names: Names, rest: str) -> Control:
    label, _, options = arguments(rest)
    return TerminateWorkflow(workflow_id=names.id(label), reason=options.get("reason"))


def _restart(names: Names, rest: str) -> Control:
    label, *more = rest.split()
    return RestartWorkflow(workflow_id=names.id(label), use_latest=more == ["latest"])


def _rerun(names: Names, rest: str) -> Control:
    label, document, options = arguments(rest)
    workflow_id, up_to, task_id = names.id(label), None, None
    if "reason" in options:
        run, task = names.task(options["reason"])
        task_id = task.task_id
        if run.label != label:
            workflow_id, up_to = run.execution.workflow.workflow_id, workflow_id
    return RerunWorkflow(
        workflow_id=workflow_id,
        task_id=task_id,
        task_input=document,
        input=_payload(options.get("input")),
        correlation_id=options.get("correlation"),
        up_to=up_to,
    )


def _skip(names: Names, rest: str) -> Control:
    name, document, options = arguments(rest)
    label, _, reference = name.rpartition(":")
    return SkipTask(
        workflow_id=names.id(label or "main"),
        reference_name=reference,
        input=_payload(options.get("input")),
        output=document,
    )


def _remove(names: Names, rest: str) -> Control:
    label, *more = rest.split()
    return DeleteWorkflow(workflow_id=names.id(label), must_have_ended=more != ["anyway"])


def _payload(text: str | None) -> Payload | None:
    return None if text is None else Payload(text.encode())


READ: dict[str, Callable[[Names, str], Control]] = {
    "pause": lambda names, label: PauseWorkflow(names.id(label)),
    "resume": lambda names, label: ResumeWorkflow(names.id(label)),
    "callbacks": lambda names, label: ResetCallbacks(names.id(label)),
    "decide": lambda names, label: DecideWorkflow(names.id(label)),
    "retry": _retry,
    "terminate": _terminate,
    "restart": _restart,
    "rerun": _rerun,
    "skip": _skip,
    "remove": _remove,
}
