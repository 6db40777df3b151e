"""Bugs planted on what operators and operations do: most are for the reference to find."""

import contextlib
from typing import Any
from unittest import mock

from msgspec.structs import replace

from batuta.core import ending, settle, tasks
from batuta.core.commands import control, rerun, restart
from batuta.core.limits import policy
from batuta.core.tasks import branch, loop, wait
from batuta.core.tasks.dynamic import forms
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime import waiting
from batuta.store.memory import decision

Patch = contextlib.AbstractContextManager[Any]


def skipped_left_for_later() -> Patch:
    """A skipped task that the run has come to is left when a decision stops in between."""
    real = settle.schedule

    def schedule(draft: Any, *given: Any) -> None:
        count = len(draft.agenda)
        real(draft, *given)
        agenda = draft.agenda
        if len(agenda) > count:
            first = draft.execution.tasks[agenda[0]]
            if first.status is TaskStatus.SKIPPED:
                agenda.rotate(-1)

    return mock.patch.object(settle, "schedule", schedule)


def variables_not_set() -> Patch:
    """A SET_VARIABLE completes and sets nothing."""
    return mock.patch.dict(tasks._BEGIN, {"SET_VARIABLE": wait.begin_noop})


def empty_case_takes_the_default() -> Patch:
    """A SWITCH whose case is empty goes on with its default case."""
    real = branch._case

    def case(node: Any, word: str) -> Any:
        return real(node, word) or node.task.default_case

    return mock.patch.object(branch, "_case", case)


def old_passes_kept() -> Patch:
    """keepLastN drops nothing."""
    return mock.patch.object(loop, "_drop_old_passes", return_value=None)


def last_item_lost() -> Patch:
    """A loop over items ends before the last one."""
    real = loop._items
    return mock.patch.object(loop, "_items", lambda *given: real(*given)[:-1])


def permissive_failure_forgotten() -> Patch:
    """A run completes though a permissive task failed."""

    def complete(draft: Any) -> None:
        ending.finish(draft, WorkflowStatus.COMPLETED, reason=None)

    return mock.patch.object(settle, "complete", complete)


def terminate_always_completes() -> Patch:
    """A TERMINATE completes its run, whatever status it names."""
    real = settle.end_of_run

    def end_of_run(draft: Any, task: Any) -> Any:
        found = real(draft, task)
        return type(found)(WorkflowStatus.COMPLETED, found.reason)

    return mock.patch.object(settle, "end_of_run", end_of_run)


def removed_run_leaves_tasks() -> Patch:
    """A run is removed, and its tasks can still be found by their ids."""
    real = decision._remove

    def remove(state: Any, workflow_id: str) -> None:
        seqs = dict(state.seqs)
        real(state, workflow_id)
        state.seqs = seqs

    return mock.patch.object(decision, "_remove", remove)


def resume_settles_nothing() -> Patch:
    """What ended during a pause is not followed after it."""
    return mock.patch.object(control, "gather", return_value=None)


def node_overrides_ignored() -> Patch:
    """What a node says of its attempts does not go before its task definition."""
    return mock.patch.object(policy, "_first", lambda _override, otherwise: otherwise)


def restart_keeps_tasks() -> Patch:
    """A restarted run still has the tasks of before."""
    return mock.patch.object(restart, "retire_all", return_value=None)


def revival_leaves_siblings() -> Patch:
    """A parent that is revived by its child leaves what its end had cut short."""
    real = control.revive

    def revive(draft: Any, command: Any) -> None:
        with mock.patch.object(control, "failed_attempts", return_value=[]):
            real(draft, command)

    return mock.patch.object(control, "revive", revive)


def rerun_keeps_the_next() -> Patch:
    """A rerun from a task leaves the one that was made next after it."""
    real = rerun._retire_after
    return mock.patch.object(
        rerun, "_retire_after", lambda draft, task: real(draft, replace(task, seq=task.seq + 1))
    )


def rerun_leaves_the_join() -> Patch:
    """A JOIN that waited for a task that runs again does not wait for it again."""
    return mock.patch.object(rerun, "_open_joins", return_value=None)


def waiter_told_at_once() -> Patch:
    """A call that waits for a run is told that it has ended before it has."""

    async def until_blocked(_self: Any, _waiter: Any, run: str, **_given: Any) -> Any:
        return waiting.Outcome(run)

    return mock.patch.object(waiting.Waiting, "until_blocked", until_blocked)


def items_of_a_fork_shifted() -> Patch:
    """The branches of a dynamic fork get each other's items."""
    real = forms._of_items

    def of_items(node: Any, values: dict[str, Any], **given: Any) -> Any:
        shifted = [*values["forkTaskInputs"][1:], *values["forkTaskInputs"][:1]]
        return real(node, {**values, "forkTaskInputs": shifted}, **given)

    return mock.patch.object(forms, "_of_items", of_items)


OPERATOR_PLANTS = (
    skipped_left_for_later,
    variables_not_set,
    empty_case_takes_the_default,
    old_passes_kept,
    last_item_lost,
    permissive_failure_forgotten,
    terminate_always_completes,
    removed_run_leaves_tasks,
    resume_settles_nothing,
    node_overrides_ignored,
    restart_keeps_tasks,
    revival_leaves_siblings,
    rerun_keeps_the_next,
    rerun_leaves_the_join,
    waiter_told_at_once,
    items_of_a_fork_shifted,
)
