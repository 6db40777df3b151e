"""FORK_JOIN_DYNAMIC: as many branches as its input asks for, each of one task.

The fork, its branches and the JOIN behind it are made at once, O(branches). Source: semantics.md
c.7, gotchas.md 40. Like FORK_JOIN it shows as FORK.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.core.draft import Draft
from batuta.core.expression.template import compile as compile_template
from batuta.core.graph import Graph, Node
from batuta.core.scope import task_input
from batuta.core.tasks.attempt import Attempt, create
from batuta.core.tasks.dynamic.forms import Branch, read_branches
from batuta.core.tasks.dynamic.shape import embedded, shape_of, task_defs_of, with_inner
from batuta.core.tasks.dynamic.single import NEVER_BECOME
from batuta.model.change import RetireTask
from batuta.model.definition import TaskDef, WorkflowTask
from batuta.model.error import InvalidError
from batuta.model.execution import Origin, Task, TaskStatus
from batuta.model.payload import Payload

# Branches of one fork. They are made in one transaction, at some 70 us each, and nothing else is
# decided meanwhile.
DYNAMIC_FORK_MAX = 20_000


def begin(draft: Draft, attempt: Attempt) -> Iterable[Attempt]:
    """Create the FORK, completed at once, and answer its branches and the JOIN behind it."""
    node = attempt.node
    before = draft.execution.latest_of_node.get(node.reference_name)
    fork = create(draft, attempt, task_type="FORK", started_at_ms=draft.now_ms, is_id_literal=True)
    if fork is None:
        return ()
    values = task_input(draft, fork).value
    try:
        join = _join_of(draft, attempt)
        branches = read_branches(node, values, is_first=_is_first(draft, attempt, before))
    except (ValueError, InvalidError) as error:
        draft.end(fork, TaskStatus.FAILED, reason=str(error))
        return ()
    shared = {id(branch.task): branch.task for branch in branches}
    task_defs = task_defs_of(draft, iter(shared.values()))
    if task_defs is None:
        return ()
    try:
        _check(draft, node, attempt.suffix, branches)
        attempts = _attempts(draft, attempt, branches, task_defs)
    except ValueError as error:
        draft.end(fork, TaskStatus.FAILED, reason=str(error))
        return ()
    _complete(draft, fork, values, attempts)
    names = tuple(branch.reference_name + attempt.suffix for branch in branches)
    known = draft.execution.latest_task(join.reference_name + attempt.suffix)
    if known is not None and known.status is TaskStatus.SKIPPED:
        # The run has come to it: it is stepped over. A loop around finds the branches by it.
        draft.agenda.appendleft(draft.put(known, join_on=names).seq)
        return attempts
    if known is not None and not known.status.is_terminal:  # a rerun began with it
        if known.join_on == names:
            return attempts
        draft.note(RetireTask(known.seq))
    home = draft.execution.graph.home_of(attempt.origin, join.reference_name)
    return (*attempts, Attempt(join, attempt.suffix, origin=home, joins=names))


def _join_of(draft: Draft, attempt: Attempt) -> Node:
    graph, then = draft.execution.graph, attempt.node.then
    found = None
    if then is not None:
        found = graph.family(graph.home_of(attempt.origin, then))[then]
    if found is None or found.type != "JOIN":
        raise ValueError(
            "Dynamic join definition is not followed by a join task.  Check the workflow definition"
        )
    return found


def _is_first(draft: Draft, attempt: Attempt, before: int | None) -> bool:
    """Say whether the run has reached no dynamic fork before this one.

    All passes of a loop give the same names: one that comes later in the same loop does not
    count, and a pass does as the one ``before`` did (its seq), whatever was reached since.
    """
    if attempt.origin is not None:
        return False
    node, execution = attempt.node, draft.execution
    fork = None if before is None else execution.tasks.get(before)
    join = None if fork is None else execution.latest_task(f"{node.then}{fork.suffix}")
    root = execution.latest_task(join.join_on[0]) if join is not None and join.join_on else None
    if root is not None and root.origin is not None:
        return root.node_name == f"_{execution.graph.node_of(root).task.name}_0"
    is_behind = False
    for other in execution.graph.dynamic_forks:
        if other.reference_name == node.reference_name:
            is_behind = True
        elif other.reference_name in execution.latest_of_node and not (
            is_behind and set(other.loops) & set(node.loops)
        ):
            return False
    return True


def _check(draft: Draft, node: Node, suffix: str, branches: Sequence[Branch]) -> None:
    """Refuse too many branches, and names that another task of the run has."""
    if len(branches) > DYNAMIC_FORK_MAX:
        raise ValueError(
            f"{node.reference_name!r} asks for {len(branches)} branches, more than "
            f"{DYNAMIC_FORK_MAX}; fork over slices of the list in sub-workflows"
        )
    seen: set[str] = set()
    inner_names: dict[int, list[str]] = {}  # by the identity of a node that branches share
    for branch in branches:
        inner = inner_names.get(id(branch.task))
        if inner is None:
            within = [task.task_reference_name for task in with_inner(branch.task)]
            inner = inner_names[id(branch.task)] = within[1:]
        for name in (branch.reference_name, *inner):
            if name in seen or _is_taken(draft, name, suffix):
                raise ValueError(
                    "No dynamic tasks could be created for the Workflow: "
                    f"{draft.workflow.workflow_id}, Dynamic Fork Task: {node.reference_name}, "
                    f"attempted to create a duplicate task reference name: {name}"
                )
            seen.add(name)


def _is_taken(draft: Draft, name: str, suffix: str) -> bool:
    nodes = draft.execution.graph.nodes
    if name in nodes or draft.execution.latest_task(name + suffix) is not None:
        return True
    # "a__2" is what the second pass of a loop calls its "a".
    stem, mark, number = name.rpartition("__")
    return bool(mark) and number.isdecimal() and stem in nodes


def _attempts(
    draft: Draft, attempt: Attempt, branches: Sequence[Branch], task_defs: Mapping[str, TaskDef]
) -> list[Attempt]:
    graph, fork = draft.execution.graph, attempt.node
    plain: dict[int, str] = {}  # shapes by the identity of a node that branches share
    attempts = []
    for branch in branches:
        given = _given(graph, branch, task_defs)
        if given is None:
            whole = replace(branch.task, input_parameters=branch.input)
            shape = shape_of(_registered(fork, whole, task_defs, graph))
        else:
            found = plain.get(id(branch.task))
            shape = found or shape_of(_registered(fork, branch.task, task_defs, graph))
            plain[id(branch.task)] = shape
        origin = Origin(fork.reference_name, branch.reference_name, shape, attempt.origin)
        node = graph.family(origin)[branch.reference_name]
        attempts.append(Attempt(node, attempt.suffix, origin=origin, given_input=given))
    return attempts


def _given(graph: Graph, branch: Branch, task_defs: Mapping[str, TaskDef]) -> Payload | None:
    """Return the input as it is, when it holds no expression and its type only passes it on."""
    if branch.task.type in NEVER_BECOME:
        return None
    name = branch.task.name
    task_def = graph.snapshot.task_defs.get(name) or branch.task.task_definition
    task_def = task_def or task_defs.get(name)
    if task_def is not None and task_def.input_template:
        return None
    given = Payload.of(branch.input)
    if given.raw is not None and b"${" not in given.raw:
        return given  # mostly: compiling it would cost more than all else here
    template = compile_template(branch.input)
    return Payload.of(template.constant) if template.is_constant else None


def _registered(
    fork: Node, task: WorkflowTask, task_defs: Mapping[str, TaskDef], graph: Graph
) -> WorkflowTask:
    """Return the node with its definitions; of forms 2 and 3, unregistered ones get one attempt.

    OSS gives those no time limits either, and never finds a lost worker; here the lease of an
    hour stays.
    """
    task = embedded(task, task_defs)
    is_known = task.task_definition is not None or task.name in graph.snapshot.task_defs
    is_listed = fork.task.dynamic_fork_tasks_param or fork.task.dynamic_fork_join_tasks_param
    if is_listed and not is_known and task.retry_count is None:
        return replace(task, retry_count=0)
    return task


def _complete(
    draft: Draft, fork: Task, values: dict[str, Any], attempts: Sequence[Attempt]
) -> None:
    """Note the branches in the FORK's input, as OSS; the inputs are in their own tasks."""
    names = [attempt.node.reference_name for attempt in attempts]
    shapes = [attempt.origin.shape if attempt.origin else "" for attempt in attempts]
    # A shape always has a name, so that what is put before it needs its comma.
    documents = [
        msgspec.Raw(b'{"taskReferenceName":%b,%b' % (msgspec.json.encode(name), shape[1:].encode()))
        for name, shape in zip(names, shapes, strict=True)
    ]
    given = {**values, "forkedTasks": names, "forkedTaskDefs": documents}
    draft.end(draft.put(fork, input=Payload.of(given)), TaskStatus.COMPLETED)
