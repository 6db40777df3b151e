"""Operations that take more than one command: reruns inside sub-workflows, and many runs at once.

The plain ones are commands of their own, see ``Engine.control``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace

from batuta.model.command import DeleteWorkflow, RerunWorkflow, TerminateWorkflow
from batuta.model.error import BatutaError, ConflictError, Fault, InvalidError
from batuta.runtime.commit.committer import Committer
from batuta.store.base import Store

BULK_IDS_MAX = 1_000  # of one request, as Conductor's
BULK_AT_ONCE = 100  # of them in work: enough to share a commit, too few to crowd out others
DEPTH_MAX = 100  # sub-workflows between a run and the task it is rerun from

_log = logging.getLogger(__name__)


class Bulk(msgspec.Struct, frozen=True):
    """What became of each run of a bulk: why not, by id, and those that were done, in order."""

    errors: dict[str, str]
    done: list[str]


class Operations:
    """What operators do to runs, for the engine's callers."""

    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer

    async def rerun(self, command: RerunWorkflow, *, actor: str = "") -> None:
        """Run an ended run again; the task to begin with may be in a sub-workflow of it.

        Raises:
            NotFoundError: No such run.
            ConflictError: It has not ended.
            InvalidError: It has no such task, also not in a sub-workflow; or an input or a
                correlation id of the run is given for a task of a sub-workflow.
        """
        if command.task_id is not None:
            run = await self._committer.committed(command.workflow_id)
            if run.task(command.task_id) is None:
                command = await self._below(command, command.task_id)
                if not run.workflow.status.is_terminal:
                    raise ConflictError(
                        f"workflow {run.workflow.workflow_id!r} is {run.workflow.status}; only "
                        "an ended one can be rerun"
                    )
        await self._committer.submit(command, actor=actor)

    async def remove(self, workflow_id: str, *, reason: str | None = None, actor: str = "") -> None:
        """Terminate a run, unless it has ended, and remove it.

        Raises:
            NotFoundError: No such run; ConflictError: it is COMPLETED.
        """
        terminate = TerminateWorkflow(workflow_id=workflow_id, reason=reason)
        await self._committer.submit(terminate, actor=actor)
        await self._committer.submit(DeleteWorkflow(workflow_id=workflow_id), actor=actor)

    async def each(
        self, workflow_ids: Sequence[str], work: Callable[[str], Awaitable[None]]
    ) -> Bulk:
        """Do something to each of many runs; what fails for one does not stop the others.

        An id that is given twice is done twice, in order.

        Raises:
            InvalidError: There are none, or too many.
        """
        if not 0 < len(workflow_ids) <= BULK_IDS_MAX:
            message = f"expected 1 to {BULK_IDS_MAX} workflow ids, got {len(workflow_ids)}"
            raise InvalidError(f"body: {message}", [Fault("body", message)])
        errors: dict[str, str] = {}
        done: list[str] = []
        for first in range(0, len(workflow_ids), BULK_AT_ONCE):
            some = workflow_ids[first : first + BULK_AT_ONCE]
            outcomes = await asyncio.gather(*(_outcome(work, one) for one in some))
            for workflow_id, why_not in zip(some, outcomes, strict=True):
                if why_not is None:
                    done.append(workflow_id)
                else:
                    errors[workflow_id] = why_not
        return Bulk(errors, done)

    async def _below(self, command: RerunWorkflow, task_id: str) -> RerunWorkflow:
        """Return the command for the sub-workflow that has the task now."""
        named = command.workflow_id
        owner = workflow_id = await self._store.find_task(task_id)
        for _ in range(DEPTH_MAX):
            if workflow_id is None or workflow_id == named:
                break
            child = (await self._committer.committed(workflow_id)).workflow
            if child.parent_id is None:
                workflow_id = None
                break
            parent = await self._committer.committed(child.parent_id)
            started = parent.task(child.parent_task_id or "")
            is_its_child = started is not None and started.child_id == workflow_id
            workflow_id = child.parent_id if is_its_child else None
        if owner is None or workflow_id != named:
            message = f"Task {task_id} not found"
            raise InvalidError(
                f"reRunFromTaskId: {message} in workflow {named!r} or its sub-workflows",
                [Fault("reRunFromTaskId", message, task_id)],
            )
        if command.input is not None or command.correlation_id is not None:
            message = "not together with a task of a sub-workflow; rerun that one by its own id"
            raise InvalidError(f"workflowInput: {message}", [Fault("workflowInput", message)])
        return replace(command, workflow_id=owner, up_to=None if owner == named else named)


async def _outcome(work: Callable[[str], Awaitable[None]], workflow_id: str) -> str | None:
    """Return None when it was done, else why not."""
    try:
        await work(workflow_id)
    except BatutaError as error:
        return error.message
    except Exception:  # noqa: BLE001  a bug of ours fails one run of a bulk
        _log.exception("a bulk operation on workflow %r failed", workflow_id)
        return "an unexpected error; the server's log has the details"
    return None
