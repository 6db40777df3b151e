"""What a definition must keep before it may be registered or started.

All rules are tried and all faults reported, each with its path as Conductor's validationErrors
have it: `tasks[0].forkTasks[1][0].taskReferenceName`. Every level is judged, `loopOver` and inline
sub-workflows too, which Conductor lets pass. Beyond Conductor's rules stand those whose breach
would show only at run time: a fork without its JOIN, a `joinOn` that would wait for ever, a
reference name that a loop or `${workflow...}` would misread, a negative number.

Source: semantics a.3 and a.4, gotchas 13 to 17.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from batuta.core.definition.validate_types import Node, type_faults
from batuta.core.expression.path import parse_path
from batuta.model.definition import (
    NAME_CHARACTERS_MAX,
    SCHEMA_VERSION,
    SubWorkflowParams,
    TaskDef,
    WorkflowDef,
    WorkflowTask,
)
from batuta.model.error import Fault
from batuta.model.execution import WorkflowStatus

# Conductor fills these in by itself, see semantics e.
BUILT_IN_NAMES = frozenset({"CPEWF_TASK_ID", "NETFLIX_ENV", "NETFLIX_STACK"})

# A loop names its children `ref__1`, `ref__2`, and cuts the name there again.
_LOOP_SUFFIX = re.compile(r"__\d")
# An expression that holds no other; `$${` is an escape.
EXPRESSION = re.compile(r"(?<!\$)\$\{([^{}]*)\}")

_TOO_LONG = f"longer than {NAME_CHARACTERS_MAX} characters; shorten it"

_NUMBERS_NOT_NEGATIVE = {
    "retry_count": ("retryCount", "use 0 for none"),
    "timeout_seconds": ("timeoutSeconds", "use 0 for no limit"),
    "poll_timeout_seconds": ("pollTimeoutSeconds", "use 0 for no limit"),
    "total_timeout_seconds": ("totalTimeoutSeconds", "use 0 for no limit"),
    "retry_delay_seconds": ("retryDelaySeconds", "use 0 for none"),
    "max_retry_delay_seconds": ("maxRetryDelaySeconds", "use 0 for no limit"),
    "backoff_jitter_ms": ("backoffJitterMs", "use 0 for none"),
    "concurrent_exec_limit": ("concurrentExecLimit", "use 0 for no limit"),
    "rate_limit_per_frequency": ("rateLimitPerFrequency", "use 0 for no limit"),
    "rate_limit_frequency_in_seconds": ("rateLimitFrequencyInSeconds", "use 1 or more"),
}


def validate_workflow_def(
    def_: WorkflowDef,
    *,
    strict: bool,
    task_defs: Mapping[str, TaskDef] | None = None,
    environment: Collection[str] = (),
    is_registered: bool = True,
) -> list[Fault]:
    """Find every rule that a workflow definition breaks; an empty list accepts it.

    Args:
        strict: Refuse what only Batuta accepts (a DO_WHILE with items and no loopCondition).
        task_defs: Registered task definitions by name; their input templates count as input.
        environment: Names that `${NAME}` may resolve to.
        is_registered: Or is to be; False for one that a task brings along.

    Source: POST /api/metadata/workflow; conductor WorkflowDefConstraint and its parts.
    """
    surroundings = _Surroundings(
        strict=strict, task_defs=task_defs or {}, names=frozenset(environment) | BUILT_IN_NAMES
    )
    return list(_workflow_faults(def_, "", surroundings, is_registered=is_registered))


def validate_task_def(def_: TaskDef, *, strict: bool) -> list[Fault]:
    """Find every rule that a task definition breaks; an empty list accepts it.

    `strict` changes nothing here: what only Batuta accepts is settled by `read_task_def`, which
    shrinks a response timeout that was left out.

    Source: POST /api/metadata/taskdefs; conductor TaskTimeoutConstraint; gotcha 13.
    """
    del strict
    faults = [] if def_.name.strip() else [Fault("name", "task def has no name; give it one", "")]
    if len(def_.name) > NAME_CHARACTERS_MAX:
        return [Fault("name", f"task def has a name {_TOO_LONG}", def_.name)]
    owner = f"task def {def_.name!r}"
    return [*faults, *_negative_numbers(def_, owner), *_bounds_faults(def_, owner)]


def _bounds_faults(def_: TaskDef, owner: str) -> Iterator[Fault]:
    if def_.response_timeout_seconds < 1:
        yield Fault(
            "responseTimeoutSeconds",
            f"responseTimeoutSeconds {def_.response_timeout_seconds} of {owner} is too small;"
            " use 1 or more",
            def_.response_timeout_seconds,
        )
    if def_.backoff_scale_factor < 1:
        yield Fault(
            "backoffScaleFactor",
            f"backoffScaleFactor {def_.backoff_scale_factor} of {owner} is below 1; use 1 or more",
            def_.backoff_scale_factor,
        )
    if 0 < def_.timeout_seconds < def_.response_timeout_seconds:
        yield Fault(
            "responseTimeoutSeconds",
            f"responseTimeoutSeconds {def_.response_timeout_seconds} of {owner} is more than its"
            f" timeoutSeconds {def_.timeout_seconds}; use {def_.timeout_seconds} or less",
            def_.response_timeout_seconds,
        )
    if 0 < def_.total_timeout_seconds < def_.timeout_seconds:
        yield Fault(
            "timeoutSeconds",
            f"timeoutSeconds {def_.timeout_seconds} of {owner} is more than its"
            f" totalTimeoutSeconds {def_.total_timeout_seconds}; use that or less",
            def_.timeout_seconds,
        )


def _negative_numbers(def_: TaskDef | WorkflowTask, owner: str) -> Iterator[Fault]:
    for attribute, (name, advice) in _NUMBERS_NOT_NEGATIVE.items():
        number = getattr(def_, attribute, None)
        if number is not None and number < 0:
            yield Fault(name, f"{name} {number} of {owner} is negative; {advice}", number)


class _Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules of a workflow definition need from outside of it."""

    strict: bool
    task_defs: Mapping[str, TaskDef]
    names: frozenset[str]


def _workflow_faults(
    def_: WorkflowDef, path: str, around: _Surroundings, *, is_registered: bool = False
) -> Iterator[Fault]:
    for fault in _header_faults(def_):
        yield _moved(fault, path)
    nodes = list(walk(def_.tasks, f"{path}tasks", is_top_level=True))
    refs = frozenset(node.task.task_reference_name for node in nodes)
    yield from _repeated_refs(nodes, def_.name)
    for found in nodes:
        inputs = _inputs(found.task, around.task_defs)
        node = msgspec.structs.replace(found, inputs=inputs, refs=refs, strict=around.strict)
        yield from _general_faults(node)
        yield from type_faults(node)
        # Conductor looks for unknown names in the top level of a registered definition only;
        # anywhere else they read null when they run.
        if node.is_top_level and is_registered:
            yield from _unknown_names(node, refs | around.names | {"workflow"})
        inline = inline_of(node.task.sub_workflow_param)
        if inline:
            below = f"{node.path}.subWorkflowParam.workflowDefinition."
            yield from _workflow_faults(inline, below, around)


def _retention_faults(def_: WorkflowDef) -> Iterator[Fault]:
    ended = [status.value for status in WorkflowStatus if status.is_terminal]
    for word in def_.retention.by_status if def_.retention else ():
        if word not in ended:
            yield Fault(
                f"retention.byStatus.{word}",
                f"{word!r} is no status that a run of workflow def {def_.name!r} ends with;"
                f" use one of {', '.join(ended)}",
                word,
            )


def _header_faults(def_: WorkflowDef) -> Iterator[Fault]:
    yield from _retention_faults(def_)
    if not def_.name.strip():
        yield Fault("name", "workflow def has no name; give it one", def_.name)
    if len(def_.name) > NAME_CHARACTERS_MAX:
        yield Fault("name", f"workflow def has a name {_TOO_LONG}", def_.name)
    if def_.version < 0:
        message = f"version {def_.version} of workflow def {def_.name!r} is negative; use 1 or more"
        yield Fault("version", message, def_.version)
    if def_.schema_version != SCHEMA_VERSION:
        yield Fault(
            "schemaVersion",
            f"schemaVersion {def_.schema_version} of workflow def {def_.name!r} is unknown;"
            f" use {SCHEMA_VERSION}",
            def_.schema_version,
        )
    if def_.timeout_seconds < 0:
        yield Fault(
            "timeoutSeconds",
            f"timeoutSeconds {def_.timeout_seconds} of workflow def {def_.name!r} is negative;"
            " use 0 for no limit",
            def_.timeout_seconds,
        )
    if not def_.tasks:
        yield Fault("tasks", f"workflow def {def_.name!r} has no tasks; give at least one", [])


def walk(tasks: list[WorkflowTask], path: str, *, is_top_level: bool = False) -> Iterator[Node]:
    """Walk the static tree in the order of the document."""
    around = [None, *tasks, None]
    for index, task in enumerate(tasks):
        here = f"{path}[{index}]"
        yield Node(
            path=here,
            task=task,
            is_top_level=is_top_level,
            before=around[index],
            after=around[index + 2],
        )
        for below, inner in lists_of(task):
            yield from walk(inner, f"{here}.{below}")


def lists_of(task: WorkflowTask) -> Iterator[tuple[str, list[WorkflowTask]]]:
    """Yield the lists inside a task by path: cases, branches, a loop's body, a DAG's nodes."""
    for key, case in task.decision_cases.items():
        yield f"decisionCases.{key}", case
    yield "defaultCase", task.default_case
    for index, branch in enumerate(task.fork_tasks):
        yield f"forkTasks[{index}]", branch
    yield "loopOver", task.loop_over
    yield "dagTasks", task.dag_tasks or []


def _inputs(task: WorkflowTask, task_defs: Mapping[str, TaskDef]) -> frozenset[str]:
    def_ = task.task_definition or task_defs.get(task.name)
    return frozenset(task.input_parameters) | frozenset(def_.input_template if def_ else ())


def inline_of(params: SubWorkflowParams | None) -> WorkflowDef | None:
    """Return the definition that a SUB_WORKFLOW brings along, None when it names one."""
    inline = params.workflow_definition if params else None
    return inline if isinstance(inline, WorkflowDef) else None


def _repeated_refs(nodes: list[Node], workflow_name: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for node in nodes:
        ref = node.task.task_reference_name
        if ref and ref in seen:
            # Word for word Conductor's message, which its users search for.
            yield Fault(
                f"{node.path}.taskReferenceName",
                f"taskReferenceName: {ref} should be unique across tasks for a given"
                f" workflowDefinition: {workflow_name}",
                ref,
            )
        seen.add(ref)


def _general_faults(node: Node) -> Iterator[Fault]:
    task = node.task
    ref = task.task_reference_name
    if not task.name.strip():
        yield node.fault("name", "has no name; give it one", task.name)
    if not ref.strip():
        yield node.fault("taskReferenceName", f"named {task.name!r} has no taskReferenceName", ref)
    for field, text in (
        ("name", task.name),
        ("taskReferenceName", ref),
        ("type", task.type),
    ):
        if len(text) > NAME_CHARACTERS_MAX:
            yield node.fault(field, f"has a {field} {_TOO_LONG}", text)
    if not task.type.strip():
        yield node.fault("type", "has no type; leave it out for SIMPLE", task.type)
    if ref == "workflow":
        yield node.fault(
            "taskReferenceName", "takes the name of the workflow's own data; choose another", ref
        )
    if _LOOP_SUFFIX.search(ref):
        yield node.fault(
            "taskReferenceName", "has '__' before a digit, which loops use; choose another", ref
        )
    if task.start_delay < 0:
        message = f"has the negative startDelay {task.start_delay}; use 0 for none"
        yield node.fault("startDelay", message, task.start_delay)
    for fault in _negative_numbers(task, f"task {ref!r}"):
        yield _moved(fault, f"{node.path}.")
    if task.response_timeout_seconds is not None and task.response_timeout_seconds < 0:
        message = f"has the negative responseTimeoutSeconds {task.response_timeout_seconds}"
        yield node.fault("responseTimeoutSeconds", message, task.response_timeout_seconds)
    if task.task_definition:
        # Conductor does not judge embedded ones further, and itself embeds a response timeout of 0.
        for fault in _negative_numbers(task.task_definition, f"the task def in task {ref!r}"):
            yield _moved(fault, f"{node.path}.taskDefinition.")


def _unknown_names(node: Node, known: frozenset[str]) -> Iterator[Fault]:
    for where, text in texts(node.task.input_parameters, "inputParameters"):
        for expression in EXPRESSION.findall(text):
            path = parse_path(expression)
            if path and path.root not in known:
                yield node.fault(
                    where,
                    f"reads '${{{expression}}}', but {path.root!r} is no task of this workflow;"
                    " use 'workflow' or a taskReferenceName",
                    text,
                )
            elif path is None and expression.strip():
                yield node.fault(
                    where,
                    f"reads '${{{expression}}}', which is no path; correct or escape it",
                    text,
                )


def texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text inside a decoded JSON value with its path; keys of objects are none."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from texts(item, f"{path}.{key}")
        case list():
            for index, item in enumerate(value):
                yield from texts(item, f"{path}[{index}]")
        case _:  # numbers, booleans and null hold no expression
            pass


def _moved(fault: Fault, prefix: str) -> Fault:
    return Fault(f"{prefix}{fault.path}", fault.message, fault.value)
