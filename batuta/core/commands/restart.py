"""Restart: the same run from its beginning. Source: semantics.md f, gotchas.md 2, 15, 46."""

from batuta.core.commands.reopen import check_ended, reopen, revive_parent
from batuta.core.draft import Draft
from batuta.core.graph import Graph
from batuta.core.settle import start
from batuta.model.change import Failure, NeedDefinition, NeedGraph, RetireTask
from batuta.model.command import RestartWorkflow
from batuta.model.error import NotFoundError
from batuta.model.execution import WorkflowStatus
from batuta.model.payload import EMPTY


def restart(draft: Draft, command: RestartWorkflow) -> None:
    """Retire every task and start anew with the same id, input and (mutated) variables.

    By the definition the run was started with, or by the newest of its name. A parent is
    revived.

    Raises:
        ConflictError: The run has not ended.
        NotFoundError: It is COMPLETED and its definition is not restartable (gotchas.md 2), or
            there is no newest definition.
    """
    check_ended(draft, "restarted")
    workflow = draft.workflow
    is_restartable = draft.execution.graph.definition.restartable
    if workflow.status is WorkflowStatus.COMPLETED and not is_restartable:
        raise NotFoundError(
            f"workflow {workflow.workflow_id!r} is COMPLETED and its definition "
            f"{workflow.name!r} says restartable=false"
        )
    retire_all(draft)
    if command.use_latest and not _use_latest(draft):
        return
    revive_parent(draft)
    reopen(
        draft,
        created_at_ms=draft.now_ms,
        ended_at_ms=0,
        failed_task_id=None,
        failed_references=(),
        failed_names=(),
        failure_workflow_id=None,
    )
    draft.put_workflow(output=EMPTY, last_retried_at_ms=0)
    start(draft)


def retire_all(draft: Draft) -> None:
    """Retire every task of the run, oldest first; history keeps them."""
    for task in draft.execution.in_order():
        draft.note(RetireTask(task.seq))


def _use_latest(draft: Draft) -> bool:
    """Go on by the newest definition of the run's name; False when that must be fetched first."""
    name = draft.workflow.name
    pinned = draft.answer(NeedDefinition(name))
    if pinned is None:
        return False
    if isinstance(pinned, Failure):
        raise NotFoundError(f"useLatestDefinitions: {pinned.message}")
    graph = draft.answer(NeedGraph(pinned.definition))
    if graph is None:
        return False
    assert isinstance(graph, Graph), "a graph is answered by the index of its snapshot"
    draft.use_graph(graph, pinned.version)
    return True
