"""Doing the tasks of the node types: plan the calls, make them, keep how far they are.

What has been done and what a provider has queued is in the output of the task while it is in
progress: a server that starts anew goes on with it, and submits nothing twice. A provider that is
busy is asked again from there too, when it says, before the attempt counts as failed.
"""

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.model.error import StoreError
from batuta.model.execution import TaskStatus
from batuta.runtime.clock import wall_ms
from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.media.ai import Services
from batuta.workers.media.call import WAIT_MS_MAX, Call, NodeError, TroubleError, Waiting
from batuta.workers.media.doing import DOING
from batuta.workers.media.fan_out import FanOutError, Plan, merged, plan, with_last_outputs
from batuta.workers.media.nodes import NODE_TYPES, NodeType
from batuta.workers.outcome import REASON_CHARACTERS_MAX, Outcome

CONCURRENCY = 4  # tasks of one type at once
PARALLEL_MAX = 16  # calls of one task at once
KEEP_S = 10.0  # for which calls are made one after the other before what is done is kept
TRIES_MAX = 4  # of one call that meets trouble, within one attempt
WAIT_MS_MIN = 10  # before a task is offered again


class Progress(msgspec.Struct, rename="camel", omit_defaults=True):
    """How far one call is: done, queued at a provider, or in trouble so often."""

    output: dict[str, Any] | None = None
    state: dict[str, Any] = {}
    tries: int = 0
    trouble: str = ""
    at_ms: int = 0
    """When it goes on, Unix ms; 0 is now."""


class _Kept(msgspec.Struct, frozen=True):
    """The output of a task in progress; of another attempt's there is nothing to go on with."""

    progress: list[Progress] = []


def media_functions(
    services: Services, *, concurrency: int = CONCURRENCY
) -> tuple[TaskFunction, ...]:
    """Return the task functions of all node types.

    Args:
        concurrency: Tasks of one type that are done at once.
    """
    return tuple(
        TaskFunction(
            task_type=node.name,
            call=functools.partial(do_node, services, node),
            bind=lambda _, task: {"task": task},
            is_async=True,
            is_inline=False,
            concurrency=concurrency,
            domain=None,
        )
        for node in NODE_TYPES.values()
    )


async def do_node(services: Services, node: NodeType, task: TaskContext) -> Outcome:
    """Do one task: ``{nodeId, nodeType, config, execution, previousResults?}``."""
    given = task.input
    config = given.get("config")
    config = config if isinstance(config, dict) else {}
    previous = given.get("previousResults")
    previous = previous if isinstance(previous, list) else []
    try:
        asked = plan(node, with_last_outputs(node, config, previous), given.get("execution"))
    except FanOutError as error:
        return _failed(_reason(error))
    kept = _read(task.job.output, len(asked.configs))
    calls = [
        Call(
            node=node.name,
            config=one,
            services=services,
            workflow_id=task.workflow_id,
            state=held.state,
            previous=previous,
        )
        for one, held in zip(asked.configs, kept, strict=True)
    ]
    try:
        await _go_on(asked, calls, kept)
    except NodeError as error:
        return _failed(_reason(error))
    except StoreError as error:
        return Outcome(status=TaskStatus.FAILED, reason=error.message)
    return _outcome(node, asked, kept)


async def _go_on(asked: Plan, calls: Sequence[Call], kept: list[Progress]) -> None:
    """Make calls that are not done; many at once, or the first one and so on while they end.

    Not all of many: a server that is killed has to make again what was not kept yet.
    """
    indexes = [index for index, held in enumerate(kept) if held.output is None]
    due = [index for index in indexes if kept[index].at_ms <= wall_ms()]
    if not asked.is_parallel:
        until_s = asyncio.get_running_loop().time() + KEEP_S
        for index in indexes if indexes[:1] == due[:1] else ():
            await _step(calls[index], kept[index])
            if kept[index].output is None or asyncio.get_running_loop().time() > until_s:
                return
        return
    due.sort(key=lambda index: kept[index].at_ms)  # what has not begun before what is asked again
    some = due[:PARALLEL_MAX]
    tasks = [asyncio.ensure_future(_step(calls[index], kept[index])) for index in some]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _step(call: Call, held: Progress) -> None:
    """Make one call, and note how it went."""
    try:
        found = await DOING[call.node](call)
    except TroubleError as error:
        held.tries += 1
        held.trouble = _reason(error)
        backoff_ms = call.services.retry_ms * 2 ** (held.tries - 1)
        held.at_ms = wall_ms() + max(error.wait_ms, backoff_ms)
        return
    held.tries, held.trouble = 0, ""
    if isinstance(found, Waiting):
        held.state, held.at_ms = found.state, wall_ms() + found.wait_ms
    else:
        held.output, held.state, held.at_ms = found, {}, 0


def _outcome(node: NodeType, asked: Plan, kept: Sequence[Progress]) -> Outcome:
    open_ = [held for held in kept if held.output is None]
    if not open_:
        output = merged(node, asked, [held.output or {} for held in kept])
        return Outcome(status=TaskStatus.COMPLETED, output=msgspec.json.encode(output))
    lost = next((held for held in open_ if held.tries >= TRIES_MAX), None)
    if lost is not None:
        return Outcome(status=TaskStatus.FAILED, reason=lost.trouble)
    open_ = open_ if asked.is_parallel else open_[:1]
    waits_ms = [held.at_ms - wall_ms() for held in open_]
    progress = {"nodeType": node.name, "progress": list(kept)}
    return Outcome(
        status=TaskStatus.IN_PROGRESS,
        output=msgspec.json.encode(progress),
        callback_after_ms=max(min(waits_ms, default=0), WAIT_MS_MIN),
    )


def _failed(reason: str) -> Outcome:
    return Outcome(status=TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=reason)


def _reason(error: Exception) -> str:
    """Return an error's text as a database takes it."""
    return str(error).replace("\0", "")[:REASON_CHARACTERS_MAX]


def _read(output: bytes, count: int) -> list[Progress]:
    """Return how far the calls are; all anew where there is nothing, or something else."""
    try:
        found = msgspec.json.decode(output, type=_Kept).progress
    except msgspec.DecodeError:
        found = []
    if len(found) != count:
        return [Progress() for _ in range(count)]
    # a clock that was set back must not make a call wait for years
    latest_ms = wall_ms() + WAIT_MS_MAX
    return [replace(one, at_ms=min(one.at_ms, latest_ms)) for one in found]
