"""The rules of a workflow definition that depend on the type of a task.

Source: semantics a.3; conductor WorkflowTaskTypeConstraint. A type without rules here, known or
not, is accepted: an unknown one is a worker task of the user's, like SIMPLE.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from batuta.core.definition.durations import (
    fault_of,
    parse_duration_ms,
    parse_until_ms,
    parse_wait_time_ms,
)
from batuta.core.definition.validate_dag import breaches
from batuta.model.definition import WorkflowTask
from batuta.model.error import Fault

TERMINATION_STATUSES = ("COMPLETED", "FAILED", "TERMINATED")


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a definition, where it stands, and what its rules need to know."""

    path: str
    task: WorkflowTask
    is_top_level: bool = False
    before: WorkflowTask | None = None
    after: WorkflowTask | None = None
    """The next task of the same list."""
    inputs: frozenset[str] = frozenset()
    """The keys that the task's input will have: its own and its TaskDef's template."""
    refs: frozenset[str] = frozenset()
    """Every reference name of the definition."""
    strict: bool = False

    def fault(self, field: str, message: str, value: Any = None) -> Fault:
        """Say what is wrong with a field of this task; the message goes on after its name."""
        text = f"{self.task.type} task {self.task.task_reference_name!r} {message}"
        return Fault(f"{self.path}.{field}", text, value)


def type_faults(node: Node) -> Iterator[Fault]:
    """Find what breaks the rules of the task's type."""
    rule = _RULES.get(node.task.type)
    if rule:
        yield from rule(node)


def _event(node: Node) -> Iterator[Fault]:
    if not node.task.sink:
        yield node.fault("sink", "has no sink; name the queue, for instance 'conductor:orders'")


def _decision(node: Node) -> Iterator[Fault]:
    if not node.task.case_value_param and not node.task.case_expression:
        yield node.fault(
            "caseValueParam", "has neither caseValueParam nor caseExpression; give one of them"
        )
    yield from _cases(node)


def _switch(node: Node) -> Iterator[Fault]:
    if not node.task.evaluator_type:
        yield node.fault(
            "evaluatorType", "has no evaluatorType; write 'value-param' or 'javascript'"
        )
    if not node.task.expression:
        yield node.fault("expression", "has no expression; name an input key or write a script")
    yield from _cases(node)


def _cases(node: Node) -> Iterator[Fault]:
    if not node.task.decision_cases:
        yield node.fault("decisionCases", "has no decisionCases; give at least one", {})


def _dynamic(node: Node) -> Iterator[Fault]:
    if not node.task.dynamic_task_name_param:
        yield node.fault(
            "dynamicTaskNameParam",
            "has no dynamicTaskNameParam; name the input key that holds the task's name",
        )


def _fork(node: Node) -> Iterator[Fault]:
    if not node.task.fork_tasks:
        yield node.fault("forkTasks", "has no forkTasks; give at least one branch", [])
    for index, branch in enumerate(node.task.fork_tasks):
        if not branch:
            yield node.fault(
                f"forkTasks[{index}]", "has a branch without tasks; remove it or fill it", []
            )
    yield from _followed_by_join(node)


def _dynamic_fork(node: Node) -> Iterator[Fault]:
    task = node.task
    is_whole = (
        "forkTaskInputs" in node.inputs
        or bool(task.dynamic_fork_join_tasks_param)
        or bool(task.dynamic_fork_tasks_param and task.dynamic_fork_tasks_input_param_name)
    )
    if not is_whole:
        yield node.fault(
            "dynamicForkTasksParam",
            "does not say what to fork; give the input forkTaskInputs, or dynamicForkTasksParam and"
            " dynamicForkTasksInputParamName, or dynamicForkJoinTasksParam",
            task.dynamic_fork_tasks_param,
        )
    has_pair = task.dynamic_fork_tasks_param or task.dynamic_fork_tasks_input_param_name
    if task.dynamic_fork_join_tasks_param and has_pair and "forkTaskInputs" not in node.inputs:
        yield node.fault(
            "dynamicForkJoinTasksParam",
            "has dynamicForkJoinTasksParam and the other two parameters; use only one of the forms",
            task.dynamic_fork_join_tasks_param,
        )
    yield from _followed_by_join(node)


def _followed_by_join(node: Node) -> Iterator[Fault]:
    if node.after is None or node.after.type != "JOIN":
        yield node.fault(
            "type", "is not followed by a JOIN; put one right after it", node.task.type
        )


def _join(node: Node) -> Iterator[Fault]:
    # The branches of a dynamic fork are known only when it runs; they replace joinOn then.
    if node.before is None or node.before.type != "FORK_JOIN_DYNAMIC":
        yield from _joined(node, "joinOn", node.task.join_on)


def _exclusive_join(node: Node) -> Iterator[Fault]:
    yield from _joined(node, "joinOn", node.task.join_on)
    yield from _joined(node, "defaultExclusiveJoinTask", node.task.default_exclusive_join_task)


def _joined(node: Node, field: str, names: list[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name == node.task.task_reference_name:
            yield node.fault(f"{field}[{index}]", "waits for itself; remove the name", name)
        elif name not in node.refs:
            yield node.fault(
                f"{field}[{index}]",
                f"waits for {name!r}, which is no task of this workflow; it would wait for ever",
                name,
            )


def _do_while(node: Node) -> Iterator[Fault]:
    task = node.task
    has_items = bool(task.items) or "_items" in node.inputs
    if task.loop_condition is None and (node.strict or not has_items):
        yield node.fault(
            "loopCondition", "has no loopCondition; say when to go on, or give items to go through"
        )
    if not task.loop_over:
        yield node.fault("loopOver", "has no loopOver; give at least one task", [])


def _dag(node: Node) -> Iterator[Fault]:
    if node.strict:
        message = "is an operator that only Batuta has; `batuta def export --target` makes it plain"
        yield node.fault("type", message, node.task.type)
        return
    for field, message, value in breaches(node.task):
        yield node.fault(field, message, value)


def _sub_workflow(node: Node) -> Iterator[Fault]:
    params = node.task.sub_workflow_param
    if params is None:
        yield node.fault("subWorkflowParam", "has no subWorkflowParam; name the workflow to start")
        return
    if not params.name and params.workflow_definition is None:
        yield node.fault(
            "subWorkflowParam.name", "names no workflow; give a name or a workflowDefinition", ""
        )
    if isinstance(params.version, int) and params.version < 0:
        yield node.fault(
            "subWorkflowParam.version",
            f"has the negative version {params.version}; leave it out for the latest",
            params.version,
        )


def _terminate(node: Node) -> Iterator[Fault]:
    if node.task.optional:
        yield node.fault("optional", "is optional; a workflow cannot end optionally", value=True)
    status = node.task.input_parameters.get("terminationStatus")
    if status not in TERMINATION_STATUSES:
        yield node.fault(
            "inputParameters.terminationStatus",
            f"has the terminationStatus {status!r}; write one of {', '.join(TERMINATION_STATUSES)}",
            status,
        )


def _wait(node: Node) -> Iterator[Fault]:
    given = node.task.input_parameters
    if given.get("duration") and given.get("until"):
        yield node.fault(
            "inputParameters.until", "has both duration and until; give one", given["until"]
        )
    for key, parse in _WAITS.items():
        value = given.get(key)
        # An empty text is no wait at all; an expression is read when the task runs.
        if value in (None, "") or (isinstance(value, str) and value.startswith("${")):
            continue
        fault = fault_of(parse, value, key)
        if fault:
            yield node.fault(f"inputParameters.{key}", f"has a bad {key}: {fault.message}", value)


def _http(node: Node) -> Iterator[Fault]:
    if not node.inputs & {"http_request", "uri", "method"}:
        yield node.fault(
            "inputParameters.http_request", "has no http_request and no uri; say what to call"
        )


def _kafka_publish(node: Node) -> Iterator[Fault]:
    if "kafka_request" not in node.inputs:
        yield node.fault(
            "inputParameters.kafka_request", "has no kafka_request; say what to publish"
        )


def _jq(node: Node) -> Iterator[Fault]:
    if "queryExpression" not in node.inputs:
        yield node.fault(
            "inputParameters.queryExpression", "has no queryExpression; write the jq program"
        )


def _text(parse: Callable[[str], int]) -> Callable[[Any], int]:
    # Conductor turns a number into text, which then lacks its unit.
    return lambda value: parse(str(value))


_WAITS: dict[str, Callable[[Any], int]] = {
    "duration": _text(parse_duration_ms),
    "until": _text(parse_until_ms),
    "waitTime": parse_wait_time_ms,
}

_RULES: dict[str, Callable[[Node], Iterator[Fault]]] = {
    "EVENT": _event,
    "DECISION": _decision,
    "SWITCH": _switch,
    "DYNAMIC": _dynamic,
    "FORK_JOIN": _fork,
    "FORK_JOIN_DYNAMIC": _dynamic_fork,
    "JOIN": _join,
    "EXCLUSIVE_JOIN": _exclusive_join,
    "DO_WHILE": _do_while,
    "DAG": _dag,
    "SUB_WORKFLOW": _sub_workflow,
    "TERMINATE": _terminate,
    "WAIT": _wait,
    "HTTP": _http,
    "KAFKA_PUBLISH": _kafka_publish,
    "JSON_JQ_TRANSFORM": _jq,
}
