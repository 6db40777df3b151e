"""What a definition may say, and hardly means: warnings beside the faults of ``validate``.

A definition with warnings is registered and run; each warning names a place, and what will
happen there. Source: issues seen with definitions of others, contract S2.2.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from batuta.core.definition.lint_secret import secret_warnings
from batuta.core.definition.lint_time import time_warnings
from batuta.core.definition.sink import fault_of_sink
from batuta.core.definition.validate import (
    BUILT_IN_NAMES,
    EXPRESSION,
    inline_of,
    lists_of,
    texts,
    walk,
)
from batuta.core.definition.validate_types import Node
from batuta.core.definition.warning import Code, Warned
from batuta.core.expression.path import parse_path
from batuta.core.expression.text import to_java_text
from batuta.core.graph import SERVED_TYPES, SYSTEM_TYPES
from batuta.model.definition import TaskDef, WorkflowDef, WorkflowTask

_BRANCHING = frozenset({"SWITCH", "DECISION"})


def lint(
    def_: WorkflowDef,
    *,
    task_defs: Mapping[str, TaskDef] | None = None,
    polled: Collection[str] | None = None,
) -> list[Warned]:
    """Find what a definition hardly means, in the order of the document; its header last.

    Args:
        task_defs: Registered task definitions by name: retries and timeouts come from them too.
        polled: Task types that workers poll; None when nobody knows, and then nobody is missed.

    Source: GET /api/batuta/lint/{name}.
    """
    return list(_warnings(def_, "", task_defs or {}, polled))


def _warnings(
    def_: WorkflowDef, path: str, task_defs: Mapping[str, TaskDef], polled: Collection[str] | None
) -> Iterator[Warned]:
    nodes = list(walk(def_.tasks, f"{path}tasks"))
    known = _known_names(nodes)
    yield from _after_the_end(def_.tasks, f"{path}tasks")
    for node in nodes:
        task = node.task
        task_def = task_defs.get(task.name) or task.task_definition
        yield from _unknown_names(_read_by(task), node.path, known)
        yield from _branching(node, task_def)
        yield from _publishing(node)
        yield from time_warnings(node, def_, task_def)
        yield from secret_warnings(task.input_parameters, f"{node.path}.inputParameters")
        for where, inner in lists_of(task):
            yield from _after_the_end(inner, f"{node.path}.{where}")
        if task.type == "JOIN" and node.before and node.before.type == "FORK_JOIN":
            yield from _missed_branches(node, node.before)
        if polled is not None:
            yield from _unpolled(node, polled)
        inline = inline_of(task.sub_workflow_param)
        if inline:
            below = f"{node.path}.subWorkflowParam.workflowDefinition."
            yield from _warnings(inline, below, task_defs, polled)
    yield from _unknown_names({"outputParameters": def_.output_parameters}, path, known)
    yield from secret_warnings(def_.variables, f"{path}variables")
    yield from secret_warnings(def_.input_template, f"{path}inputTemplate")
    yield from secret_warnings(def_.output_parameters, f"{path}outputParameters")


def _known_names(nodes: Sequence[Node]) -> frozenset[str] | None:
    """Return the roots that expressions may have; None when a run makes more of them."""
    if any(node.task.type == "FORK_JOIN_DYNAMIC" for node in nodes):
        return None
    refs = {node.task.task_reference_name for node in nodes}
    return frozenset(refs | BUILT_IN_NAMES | {"workflow"})


def _read_by(task: WorkflowTask) -> dict[str, Any]:
    """Return the fields of a task whose texts may hold expressions."""
    params = task.sub_workflow_param
    named = {} if params is None else {"name": params.name, "version": params.version}
    return {
        "inputParameters": task.input_parameters,
        "items": task.items,
        "subWorkflowParam": named,
    }


def _unknown_names(
    fields: Mapping[str, Any], path: str, known: frozenset[str] | None
) -> Iterator[Warned]:
    if known is None:
        return
    prefix = f"{path}." if path and not path.endswith(".") else path
    for field, value in fields.items():
        for where, text in texts(value, f"{prefix}{field}"):
            for expression in EXPRESSION.findall(text):
                found = parse_path(expression)
                if found is None or found.root in known:
                    continue
                yield Warned(
                    where,
                    Code.UNKNOWN_REFERENCE,
                    f"reads '${{{expression}}}', but {found.root!r} is no task of this workflow: "
                    "it reads null",
                )


def _after_the_end(tasks: Sequence[WorkflowTask], path: str) -> Iterator[Warned]:
    """Find what stands behind a task that ends the run in any case."""
    for index, task in enumerate(tasks[:-1]):
        if _ends(task):
            yield Warned(
                f"{path}[{index + 1}]",
                Code.UNREACHABLE,
                f"nothing from here on is reached: {task.task_reference_name!r} before it ends "
                "the run in any case",
            )
            return


def _ends(task: WorkflowTask) -> bool:
    """Say whether a run ends by this task whatever comes."""
    if task.type == "TERMINATE":
        return True
    if task.type == "DO_WHILE":
        return any(_ends(inner) for inner in task.loop_over)  # its first pass is always made
    if task.type not in _BRANCHING or not task.default_case:
        return False
    cases = [*task.decision_cases.values(), task.default_case]
    return all(any(_ends(inner) for inner in case) for case in cases)


def _branching(node: Node, task_def: TaskDef | None) -> Iterator[Warned]:
    task = node.task
    if task.type not in _BRANCHING:
        return
    name = f"{task.type} {task.task_reference_name!r}"
    if not task.default_case:
        yield Warned(
            f"{node.path}.defaultCase",
            Code.SWITCH_WITHOUT_DEFAULT,
            f"{name} has no defaultCase: a value that nobody thought of goes on silently",
        )
    key = task.expression if task.evaluator_type == "value-param" else task.case_value_param
    if not key or (task.type == "SWITCH" and task.evaluator_type != "value-param"):
        return
    given = {**(task_def.input_template if task_def else {}), **task.input_parameters}
    if key not in given:
        always, why = None, f"its input has no {key!r}"
    elif any("${" in text for _, text in texts(given[key], "")):
        return
    else:
        always = to_java_text(given[key])
        why = f"{key!r} is always {always!r}"
    for case in task.decision_cases:
        if case != always:
            message = f"case {case!r} of {name} is never taken: {why}"
            yield Warned(f"{node.path}.decisionCases.{case}", Code.UNREACHABLE, message)
    if always in task.decision_cases and task.default_case:
        message = f"the defaultCase of {name} is never taken: {why}"
        yield Warned(f"{node.path}.defaultCase", Code.UNREACHABLE, message)


def _publishing(node: Node) -> Iterator[Warned]:
    """Find messages that go nowhere: the task will fail."""
    task, code = node.task, Code.SINK_NOT_CONFIGURED
    if task.type == "KAFKA_PUBLISH":
        name = f"{task.type} {task.task_reference_name!r}"
        yield Warned(node.path, code, f"{name} fails: Kafka is not configured here")
    elif task.type == "EVENT" and task.sink and "${" not in task.sink:
        fault = fault_of_sink(task.sink)
        if fault:
            message = f"EVENT {task.task_reference_name!r} fails: {fault}"
            yield Warned(f"{node.path}.sink", code, message)


def _missed_branches(node: Node, fork: WorkflowTask) -> Iterator[Warned]:
    """Find branches that a JOIN does not wait for to their end."""
    listed = frozenset(node.task.join_on)
    name = f"JOIN {node.task.task_reference_name!r}"
    for index, branch in enumerate(fork.fork_tasks):
        if not branch:
            continue  # a fault
        inside = [one.task for one in walk(branch, "")]
        if any(task.type == "TERMINATE" for task in inside):
            continue  # a deadline that ends the run: a JOIN is not meant to wait for it
        refs = {task.task_reference_name for task in inside}
        ends = {one.task.task_reference_name for one in walk(branch[-1:], "")}
        last = branch[-1].task_reference_name
        if listed & ends:
            continue
        what = "does not wait for" if not listed & refs else "does not wait for the end of"
        yield Warned(
            f"{node.path}.joinOn",
            Code.JOIN_MISSES_BRANCH,
            f"{name} {what} branch {index} of {fork.task_reference_name!r}; add {last!r}",
        )


def _unpolled(node: Node, polled: Collection[str]) -> Iterator[Warned]:
    task = node.task
    if task.type in SYSTEM_TYPES or task.type in SERVED_TYPES:
        return
    queue = task.name if task.type == "SIMPLE" else task.type
    if queue not in polled:
        yield Warned(
            node.path,
            Code.NOBODY_POLLS,
            f"no worker has polled {queue!r}, the type of task {task.task_reference_name!r}, "
            "since this server was started",
        )
