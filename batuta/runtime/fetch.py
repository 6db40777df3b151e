"""Answers to what a decision needs: definitions, payloads, scripts, domains."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from batuta.core.execution import Execution
from batuta.model.change import (
    Answers,
    Failure,
    NeedDefinition,
    NeedDomain,
    NeedGraph,
    NeedJq,
    NeedPayload,
    Needs,
    NeedScript,
    NeedTaskDefs,
)
from batuta.model.payload import Payload
from batuta.runtime.definitions import Definitions
from batuta.runtime.view import Polled, RunView, TaskView
from batuta.store.base import Store


class ScriptRunner(Protocol):
    """Runs JavaScript and jq outside the server's process."""

    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        """Return the value of ``source`` with ``argument`` (JSON) as ``$``."""
        ...

    async def transform(self, program: str, argument: bytes) -> Payload | Failure:
        """Return all values of a jq program for ``argument`` (JSON) as a JSON list."""
        ...


class Fetcher:
    """Fetches what ``Needs`` names; ``is_active`` is set by the committer's queues."""

    def __init__(self, store: Store, definitions: Definitions, scripts: ScriptRunner) -> None:
        self.definitions = definitions
        self.is_active: Callable[[str], bool] = lambda _queue: False
        self._store = store
        self._scripts = scripts

    def answer_now(self, needs: Needs, answers: Answers) -> bool:
        """Answer what is in memory; True when that was all."""
        is_all = True
        for need in needs.wanted:
            if isinstance(need, NeedDomain):
                answers[need] = self.is_active(need.queue)
            elif isinstance(need, NeedGraph):
                graph = self.definitions.graph_in_memory(need.definition)
                if graph is None:
                    is_all = False
                else:
                    answers[need] = graph
            elif isinstance(need, NeedDefinition):
                pinned = self.definitions.pinned(need.name, need.version)
                if pinned is None or need.inline:
                    is_all = False
                else:
                    answers[need] = pinned
            else:
                is_all = False
        return is_all

    async def fetch(self, needs: Needs, answers: Answers, execution: Execution) -> None:
        """Answer everything; payloads are loaded into ``execution``.

        Raises:
            StoreError: The database failed.
        """
        payloads = [need for need in needs.wanted if isinstance(need, NeedPayload)]
        if payloads:
            workflow_id = execution.workflow.workflow_id
            found = await self._store.fetch([(workflow_id, n.seq, n.part) for n in payloads])
            for wanted, payload in zip(payloads, found, strict=True):
                _load_into(execution, wanted, payload)
        scripts = [need for need in needs.wanted if isinstance(need, NeedScript | NeedJq)]
        values = await asyncio.gather(*map(self._run, scripts))
        answers.update(zip(scripts, values, strict=True))
        for need in needs.wanted:
            if isinstance(need, NeedDefinition):
                answers[need] = await self.definitions.resolve(need)
            elif isinstance(need, NeedGraph):
                answers[need] = await self.definitions.graph(need.definition)
            elif isinstance(need, NeedTaskDefs):
                answers[need] = await self.definitions.task_defs_of(need.names)
            elif isinstance(need, NeedDomain):
                answers[need] = self.is_active(need.queue)

    async def _run(self, need: NeedScript | NeedJq) -> Payload | Failure:
        if isinstance(need, NeedJq):
            return await self._scripts.transform(need.program, need.argument)
        return await self._scripts.evaluate(need.source, need.argument)


def _load_into(execution: Execution, need: NeedPayload, payload: Payload) -> None:
    """Give a payload its bytes, wherever the execution holds it."""
    holders = {"input": execution.inputs, "output": execution.outputs}
    held = getattr(execution, need.part) if need.seq == 0 else holders[need.part].get(need.seq)
    if held is not None and held.raw is None:
        held.raw = payload.raw  # whose bytes the execution's size counts all along


async def whole_polled(store: Store, polled: Sequence[Polled]) -> list[Polled]:
    """Return tasks with the bytes of payloads that were loaded without them.

    Raises:
        StoreError: The database failed.
    """
    if all(one.input.is_loaded and one.output.is_loaded for one in polled):
        return list(polled)
    places = []
    for one in polled:
        workflow_id, seq = one.workflow.workflow_id, one.task.seq
        places += [(workflow_id, seq, "input", one.input), (workflow_id, seq, "output", one.output)]
    found = iter(await _whole(store, places))
    return [replace(one, input=next(found), output=next(found)) for one in polled]


async def whole_tasks(store: Store, workflow_id: str, tasks: Sequence[TaskView]) -> list[TaskView]:
    """Return a run's tasks with the bytes of all payloads.

    Raises:
        StoreError: The database failed.
    """
    if all(view.input.is_loaded and view.output.is_loaded for view in tasks):
        return list(tasks)
    places = []
    for view in tasks:
        seq = view.task.seq
        places += [(workflow_id, seq, "input", view.input)]
        places += [(workflow_id, seq, "output", view.output)]
    found = iter(await _whole(store, places))
    return [replace(view, input=next(found), output=next(found)) for view in tasks]


async def whole_run(store: Store, run: RunView) -> RunView:
    """Return a run, and the tasks that it is shown with, with the bytes of all payloads.

    Raises:
        StoreError: The database failed.
    """
    workflow_id = run.workflow.workflow_id
    tasks = await whole_tasks(store, workflow_id, run.tasks)
    own = await _whole(
        store,
        [
            (workflow_id, 0, "input", run.input),
            (workflow_id, 0, "output", run.output),
            (workflow_id, 0, "variables", run.variables),
        ],
    )
    return replace(run, input=own[0], output=own[1], variables=own[2], tasks=tasks)


async def _whole(store: Store, places: Sequence[tuple[str, int, str, Payload]]) -> list[Payload]:
    """Return the payloads, those without bytes read from the store in one go."""
    missing = [place[:3] for place in places if not place[3].is_loaded]
    found = iter(await store.fetch(missing)) if missing else iter(())
    return [place[3] if place[3].is_loaded else next(found) for place in places]
