"""SWITCH and DECISION: one of several ways on. Source: semantics.md c.9, gotchas.md 32."""

from collections.abc import Sequence
from typing import Any

from batuta.core.condition import Refused, evaluate
from batuta.core.draft import Draft
from batuta.core.expression.text import TextError, to_java_text
from batuta.core.graph import Node
from batuta.core.scope import task_input, task_output
from batuta.core.tasks.attempt import Attempt, create
from batuta.model.definition import WorkflowTask
from batuta.model.execution import Task, TaskStatus
from batuta.model.payload import Payload

_SCRIPT_EVALUATORS = frozenset({"javascript", "graaljs"})


def begin_switch(draft: Draft, attempt: Attempt) -> None:
    """Evaluate a SWITCH and complete it; the case's first task is scheduled with it."""
    definition = attempt.node.task
    task = create(draft, attempt, started_at_ms=draft.now_ms)
    if task is None:
        return
    evaluator = definition.evaluator_type or "value-param"
    expression = definition.expression or ""
    values = _values(draft, task)
    if evaluator == "value-param":
        found: Any = values.get(expression)
    elif evaluator in _SCRIPT_EVALUATORS:
        found = evaluate(draft, expression, values)
    else:
        found = Refused(f"evaluatorType {evaluator!r} is unknown; use value-param or javascript")
    _end(draft, task, attempt.node, found, values)


def begin_decision(draft: Draft, attempt: Attempt) -> None:
    """Evaluate a DECISION, the older form of SWITCH, and complete it."""
    definition = attempt.node.task
    task = create(draft, attempt, started_at_ms=draft.now_ms)
    if task is None:
        return
    values = _values(draft, task)
    if definition.case_expression:
        found = evaluate(draft, definition.case_expression, values)
    else:
        found = values.get(definition.case_value_param or "")
    _end(draft, task, attempt.node, found, values)


def chosen_case(draft: Draft, task: Task, node: Node) -> Sequence[WorkflowTask]:
    """Return the list of the case that a completed SWITCH or DECISION chose.

    An unknown case is the default one. A known case with an empty list runs nothing in a
    SWITCH and the default in a DECISION (gotchas.md 32).
    """
    output = task_output(draft, task).value
    found = output.get("evaluationResult") or output.get("caseOutput") or ["null"]
    return _case(node, found[0])


def _case(node: Node, case: str) -> Sequence[WorkflowTask]:
    cases = node.task.decision_cases
    if node.type == "SWITCH":
        return cases.get(case, node.task.default_case)
    return cases.get(case) or node.task.default_case


def _values(draft: Draft, task: Task) -> dict[str, Any]:
    values = task_input(draft, task).value
    return values if isinstance(values, dict) else {}


def _end(draft: Draft, task: Task, node: Node, found: Any, values: dict[str, Any]) -> None:
    """Complete the task with the case as a text; its input says what was chosen, as OSS's."""
    if isinstance(found, Refused):
        draft.end(task, TaskStatus.FAILED, reason=found.message)
        return
    try:
        case = to_java_text(found)
    except TextError as error:
        draft.end(task, TaskStatus.FAILED, reason=str(error))
        return
    added = {"case": case, "hasChildren": "true"} if _case(node, case) else {"case": case}
    if node.type == "SWITCH":
        output = {"evaluationResult": [case], "selectedCase": case}
    else:
        output = {"caseOutput": [case]}
    draft.put(task, input=Payload.of({**values, **added}))
    draft.end(task, TaskStatus.COMPLETED, output=Payload.of(output))
