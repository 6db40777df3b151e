"""What the author of a worker writes: `@task` functions, and what they may raise and return.

Input is bound by name: each parameter takes the input of its name. A parameter called `task`, or
annotated `TaskContext`, takes the task itself; `**rest` takes whatever input is left over.
"""

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from batuta.model.error import InvalidError

CONCURRENCY = 16  # tasks of one function at once, unless its author says otherwise
CONCURRENCY_MAX = 1_000  # each is a coroutine, and over HTTP a connection

_MARK = "__batuta_task__"
_NAMED = "__batuta_function__"
_Function = TypeVar("_Function", bound=Callable[..., Any])


class FatalError(Exception):
    """Raise it when trying again is of no use: the task ends FAILED_WITH_TERMINAL_ERROR.

    Any other exception ends the attempt FAILED, and the task definition says when the next one is.
    """


class InProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Return it when the work goes on elsewhere: the task is offered again after the callback.

    It keeps its id, and what `output` holds is kept with it until a later report.
    """

    callback_after_ms: int = 0
    output: dict[str, Any] = {}


class TaskContext:
    """The task in hand, for a function that wants more than its input."""

    __slots__ = ("_is_cancelled", "input", "job", "lines")

    def __init__(self, job: "Job", task_input: dict[str, Any]) -> None:
        self.job = job
        self.input = task_input
        self.lines: deque[str] = deque()  # that were not sent yet; written and read by two threads
        self._is_cancelled = False

    @property
    def task_id(self) -> str:
        """The id of this attempt."""
        return self.job.task_id

    @property
    def workflow_id(self) -> str:
        """The id of the run."""
        return self.job.workflow_id

    @property
    def reference_name(self) -> str:
        """The name of the node in the definition, with the loop's suffix."""
        return self.job.reference_name

    @property
    def retry_count(self) -> int:
        """How many attempts there were before this one."""
        return self.job.retry_count

    @property
    def poll_count(self) -> int:
        """How often this attempt was handed out, this time included."""
        return self.job.poll_count

    @property
    def is_cancelled(self) -> bool:
        """True once the worker has to stop; a long plain function should look at it and return."""
        return self._is_cancelled

    def log(self, line: str) -> None:
        """Add a line to the task's log, kept with the run; sent with the next heartbeat."""
        self.lines.append(str(line))

    def take_lines(self) -> tuple[str, ...]:
        """Take the lines that were not sent yet."""
        return tuple(self.lines.popleft() for _ in range(len(self.lines)))

    def cancel(self) -> None:
        """Ask the function to stop."""
        self._is_cancelled = True


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A task in this worker's hands."""

    task_id: str
    workflow_id: str
    task_type: str
    reference_name: str = ""
    retry_count: int = 0
    poll_count: int = 1
    input: bytes = b"{}"
    """A JSON object."""
    output: bytes = b"{}"
    """What an earlier report on this attempt gave, a JSON object: how far the work has come."""
    lease_ms: int = 0
    """How long we own it without a word; 0 is for ever."""
    is_async_complete: bool = False
    """Its node says that a success leaves it open; only in-process workers are told."""
    handle: Any = None
    """What the transport needs to report or return it."""


class TaskFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function that does the tasks of one type."""

    task_type: str
    call: Callable[..., Any]
    bind: Callable[[dict[str, Any], TaskContext], dict[str, Any]]
    is_async: bool
    is_inline: bool
    concurrency: int
    domain: str | None


def task(
    name: str,
    *,
    concurrency: int = CONCURRENCY,
    domain: str | None = None,
    inline: bool = False,
) -> Callable[[_Function], _Function]:
    """Make a function the worker of the task type `name`.

    The function stays what it was, so that a test can call it. It returns its output: an object,
    nothing, `InProgress`, or another JSON value, which becomes `{"result": value}`.

    Args:
        concurrency: How many tasks it does at once, 1 to CONCURRENCY_MAX.
        domain: Poll only the tasks of this domain.
        inline: Run on the loop that polls, without a thread between. Only for what takes less
            than a millisecond: while it runs, nothing else does. Its lease is not extended.

    Raises:
        InvalidError: The name, the number or the function's signature cannot work.
    """
    if not name:
        raise InvalidError("a task function needs the task type it does: @batuta.task('name')")
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise InvalidError(
            f"concurrency of task {name!r} is {concurrency}; allowed is 1 to {CONCURRENCY_MAX:,}"
        )

    def mark(function: _Function) -> _Function:
        described = TaskFunction(
            task_type=name,
            call=function,
            bind=_binder(name, function),
            is_async=inspect.iscoroutinefunction(function),
            is_inline=inline,
            concurrency=concurrency,
            domain=domain,
        )
        # a function may do several types: @task above @task
        marks = (*getattr(function, _MARK, ()), described)
        setattr(function, _MARK, marks)
        return function

    return mark


def function(name: str) -> Callable[[_Function], _Function]:
    """Make a function callable by `name` from the steps of a workflow, see `batuta.dialects`.

    It takes one value and returns one; what it raises is why the step failed.

    Raises:
        InvalidError: The name is empty.
    """
    if not name:
        raise InvalidError("a function of steps needs a name: @batuta.function('name')")

    def mark(marked: _Function) -> _Function:
        setattr(marked, _NAMED, (*getattr(marked, _NAMED, ()), name))
        return marked

    return mark


def named_functions(namespace: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """Find the functions of steps among a module's names."""
    return {
        name: value
        for value in namespace.values()
        if callable(value)
        for name in getattr(value, _NAMED, ()) or ()
        if isinstance(name, str)
    }


def concurrent(functions: Iterable[TaskFunction], count: int) -> list[TaskFunction]:
    """Return the functions with another concurrency; 0 leaves each its own."""
    return [replace(one, concurrency=count or one.concurrency) for one in functions]


def task_functions(namespace: dict[str, Any]) -> Iterator[TaskFunction]:
    """Find the task functions among a module's names."""
    for value in namespace.values():
        marks = getattr(value, _MARK, None) if callable(value) else None
        if isinstance(marks, tuple):
            yield from marks


def _binder(
    name: str, function: Callable[..., Any]
) -> Callable[[dict[str, Any], TaskContext], dict[str, Any]]:
    """Read the signature once; binding an input is then a walk over a list."""
    wanted: list[tuple[str, bool]] = []
    context_name: str | None = None
    takes_rest = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise InvalidError(
                f"parameter {parameter.name!r} of task {name!r} cannot be given by name, "
                "as the input of a task is"
            )
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_rest = True
        elif _is_context(parameter):
            context_name = parameter.name
        else:
            wanted.append((parameter.name, parameter.default is parameter.empty))

    def bind(given: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        arguments = dict(given) if takes_rest else {}
        for key, is_required in wanted:
            if key in given:
                arguments[key] = given[key]
            elif is_required:
                raise FatalError(
                    f"input {key!r} is missing: task {name!r} needs it, and the input has "
                    f"{sorted(given) or 'nothing'}"
                )
        if context_name is not None:
            arguments[context_name] = context
        return arguments

    return bind


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if annotation is TaskContext or annotation in ("TaskContext", "batuta.TaskContext"):
        return True
    return parameter.name == "task" and annotation is parameter.empty
