"""The index of a definition: for each node what it is, what follows, and how it is retried.

Built once for each snapshot and shared by all its runs. A snapshot is the definition together
with the task definitions it uses, as they were when the run was started; later edits of either
do not touch the run (gotchas.md 15).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.core.dag.ways import Ways, ways_of
from batuta.core.expression.template import Template
from batuta.core.expression.template import compile as compile_template
from batuta.core.limits.policy import Policy, policy_of
from batuta.model.definition import TaskDef, WorkflowDef, WorkflowTask
from batuta.model.execution import FORMAT, Origin, Task
from batuta.model.payload import Payload

# Types that the engine settles itself; every other type is polled by a worker.
SYSTEM_TYPES = frozenset(
    {
        "SWITCH",
        "DECISION",
        "FORK_JOIN",
        "JOIN",
        "DO_WHILE",
        "SUB_WORKFLOW",
        "WAIT",
        "SET_VARIABLE",
        "TERMINATE",
        "EXCLUSIVE_JOIN",
        "DYNAMIC",
        "FORK_JOIN_DYNAMIC",
        "DAG",
        "START_WORKFLOW",
        "HUMAN",
        "NOOP",
        "INLINE",
        "LAMBDA",
        "JSON_JQ_TRANSFORM",
        "EVENT",
        "KAFKA_PUBLISH",
    }
)
# Types that Batuta's own workers do (workers/system). To Conductor they are system tasks: without
# a task definition they are not retried, and task domains do not move them to another queue.
SERVED_TYPES = frozenset({"HTTP"})
# What the wire shows as taskDefName: the type, not the name (semantics.md a.6).
NAMED_BY_TYPE = frozenset(
    {"DECISION", "SWITCH", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "FORK", "JOIN", "EXCLUSIVE_JOIN"}
)
FAMILIES_MAX = 1_024  # nodes made at run time that a graph keeps; making one takes some 5 us


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A definition with everything it refers to at the start of a run."""

    f: int = FORMAT
    workflow: WorkflowDef
    task_defs: dict[str, TaskDef] = {}


class Published(Enum):
    """How much of a DO_WHILE's output its own tasks and its condition read while it runs.

    STATE: the pass it is in (and its item); PASSES: what earlier passes gave, which costs the
    more the more there are.
    """

    NOTHING = 0
    STATE = 1
    PASSES = 2


class Node:
    """One node of a definition and its place in the graph.

    ``then``: the reference name that follows, or None at the end of a list.
    ``owner``: at the end of a list, what the list belongs to: a SWITCH (whose follower is
    next), a DO_WHILE (whose condition is next), a FORK_JOIN (nothing: the JOIN counts), a DAG
    (what its edges lead to), or None at the end of the definition.
    ``dags``: the DAGs around it, outermost first, each with how many loops are around that.
    """

    __slots__ = (
        "child_template",
        "condition_reads",
        "constant_input",
        "dags",
        "default_template",
        "input_template",
        "items_template",
        "loops",
        "owner",
        "policy",
        "published",
        "reference_name",
        "task",
        "task_def",
        "then",
        "type",
        "ways",
    )

    def __init__(
        self,
        task: WorkflowTask,
        task_def: TaskDef | None,
        *,
        then: str | None,
        owner: "Node | None",
    ) -> None:
        self.task = task
        self.task_def = task_def
        self.reference_name = task.task_reference_name
        self.type = task.type
        self.then = then
        self.owner = owner
        self.loops: tuple[str, ...] = ()
        if owner is not None:
            inside = (owner.reference_name,) if owner.type == "DO_WHILE" else ()
            self.loops = owner.loops + inside
        self.dags: tuple[tuple[str, int], ...] = ()
        if owner is not None:
            around = ((owner.reference_name, len(owner.loops)),) if owner.type == "DAG" else ()
            self.dags = owner.dags + around
        self.ways: Ways | None = ways_of(task) if task.type == "DAG" else None
        self.policy: Policy = policy_of(
            task, task_def, is_worker=self.is_worker and self.type not in SERVED_TYPES
        )
        defaults = task_def.input_template if task_def else {}
        self.input_template: Template = compile_template({**defaults, **task.input_parameters})
        self.default_template = compile_template(defaults) if defaults else None
        self.constant_input: Payload | None = None
        if self.input_template.is_constant and not defaults:
            self.constant_input = Payload.of(self.input_template.constant)
        self.child_template = compile_template(_child_parameters(task))
        items = task.items or task.input_parameters.get("_items")
        is_listed = task.type == "DO_WHILE" and items is not None
        self.items_template = compile_template(items) if is_listed else None
        self.published = Published.STATE if is_listed else Published.NOTHING
        # What a DO_WHILE's own parameters, which its condition sees, read of its output.
        is_loop = task.type == "DO_WHILE"
        self.condition_reads = _reading(self, self) if is_loop else Published.NOTHING

    @property
    def is_worker(self) -> bool:
        """True when workers poll tasks of this node."""
        return self.type not in SYSTEM_TYPES

    @property
    def queue(self) -> str:
        """The task type that workers poll: a SIMPLE task's name, else the type itself."""
        return self.task.name if self.type == "SIMPLE" else self.type

    @property
    def definition_name(self) -> str:
        """The wire's taskDefName; that of a fork is FORK. Source: semantics.md a.6."""
        if self.type not in NAMED_BY_TYPE:
            return self.task.name
        return "FORK" if self.type.startswith("FORK_JOIN") else self.type

    def renamed(self, reference_name: str) -> "Node":
        """Return the same node under another name: a branch of a fan-out is like its siblings."""
        copy = Node.__new__(Node)
        for slot in Node.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy.reference_name = reference_name
        copy.task = replace(self.task, task_reference_name=reference_name)
        return copy


def _reading(member: Node, loop: Node) -> Published:
    """Return what a task inside a loop reads of the loop's output."""
    found = Published.NOTHING
    name = re.escape(loop.reference_name)
    if member.type == "FORK_JOIN_DYNAMIC":
        found = Published.STATE  # its branches are not known yet; where the loop is costs little
    for template in (member.input_template, member.child_template):
        for text in template.references:
            if re.match(rf"\s*{name}\.output\.(iteration|loopIndex|loopItem)\b", text):
                found = Published.STATE if found is Published.NOTHING else found
            elif re.match(rf"\s*{name}(\.output\b|\[\s*(['\"]output\b|[^'\"])|\s*$)", text):
                return Published.PASSES
    return found


def _child_parameters(task: WorkflowTask) -> dict[str, Any]:
    """Return what names a SUB_WORKFLOW's child.

    The firmware definitions keep name and version in inputParameters (sources S2.2).
    """
    params = task.sub_workflow_param
    if params is None:
        given = task.input_parameters
        # A DYNAMIC that became a SUB_WORKFLOW has them as OSS's own input names them.
        named = {
            "name": given.get("subWorkflowName") or given.get("name"),
            "version": given.get("subWorkflowVersion") or given.get("version"),
        }
        return {**named, "priority": None, "taskToDomain": {}, "definition": None}
    inline = params.workflow_definition
    return {
        "name": params.name,
        "version": params.version,
        "priority": params.priority,
        "taskToDomain": params.task_to_domain,
        # The expressions inside an inline definition are those of the child.
        "definition": inline if isinstance(inline, str) else None,
    }


class Graph:
    """All nodes of a snapshot by reference name."""

    __slots__ = (
        "_families",
        "_has_holders",
        "digest",
        "dynamic_forks",
        "first",
        "nodes",
        "output_template",
        "permissive",
        "snapshot",
    )

    def __init__(self, snapshot: Snapshot, digest: str) -> None:
        self.snapshot = snapshot
        self.digest = digest
        self.nodes: dict[str, Node] = {}
        tasks = snapshot.workflow.tasks
        self.first = tasks[0].task_reference_name if tasks else None
        self.output_template = compile_template(snapshot.workflow.output_parameters)
        self._index(tasks, None, self.nodes)
        self._families: dict[Origin, dict[str, Node]] = {}
        self._has_holders = any(node.loops or node.dags for node in self.nodes.values())
        self.dynamic_forks = [n for n in self.nodes.values() if n.type == "FORK_JOIN_DYNAMIC"]
        self.permissive = [
            node
            for node in self.nodes.values()
            if node.policy.is_permissive and not node.policy.is_optional
        ]

    @property
    def definition(self) -> WorkflowDef:
        """The definition as registered when the run was started."""
        return self.snapshot.workflow

    def node_of(self, task: Task) -> Node:
        """Return the node a task is an attempt at."""
        if task.origin is None:
            return self.nodes[task.node or task.reference_name]
        return self.family(task.origin)[task.node_name]

    def family(self, origin: Origin | None) -> Mapping[str, Node]:
        """Return the nodes that are defined together, by name: of a branch, or of the snapshot."""
        if origin is None:
            return self.nodes
        found = self._families.get(origin)
        if found is None:
            found = self._grown(origin)
            while len(self._families) >= FAMILIES_MAX:
                del self._families[next(iter(self._families))]
            self._families[origin] = found
        return found

    def home_of(self, origin: Origin | None, name: str) -> Origin | None:
        """Return where a node is defined that follows one of ``origin``'s."""
        while origin is not None and name not in self.family(origin):
            origin = origin.outer
        return origin

    def loops_of(self, task: Task) -> tuple[str, ...]:
        """Return the full names of the DO_WHILE tasks around a task, outermost first."""
        node = self._place_of(task)
        return () if node is None else _full_names_of_loops(node, task)

    def dags_of(self, task: Task) -> tuple[str, ...]:
        """Return the full names of the DAG tasks around a task, outermost first."""
        node = self._place_of(task)
        return () if node is None else _full_names_of_dags(node, task)

    def holders_of(self, task: Task) -> tuple[str, ...]:
        """Return the full names of all DO_WHILE and DAG tasks around a task."""
        origin = task.origin
        if not self._has_holders and (
            origin is None or (origin.outer is None and task.node_name == origin.root)
        ):
            return ()  # mostly: only what a branch brings with it could hold anything
        node = self._place_of(task)
        if node is None or not (node.loops or node.dags):
            return ()
        return _full_names_of_loops(node, task) + _full_names_of_dags(node, task)

    def _place_of(self, task: Task) -> Node | None:
        """Return a node that is in the same loops and DAGs as a task; None for one that is gone."""
        origin = task.origin
        if origin is None:
            return self.nodes.get(task.node or task.reference_name)
        if task.node_name == origin.root:
            # In the same ones as what made it; its own node need not be made to know.
            return self.family(origin.outer).get(origin.node)
        return self.family(origin).get(task.node_name)

    def members_of(self, loop: str, origin: Origin | None = None) -> Iterator[Node]:
        """Yield the nodes inside a DO_WHILE, at any depth, in definition order.

        Branches of a dynamic fork in it are not among them: each pass has its own.
        """
        return (node for node in self.family(origin).values() if loop in node.loops)

    def _grown(self, origin: Origin) -> dict[str, Node]:
        """Make the nodes of a branch, or of what a DYNAMIC has become."""
        maker = self.family(origin.outer)[origin.node]
        if maker.type == "DYNAMIC":
            made = msgspec.json.decode(origin.shape, type=WorkflowTask)
            task = replace(maker.task, name=made.name, type=made.type)
            task_def = self.snapshot.task_defs.get(made.name) or made.task_definition
            node = Node(task, task_def or maker.task_def, then=maker.then, owner=maker.owner)
            return {origin.root: node}
        alike = replace(origin, root="")
        prototype = self._families.get(alike)
        if prototype is not None:
            return {origin.root: prototype[""].renamed(origin.root)}
        nodes: dict[str, Node] = {}
        task = msgspec.json.decode(origin.shape, type=WorkflowTask)
        self._index([replace(task, task_reference_name=origin.root)], maker, nodes)
        if len(nodes) == 1:
            self._families[alike] = {"": nodes[origin.root].renamed("")}
        return nodes

    def _index(
        self, tasks: Sequence[WorkflowTask], owner: Node | None, nodes: dict[str, Node]
    ) -> None:
        """Add the nodes of a list, and of the lists inside, to ``nodes``."""
        for place, task in enumerate(tasks):
            then = tasks[place + 1].task_reference_name if place + 1 < len(tasks) else None
            task_def = self.snapshot.task_defs.get(task.name) or task.task_definition
            node = Node(task, task_def, then=then, owner=owner)
            nodes[task.task_reference_name] = node
            for inner in inner_lists(task):
                self._index(inner, node, nodes)
            if node.type == "DO_WHILE":
                members = (n for n in nodes.values() if node.reference_name in n.loops)
                reads = [node.published, node.condition_reads]
                reads += [_reading(member, node) for member in members]
                node.published = max(reads, key=lambda published: published.value)


def _full_names_of_loops(node: Node, task: Task) -> tuple[str, ...]:
    if len(node.loops) < 2:
        return node.loops
    numbers = task.suffix.split("__")[1:]
    return tuple("__".join((loop, *numbers[:depth])) for depth, loop in enumerate(node.loops))


def _full_names_of_dags(node: Node, task: Task) -> tuple[str, ...]:
    if not node.dags:
        return ()
    numbers = task.suffix.split("__")[1:]
    return tuple("__".join((dag, *numbers[:depth])) for dag, depth in node.dags)


def inner_lists(task: WorkflowTask) -> Iterator[Sequence[WorkflowTask]]:
    """Yield the lists of nodes that a node holds: cases, branches, a loop's body, a DAG's nodes.

    Each node of a DAG is a list of its own: only edges lead from one to another.
    """
    yield from task.decision_cases.values()
    yield task.default_case
    yield from task.fork_tasks
    yield task.loop_over
    yield from ([node] for node in task.dag_tasks or ())


def with_lists(
    task: WorkflowTask, change: Callable[[list[WorkflowTask]], list[WorkflowTask]], **changed: Any
) -> WorkflowTask:
    """Return a node with each list of nodes that it holds put through ``change``."""
    return replace(
        task,
        decision_cases={case: change(tasks) for case, tasks in task.decision_cases.items()},
        default_case=change(task.default_case),
        fork_tasks=[change(branch) for branch in task.fork_tasks],
        loop_over=change(task.loop_over),
        dag_tasks=None if task.dag_tasks is None else change(task.dag_tasks),
        **changed,
    )
