"""A definition without what only Batuta has, so that a plain Conductor server does the same.

Documents in, documents out: what no rule here touches stays as the author wrote it.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from batuta.core.dag.plain import plain_dag
from batuta.core.definition.normalize import faults_text, read_workflow_def, to_document
from batuta.core.definition.validate import validate_workflow_def
from batuta.model.definition import RESPONSE_TIMEOUT_SECONDS
from batuta.model.error import Fault, InvalidError

Document = dict[str, Any]
# What a node may say of its attempts here, and Conductor reads from its task definition only.
OVERRIDES = ("retryLogic", "retryDelaySeconds", "timeoutSeconds", "responseTimeoutSeconds")
LISTS = ("loopOver", "defaultCase", "dagTasks")


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """Definitions for another server, and what there is to know about them."""

    workflows: list[Document]
    tasks: list[Document]
    notes: list[str]


def exported(workflows: list[Document], tasks: list[Document]) -> Exported:
    """Make definitions plain; those that are already come back as they are.

    Args:
        tasks: Task definitions, to which what nodes say of their attempts is added.

    Raises:
        InvalidError: With all that has no plain form or is faulty, by workflow and name.
    """
    notes: list[str] = []
    known = {str(task["name"]): dict(task) for task in tasks}
    found, faults = [], []
    for document in workflows:
        try:
            found.append(_Plain(document, known, notes).run())
        except InvalidError as error:
            which = f"workflow {document.get('name')!r}"
            faults.append(InvalidError(f"{which}: {error.message}", error.faults))
    if faults:
        every = [fault for error in faults for fault in error.faults]
        raise InvalidError("; ".join(error.message for error in faults), every)
    plain = [_plain_task_def(task, notes) for task in known.values()]
    return Exported(workflows=found, tasks=plain, notes=list(dict.fromkeys(notes)))


def names_of(tasks: list[Document]) -> Iterator[str]:
    """Yield the reference names of tasks, at any depth."""
    for task in tasks:
        yield str(task.get("taskReferenceName"))
        for inner in _lists_of(task):
            yield from names_of(inner)


class _Plain:
    """One definition on its way."""

    def __init__(self, document: Document, known: dict[str, Document], notes: list[str]) -> None:
        self._document = document
        self._known = known
        self._told = notes
        self._taken = set(names_of(document.get("tasks") or []))
        self._dags: set[str] = set()

    def run(self) -> Document:
        read = read_workflow_def(self._document)
        faults = validate_workflow_def(read, strict=False, is_registered=False)
        if faults:
            raise InvalidError(faults_text(faults), faults)
        plain = {**self._document, "tasks": self._tasks(self._document["tasks"], ())}
        if plain.pop("retention", None) is not None:
            self._note("retention is left away; set it in the other server's own archive settings")
        elif plain["tasks"] == self._document["tasks"]:
            return self._document
        if self._dags and not plain.get("outputParameters"):
            self._note("it has no outputParameters, so its output is that of its last task")
        return self._renamed(plain)

    def _note(self, text: str) -> None:
        self._told.append(f"workflow {self._document['name']!r}: {text}")

    def _fresh(self, wanted: str) -> str:
        name, count = wanted, 2
        while name in self._taken:
            name, count = f"{wanted}{count}", count + 1
        self._taken.add(name)
        return name

    def _tasks(self, tasks: list[Document], loops: tuple[str, ...]) -> list[Document]:
        return [plain for task in tasks for plain in self._task(task, loops)]

    def _task(self, task: Document, loops: tuple[str, ...]) -> list[Document]:
        kind, ref = task.get("type", "SIMPLE"), str(task["taskReferenceName"])
        if kind == "DAG":
            self._dags.add(ref)
            if loops:
                self._note(
                    f"DAG {ref!r} is in the loop {loops[-1]!r}: its tasks in the loop's output are"
                    " those of the plain form, and ${...} of a node that was left out may show what"
                    " it gave in the pass before"
                )
            made, notes = plain_dag(task, self._fresh)
            for note in notes:
                self._note(note)
            return self._tasks(made, loops)
        plain = dict(task)
        if kind == "WAIT":
            self._wait(plain, ref)
        elif kind == "SUB_WORKFLOW":
            self._child(plain, ref)
        elif kind == "START_WORKFLOW":
            self._other(plain)
        elif kind == "FORK_JOIN_DYNAMIC" and _has_dag(plain.get("inputParameters")):
            message = f"dynamic fork {ref!r} brings a DAG along; put it into a sub-workflow"
            raise InvalidError(message, [Fault(ref, message)])
        elif kind == "DO_WHILE" and plain.get("loopCondition") is None:
            plain["loopCondition"] = "true"
            self._note(f"loop {ref!r} has items only; its loopCondition is now always true")
        self._overrides(plain, ref)
        inside = (*loops, ref) if kind == "DO_WHILE" else loops
        for key in LISTS:
            if plain.get(key):
                plain[key] = self._tasks(plain[key], inside)
        if plain.get("forkTasks"):
            plain["forkTasks"] = [self._tasks(branch, loops) for branch in plain["forkTasks"]]
        if plain.get("decisionCases"):
            cases = plain["decisionCases"].items()
            plain["decisionCases"] = {case: self._tasks(inner, loops) for case, inner in cases}
        return [plain]

    def _wait(self, plain: Document, ref: str) -> None:
        given = dict(plain.get("inputParameters") or {})
        if "waitTime" in given and not (given.get("duration") or given.get("until")):
            given["duration"] = f"{given.pop('waitTime')} seconds"
            plain["inputParameters"] = given
            self._note(f"WAIT {ref!r}: waitTime is now the duration {given['duration']!r}")

    def _child(self, plain: Document, ref: str) -> None:
        params = plain.get("subWorkflowParam")
        inline = params.get("workflowDefinition") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(inline, dict):
            made = _Plain(inline, self._known, self._told).run()
            plain["subWorkflowParam"] = {**params, "workflowDefinition": made}
        elif params is None:
            # Named in its input, as some definitions have it.
            [read] = read_workflow_def({"name": "w", "tasks": [plain]}).tasks
            found = to_document(msgspec.structs.replace(_EMPTY, tasks=[read]))["tasks"][0]
            plain["subWorkflowParam"] = found["subWorkflowParam"]
            plain["inputParameters"] = found["inputParameters"]
            self._note(f"SUB_WORKFLOW {ref!r}: its workflow is now named by subWorkflowParam")

    def _other(self, plain: Document) -> None:
        """Make the definition plain that a START_WORKFLOW brings along."""
        given = plain.get("inputParameters") or {}
        start = given.get("startWorkflow")
        inline = start.get("workflowDef") if isinstance(start, dict) else None
        if isinstance(start, dict) and isinstance(inline, dict):
            made = _Plain(inline, self._known, self._told).run()
            plain["inputParameters"] = {**given, "startWorkflow": {**start, "workflowDef": made}}

    def _overrides(self, plain: Document, ref: str) -> None:
        """Have the task definition say what a node says of its attempts."""
        said = {key: plain[key] for key in OVERRIDES if plain.get(key) is not None}
        if not said:
            return
        name = str(plain.get("name") or ref)
        known = self._known.setdefault(name, {"name": name})
        words = ", ".join(f"{key} {value}" for key, value in said.items())
        other = {key for key, value in said.items() if known.get(key, value) != value}
        if other:
            self._note(
                f"task {ref!r} says {words}, which its task definition {name!r} says otherwise and"
                " Conductor reads there only; give the task a name of its own to keep both"
            )
            return
        known.update(said)
        self._note(f"task {ref!r}: {words} is now in the task definition {name!r}")

    def _renamed(self, plain: Document) -> Document:
        """Have expressions that read a DAG's output read it where it is now."""
        found: Document = copy.deepcopy(plain)
        for ref in self._dags:
            name = re.escape(ref)
            patterns = (
                (re.compile(rf"(\$\{{{name}\.output)(?=[.\[}}])"), r"\1.result"),
                (re.compile(rf"(\$\.{name})(?=[.\[])"), r"\1.result"),  # of a loop's condition
            )
            found = _replaced(found, patterns)
        return found


def _replaced(value: Any, patterns: tuple[tuple[re.Pattern[str], str], ...], key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            name: inner
            if name in {"workflowDefinition", "workflowDef"}
            else _replaced(inner, patterns, name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_replaced(inner, patterns, key) for inner in value]
    if not isinstance(value, str):
        return value
    (expression, new), (condition, _) = patterns
    found = expression.sub(new, value)
    return condition.sub(new, found) if key == "loopCondition" else found


def _has_dag(value: Any) -> bool:
    """Say whether a task of type DAG stands somewhere in an input."""
    if isinstance(value, dict):
        return value.get("type") == "DAG" or any(map(_has_dag, value.values()))
    return isinstance(value, list) and any(map(_has_dag, value))


def _lists_of(task: Document) -> Iterator[list[Document]]:
    yield from task.get("forkTasks") or ()
    yield from (task.get("decisionCases") or {}).values()
    yield from (task[key] for key in LISTS if task.get(key))


def _plain_task_def(task: Document, notes: list[str]) -> Document:
    """Return a task definition without what only lenient mode accepts."""
    plain, which = dict(task), f"task definition {task['name']!r}"
    limit = plain.get("timeoutSeconds")
    has_lease = plain.get("responseTimeoutSeconds") is not None
    if isinstance(limit, int) and 0 < limit < RESPONSE_TIMEOUT_SECONDS and not has_lease:
        plain["responseTimeoutSeconds"] = limit
        notes.append(f"{which}: its responseTimeoutSeconds is now {limit}, its timeoutSeconds")
    if isinstance(plain.get("outputKeys"), dict):
        plain["outputKeys"] = list(plain["outputKeys"])
        notes.append(f"{which}: its outputKeys are now a list")
    return plain


_EMPTY = read_workflow_def({"name": "empty", "tasks": []})
