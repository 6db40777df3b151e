"""Operations where a scenario cannot look: needs, epochs, what is retired, what is skipped."""

from collections.abc import Sequence
from typing import Any

import pytest

from batuta.core.decide import decide
from batuta.model.change import (
    Answers,
    Change,
    Failure,
    NeedDefinition,
    NeedGraph,
    Needs,
    PinnedDefinition,
    PutWorkflow,
    RemoveWorkflow,
    RetireTask,
)
from batuta.model.command import (
    Command,
    DeleteWorkflow,
    RerunWorkflow,
    RestartWorkflow,
    SkipTask,
    StartWorkflow,
    TerminateWorkflow,
    UpdateTask,
    decode_command,
    encode_command,
)
from batuta.model.error import InvalidError, NotFoundError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.waiting import check_names
from tests.scenario.driver import START_MS, Run, World

RUN = "01980000-0000-7000-8000-000000000001"


def started(*tasks: dict[str, Any], **more: Any) -> tuple[World, Run]:
    world = World()
    world.define({"tasks": list(tasks), **more})
    world.submit(StartWorkflow(workflow_id=RUN, name="main", definition="main@1", input=EMPTY))
    return world, world.runs[RUN]


def complete(world: World, run: Run, name: str) -> None:
    task = run.execution.latest_task(name)
    status = TaskStatus.COMPLETED
    world.submit(UpdateTask(workflow_id=RUN, task_id=task.task_id, status=status))


def undecided(run: Run, command: Command, answers: Answers) -> Sequence[Change] | Needs:
    seed = bytes(16)
    return decide(run.execution, command, now_ms=START_MS, seed=seed, answers=answers)


def test_a_restart_by_the_latest_definition_asks_for_it_and_then_for_its_graph() -> None:
    world, run = started({"ref": "a"})
    world.submit(TerminateWorkflow(workflow_id=RUN))
    world.define({"version": 2, "tasks": [{"ref": "b"}]})
    restart = RestartWorkflow(workflow_id=RUN, use_latest=True)
    answers: Answers = {}

    first = undecided(run, restart, answers)
    assert first == Needs((NeedDefinition("main"),))
    answers[NeedDefinition("main")] = PinnedDefinition("main@2", 2)
    second = undecided(run, restart, answers)
    assert second == Needs((NeedGraph("main@2"),))
    answers[NeedGraph("main@2")] = world.graph("main", 2)
    changes = undecided(run, restart, answers)

    [put] = [change for change in changes if isinstance(change, PutWorkflow)]
    assert (put.workflow.definition, put.workflow.definition_version) == ("main@2", 2)
    assert put.graph is world.graph("main", 2)
    assert run.execution.graph is world.graph("main", 1), "the original is as it was"


def test_a_restart_without_a_latest_definition_is_refused_and_changes_nothing() -> None:
    world, run = started({"ref": "a"})
    world.submit(TerminateWorkflow(workflow_id=RUN))
    answers: Answers = {NeedDefinition("main"): Failure("no definition 'main'")}

    with pytest.raises(NotFoundError, match="useLatestDefinitions: no definition 'main'"):
        undecided(run, RestartWorkflow(workflow_id=RUN, use_latest=True), answers)


@pytest.mark.parametrize(
    "command", [RestartWorkflow(workflow_id=RUN), RerunWorkflow(workflow_id=RUN)]
)
def test_each_new_beginning_is_an_epoch_of_its_own_and_gives_no_seq_again(
    command: Command,
) -> None:
    world, run = started({"ref": "a"}, {"ref": "b"})
    complete(world, run, "a")
    world.submit(TerminateWorkflow(workflow_id=RUN))

    changes = world.submit(command)

    assert [change.seq for change in changes if isinstance(change, RetireTask)] == [1, 2]
    assert [task.seq for task in run.execution.in_order()] == [3]
    assert (run.execution.workflow.epoch, run.execution.workflow.seq_last) == (1, 2)


def test_a_rerun_takes_as_many_tasks_as_come_after_it() -> None:
    tasks = [{"ref": f"t{number}", "type": "SET_VARIABLE"} for number in range(40)]
    world, run = started(*tasks)
    from_here = run.execution.latest_task("t30")

    changes = world.submit(RerunWorkflow(workflow_id=RUN, task_id=from_here.task_id))

    assert sum(isinstance(change, RetireTask) for change in changes) == 10
    assert run.execution.workflow.status is WorkflowStatus.COMPLETED
    kept = run.execution.latest_task("t29")
    assert kept.updated_at_ms == START_MS
    assert len(changes) < 10 + 10 + 3, "tasks before it are not written"


def test_a_skipped_task_holds_a_join_up_until_its_turn() -> None:
    fork = {"ref": "f", "type": "FORK_JOIN", "forkTasks": [[{"ref": "a"}, {"ref": "b"}]]}
    world, run = started(fork, {"ref": "j", "type": "JOIN", "joinOn": ["b"]})

    world.submit(SkipTask(workflow_id=RUN, reference_name="b"))
    join = run.execution.latest_task("j")
    assert run.execution.unsettled == {join.seq: 1}
    assert not run.execution.unexecuted

    complete(world, run, "a")
    assert run.execution.workflow.status is WorkflowStatus.COMPLETED
    assert run.execution.latest_task("b").is_executed


def test_a_removal_is_the_last_change_and_ends_a_running_run_first() -> None:
    _, run = started({"ref": "a"})

    changes = undecided(run, DeleteWorkflow(workflow_id=RUN, must_have_ended=False), {})

    assert not isinstance(changes, Needs)
    assert RemoveWorkflow(RUN) in changes
    [put] = [change for change in changes if isinstance(change, PutWorkflow)]
    assert put.workflow.status is WorkflowStatus.TERMINATED


@pytest.mark.parametrize(
    "command",
    [
        RerunWorkflow(workflow_id=RUN, task_id="t", task_input=Payload(b'{"x":1}'), up_to="u"),
        SkipTask(workflow_id=RUN, reference_name="a__2", output=Payload(b"{}")),
        RestartWorkflow(workflow_id=RUN, use_latest=True),
        DeleteWorkflow(workflow_id=RUN, must_have_ended=False),
    ],
)
def test_a_command_reads_back_as_it_was_written(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


def test_a_name_to_wait_for_is_looked_for_at_every_depth() -> None:
    loop = {"ref": "l", "type": "DO_WHILE", "loopCondition": "false", "loopOver": [{"ref": "a"}]}
    world, _ = started(loop)
    definition = world.graph("main", 1).definition

    check_names(definition, ["a", "l"])
    with pytest.raises(InvalidError, match="has no task 'b'; it has l, a"):
        check_names(definition, ["a", "b"])
