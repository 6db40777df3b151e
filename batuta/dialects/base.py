"""What a dialect is given, and what it gives."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from batuta.api.dispatch.mount import Mount
from batuta.runtime.engine import Engine
from batuta.runtime.lifecycle import Loop
from batuta.runtime.view import RunView
from batuta.sinks.passage import Tell
from batuta.store.blob.media import MediaFiles
from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.media.ai import Ai
from batuta.workers.outcome import Outcome
from batuta.workers.system.target import Targets


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The server that dialects are part of.

    ``targets``: what steps and nodes may call over HTTP. ``functions``: the operator's own, by
    name. ``delay_percent``: how much of the time that they simulate sample functions take.
    ``api``: what nodes mean by http://localhost:3000, as http://host:port; "" when not told.
    ``github_secret``: what webhooks are signed with, "" when none are taken; ``github_branches``:
    those to which a push starts a pipeline. ``flow_callback_secret``: what the messages about the
    ends of flows are signed with, "" when none are sent.
    ``environment``: the server's, for the names that a dialect shares with other programs (keys
    of providers, addresses). ``folder``: where files of the server may stand, beside its database.
    ``media``: pictures, films and sound of runs; None where the server has no folder for them.
    ``ai``: the providers that make them. ``node_tasks_max``: nodes of flows of each type that are
    done here at once, 0 for none; ``graph_tasks_max``: the same of graphs.
    ``workflows_folder``: where class workflows stand; ``jwt_secret``: what their bearers' tokens
    are signed with, "" has a key made. ``retry_interval_s``: between two looks whether a job that
    waits for a reason may go on; ``retries_max``: that a step has by itself.
    """

    engine: Engine
    targets: Targets
    functions: Mapping[str, Callable[..., Any]] = {}
    delay_percent: int = 100
    api: str = ""
    github_secret: str = ""
    github_branches: tuple[str, ...] = ("main",)
    flow_callback_secret: str = ""
    environment: Mapping[str, str] = {}
    folder: Path = Path(".batuta")
    media: MediaFiles | None = None
    ai: Ai = Ai()
    node_tasks_max: int = 4
    graph_tasks_max: int = 64
    workflows_folder: Path = Path("workflows")
    jwt_secret: str = ""
    retry_interval_s: float = 300
    retries_max: int = 5


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """A front door, and the workers inside the server that do its tasks.

    ``loops``: what runs beside it by name, supervised as ``runtime.lifecycle`` says. ``news``:
    lines to print once the server listens. ``tell``: what sinks publish of its runs; None: statuses
    in Conductor's words. ``document``: a run as a copy of it elsewhere shows it, as JSON.
    """

    mount: Mount
    functions: tuple[TaskFunction, ...] = ()
    loops: Mapping[str, Loop] = {}
    news: tuple[str, ...] = ()
    tell: Tell | None = None
    document: Callable[[RunView], bytes] | None = None


def worker_of(
    task_type: str, do: Callable[[TaskContext], Awaitable[Outcome]], *, concurrency: int
) -> TaskFunction:
    """Make a dialect's coroutine the worker inside the server of a task type."""
    return TaskFunction(
        task_type=task_type,
        call=do,
        bind=lambda _, task: {"task": task},
        is_async=True,
        is_inline=False,
        concurrency=concurrency,
        domain=None,
    )
