"""Answers to what a decision needs: definitions, payloads, scripts, domains."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from batuta.core.execution import Execution
from batuta.model.change import (
    Answers,
    Failure,
    NeedDefinition,
    NeedDomain,
    NeedPayload,
    Needs,
    NeedScript,
)
from batuta.model.payload import Payload
from batuta.runtime.definitions import Definitions
from batuta.store.base import Store


class ScriptRunner(Protocol):
    """Evaluates JavaScript outside the server's process."""

    async def evaluate(self, source: str, argument: bytes) -> Payload | Failure:
        """Return the value of ``source`` with ``argument`` (JSON) as ``$``."""
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
            elif isinstance(need, NeedDefinition):
                pinned = self.definitions.pinned(need.name, need.version)
                if pinned is None:
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
        scripts = [need for need in needs.wanted if isinstance(need, NeedScript)]
        values = await asyncio.gather(
            *(self._scripts.evaluate(need.source, need.argument) for need in scripts)
        )
        answers.update(zip(scripts, values, strict=True))
        for need in needs.wanted:
            if isinstance(need, NeedDefinition):
                answers[need] = await self.definitions.resolve(need.name, need.version)
            elif isinstance(need, NeedDomain):
                answers[need] = self.is_active(need.queue)


def _load_into(execution: Execution, need: NeedPayload, payload: Payload) -> None:
    """Give a payload its bytes, wherever the execution holds it."""
    holders = {"input": execution.inputs, "output": execution.outputs}
    held = getattr(execution, need.part) if need.seq == 0 else holders[need.part].get(need.seq)
    if held is not None and held.raw is None:
        held.raw = payload.raw
        execution.size_bytes += payload.size_bytes
