"""What one ``${...}`` reads, compiled to a function of the scope.

Order of meaning (semantics.md e, gotchas 52, 56): blank, system names, secrets, environment of
workflows, and then a path; a bare name may also be an allow-listed environment name.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from batuta.core.expression.path import PATH_TEXT_MAX, Path, parse_path, read, walk
from batuta.model.payload import Payload

READERS_MAX = 1024  # compiled paths kept for expressions that are put together at run time

WORKFLOW_FIELDS = (
    *("input", "output", "status", "workflowId", "parentWorkflowId", "parentWorkflowTaskId"),
    *("workflowType", "version", "correlationId", "reasonForIncompletion", "schemaVersion"),
    "variables",
)
TASK_FIELDS = (
    *("input", "output", "taskType", "status", "referenceTaskName", "retryCount"),
    *("correlationId", "pollCount", "taskDefName", "scheduledTime", "startTime", "endTime"),
    *("workflowInstanceId", "taskId", "reasonForIncompletion", "callbackAfterSeconds"),
    *("workerId", "iteration"),
)

_TASK_ID = "CPEWF_TASK_ID"
# Names Conductor always treats as environment: without a value the literal stays.
_SYSTEM_NAMES = frozenset({_TASK_ID, "NETFLIX_ENV", "NETFLIX_STACK"})
_SECRETS = "workflow.secrets."
_ENVIRONMENT = "workflow.env."
_ENVIRONMENT_PREFIX = "CONDUCTOR_ENV_"


class View(Protocol):
    """What stands behind a root: a run or the latest attempt of a task."""

    def get(self, name: str, /) -> Any:
        """Give the field ``name``: a plain value, a Payload, or None when there is no such."""
        ...


class Scope(Protocol):
    """What the expressions of one task may see."""

    @property
    def task_id(self) -> str | None:
        """The id of the task being created; None where Conductor gives none (gotcha 52)."""
        ...

    def lookup(self, root: str, /) -> View | None:
        """Give the run (``workflow``) or the latest task of a reference name, or None."""
        ...

    def environment(self, name: str, /) -> str | None:
        """Give the value of an allow-listed environment name, or None."""
        ...


Node = Callable[[Scope], Any]


class Found:
    """What the compiler meets on its way."""

    __slots__ = ("is_dynamic", "references", "roots")

    def __init__(self) -> None:
        self.is_dynamic = False
        self.references: list[str] = []
        self.roots: set[str] = set()


class Constant(msgspec.Struct, frozen=True):
    """A part of a template that needs no scope."""

    value: Any


Compiled = Constant | Node


def composed_reader(text: str, *, carries: bool) -> Compiled:
    """Compile an expression put together at run time; see ``compile_reader``."""
    # A longer text is no path, and must not stay in the cache for the sake of an answer of None.
    return _cached_reader(text, carries) if len(text) <= PATH_TEXT_MAX else Constant(None)


@lru_cache(maxsize=READERS_MAX)
def _cached_reader(text: str, carries: bool) -> Compiled:  # noqa: FBT001 - keys of the cache
    return compile_reader(text, Found(), carries=carries)


def compile_reader(text: str, found: Found, *, carries: bool) -> Compiled:
    """Compile the inside of a ``${...}`` that holds no further one.

    Args:
        found: Learns the root.
        carries: Give a whole payload as ``msgspec.Raw`` rather than decoded.

    Returns:
        A node that never fails but by PathError; a constant where no scope can matter.
    """
    literal = f"${{{text}}}"
    text = text.strip()
    if not text:
        return Constant("")
    if text in _SYSTEM_NAMES:
        return _system_reader(text, literal)
    if text.startswith(_SECRETS):
        found.roots.add("workflow")
        # Secrets are put in by the worker's side, so that they never enter a record.
        return Constant(literal)
    if text.startswith(_ENVIRONMENT):
        found.roots.add("workflow")
        return _environment_reader(text.removeprefix(_ENVIRONMENT))
    path = parse_path(text)
    if path is None:
        return Constant(None)
    found.roots.add(path.root)
    return _path_reader(path, carries=carries)


def _system_reader(name: str, literal: str) -> Node:
    def system(scope: Scope) -> str:
        value = scope.task_id if name == _TASK_ID else scope.environment(name)
        return literal if value is None else value

    return system


def _environment_reader(rest: str) -> Compiled:
    path = parse_path(rest)
    if path is None:
        return Constant(None)
    name = _ENVIRONMENT_PREFIX + path.root
    is_whole = path.is_plain and not path.steps

    def environment(scope: Scope) -> Any:
        value = scope.environment(name)
        if value is None or is_whole:
            return value
        try:
            document = msgspec.json.decode(value)
        except msgspec.DecodeError:
            document = None
        return read(document, path)

    return environment


def _path_reader(path: Path, *, carries: bool) -> Node:
    root = path.root
    if not path.steps or not isinstance(field := path.steps[0], str):
        return _whole_reader(path, carries=carries)
    steps = path.steps[1:]
    if not path.is_plain:
        inner = Path(root, steps, path.stages, path.function)
        return lambda scope: read(_field(scope, root, field), inner)
    if not steps:
        return _field_reader(root, field, _carried if carries else _decoded)
    if len(steps) == 1 and isinstance(steps[0], str):
        return _key_reader(root, field, steps[0])
    return lambda scope: walk(_field(scope, root, field), steps)


def _field(scope: Scope, root: str, field: str) -> Any:
    view = scope.lookup(root)
    return None if view is None else _decoded(view.get(field))


def _field_reader(root: str, field: str, finish: Callable[[Any], Any]) -> Node:
    def read_field(scope: Scope) -> Any:
        view = scope.lookup(root)
        return None if view is None else finish(view.get(field))

    return read_field


def _key_reader(root: str, field: str, key: str) -> Node:
    """Read ``root.field.key``, by far the most frequent form, without a loop."""

    def read_key(scope: Scope) -> Any:
        view = scope.lookup(root)
        if view is None:
            return None
        value = view.get(field)
        if type(value) is Payload:
            value = value.value
        return value.get(key) if type(value) is dict else None

    return read_key


def _whole_reader(path: Path, *, carries: bool) -> Node:
    """Read a bare root, which may be an environment name, or a path from a root as a whole."""
    root = path.root
    is_bare = path.is_plain and not path.steps
    fields = WORKFLOW_FIELDS if root == "workflow" else TASK_FIELDS

    def read_whole(scope: Scope) -> Any:
        if is_bare and (value := scope.environment(root)) is not None:
            return value
        view = scope.lookup(root)
        if view is None:
            return read(None, path)
        finish = _carried if is_bare and carries else _decoded
        return read({name: finish(view.get(name)) for name in fields}, path)

    return read_whole


def _carried(value: Any) -> Any:
    if type(value) is not Payload:
        return value
    assert value.raw is not None, "a payload is loaded before it is resolved"
    return msgspec.Raw(value.raw)


def _decoded(value: Any) -> Any:
    return value.value if type(value) is Payload else value
