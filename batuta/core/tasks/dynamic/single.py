"""DYNAMIC: becomes a task of the name that its input holds. Source: semantics.md c.9."""

from collections.abc import Iterable

from batuta.core.draft import Draft
from batuta.core.expression.template import TemplateError
from batuta.core.graph import SERVED_TYPES, SYSTEM_TYPES
from batuta.core.tasks.attempt import Attempt, create, resolve_input
from batuta.core.tasks.dynamic.shape import shape_of, task_defs_of
from batuta.model.definition import NAME_CHARACTERS_MAX, WorkflowTask
from batuta.model.execution import Origin, TaskStatus

# Types that live from fields of their definition, or from their place in it: a name cannot
# make a DYNAMIC one of them.
NEVER_BECOME = frozenset(
    {
        "SWITCH",
        "DECISION",
        "FORK_JOIN",
        "FORK_JOIN_DYNAMIC",
        "JOIN",
        "EXCLUSIVE_JOIN",
        "DO_WHILE",
        "DAG",
        "DYNAMIC",
    }
)


def begin(draft: Draft, attempt: Attempt) -> Iterable[Attempt]:
    """Answer the attempt that this one becomes; a name that is none fails the task.

    The name is a task's, or one of the engine's own types. Unlike OSS, whose placeholder keeps
    its own name's task definition (gotchas.md 41), the real task's counts when it is registered;
    what the node itself says of retries goes before both. A retry keeps the name.
    """
    node = attempt.node
    param = node.task.dynamic_task_name_param or ""
    try:
        values = resolve_input(draft, node, None).value
    except TemplateError:
        values = {}
    name = values.get(param)
    is_name = isinstance(name, str) and name.strip() and len(name) <= NAME_CHARACTERS_MAX
    if not is_name or name in NEVER_BECOME:
        reason = (
            "Cannot map a dynamic task based on the parameter and input. "
            f"Parameter={param!r} holds {name!r}; let it hold the name of a task"
        )
        task = create(draft, attempt)
        if task is not None:
            draft.end(task, TaskStatus.FAILED, reason=reason)
        return ()
    kind = name if name in SYSTEM_TYPES | SERVED_TYPES else "SIMPLE"
    became = WorkflowTask(name=name, type=kind)
    task_defs = task_defs_of(draft, iter((became,)))
    if task_defs is None:
        return ()
    became = WorkflowTask(name=name, type=kind, task_definition=task_defs.get(name))
    origin = Origin(node.reference_name, node.reference_name, shape_of(became), attempt.origin)
    real = draft.execution.graph.family(origin)[node.reference_name]
    return (Attempt(real, attempt.suffix, attempt.retry_of, attempt.delay_ms, origin),)
