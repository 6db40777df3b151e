"""What the engine answers to those above it, on every store."""

import asyncio

import pytest
from msgspec.structs import replace

from batuta.model.command import (
    LogTask,
    PauseWorkflow,
    ResumeWorkflow,
    RetryWorkflow,
    TerminateWorkflow,
    UpdateReference,
)
from batuta.model.error import FAULTS_MAX, ConflictError, InvalidError, NotFoundError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.view import StartRequest
from tests.engine.definitions import chain, simple, task_def, wait, workflow
from tests.engine.node import Node, report_of, turns

RUNNING, COMPLETED = WorkflowStatus.RUNNING, WorkflowStatus.COMPLETED


async def test_a_run_is_started_worked_on_and_completed(node: Node) -> None:
    await node.register(chain("two", 2, outputParameters={"last": "${s1.output.n}"}))

    workflow_id = await node.start("two", {"x": 7}, correlation_id="c1", priority=3)
    first = await node.poll("step", worker_id="w1")
    assert first.workflow.workflow_id == workflow_id
    assert first.input == Payload(b'{"x":7}')
    assert first.lease.worker_id == "w1"
    updated = await node.report(first, {"n": 1})
    assert (updated.queue, updated.is_terminal) == ("step", True)
    second = await node.poll("step")
    await node.report(second, {"n": 2})

    run = await node.engine.get(workflow_id)
    assert run.workflow.status is COMPLETED
    assert (run.workflow.correlation_id, run.workflow.priority) == ("c1", 3)
    assert run.output.value == {"last": 2}
    assert [view.output.value for view in run.tasks] == [{"n": 1}, {"n": 2}]
    assert await node.polls_nothing("step")


async def test_a_repeated_report_changes_nothing(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one")
    polled = await node.poll("step")
    await node.report(polled, {"n": 1})
    version = (await node.engine.get(workflow_id)).workflow.version

    repeated = await node.report(polled, {"n": 2}, TaskStatus.FAILED)

    run = await node.engine.get(workflow_id)
    assert repeated.is_terminal
    assert run.workflow.version == version
    assert run.tasks[0].output.value == {"n": 1}


async def test_a_report_finds_its_run_by_the_task_id_alone(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one")
    polled = await node.poll("step")

    found = await node.engine.update(replace(report_of(polled, {"n": 1}), workflow_id=""))

    assert found.workflow_id == workflow_id
    assert await node.status_of(workflow_id) is COMPLETED


async def test_update_and_poll_ends_one_task_and_takes_the_next(node: Node) -> None:
    await node.register(chain("three", 3))
    workflow_id = await node.start("three")
    polled = await node.poll("step", worker_id="w1")

    following = []
    while polled is not None:
        following.append(polled.task.reference_name)
        assert polled.lease.worker_id == "w1"
        polled = await node.engine.update_and_poll(report_of(polled, {}))

    assert following == ["s0", "s1", "s2"]
    assert await node.status_of(workflow_id) is COMPLETED


async def test_update_and_poll_takes_an_older_task_of_the_queue_first(node: Node) -> None:
    await node.register(chain("two", 2))
    first, second = await node.start_in_order("two", 2)
    polled = await node.poll("step")
    assert polled.workflow.workflow_id == first

    following = await node.engine.update_and_poll(report_of(polled))

    assert following is not None
    assert following.workflow.workflow_id == second


async def test_a_task_is_reported_on_by_its_reference_name(node: Node) -> None:
    await node.register(workflow("waits", wait("pause", "1 days"), simple("after")))
    workflow_id = await node.start("waits")

    command = UpdateReference(
        workflow_id=workflow_id,
        reference_name="pause",
        status=TaskStatus.COMPLETED,
        output=Payload.of({"by": "me"}),
    )
    updated = await node.engine.update_reference(command)

    task = (await node.task(workflow_id, "pause")).task
    assert (updated.task_id, updated.is_terminal) == (task.task_id, True)
    assert task.status is TaskStatus.COMPLETED
    assert (await node.poll("step")).task.reference_name == "after"


async def test_a_lease_is_extended_and_given_back(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", responseTimeoutSeconds=10)])
    workflow_id = await node.start("one")
    polled = await node.poll("step")

    node.clock.move(8_000)
    await node.engine.extend_lease(workflow_id, polled.task.task_id)
    await node.advance(8_000)
    view = await node.task(workflow_id, "s0")
    assert view.task.status is TaskStatus.SCHEDULED
    assert view.lease is not None
    assert view.lease.expires_at_ms >= polled.lease.expires_at_ms + 8_000

    await node.engine.give_back([replace(polled, lease=view.lease)])
    again = await node.poll("step")
    assert again.task.task_id == polled.task.task_id
    assert again.lease.poll_count == polled.lease.poll_count


async def test_a_task_given_back_with_a_callback_comes_again_when_its_time_is_over(
    node: Node,
) -> None:
    await node.register(chain("one", 1))
    await node.start("one")
    polled = await node.poll("step")

    await node.report(polled, {"n": 1}, TaskStatus.IN_PROGRESS, callback_after_ms=5_000)
    await node.advance(4_000)
    assert await node.polls_nothing("step")
    await node.advance(1_100)

    again = await node.poll("step")
    assert again.task.task_id == polled.task.task_id
    assert again.lease.poll_count == 2
    assert again.output.value == {"n": 1}


async def test_pause_resume_terminate_and_retry(node: Node) -> None:
    await node.register(chain("two", 2))
    workflow_id = await node.start("two")
    control = node.engine.control

    await control(PauseWorkflow(workflow_id))
    assert await node.status_of(workflow_id) is WorkflowStatus.PAUSED
    await node.report(await node.poll("step"))
    assert await node.polls_nothing("step")
    await control(ResumeWorkflow(workflow_id))
    held = await node.poll("step")
    await control(TerminateWorkflow(workflow_id=workflow_id, reason="enough"))
    run = await node.engine.get(workflow_id)
    assert (run.workflow.status, run.workflow.reason) == (WorkflowStatus.TERMINATED, "enough")
    assert (await node.report(held)).is_terminal
    assert (await node.task(workflow_id, "s1")).task.status is TaskStatus.CANCELED
    await control(RetryWorkflow(workflow_id=workflow_id))
    again = await node.poll("step")

    assert again.task.task_id != held.task.task_id
    await node.report(again)
    assert await node.status_of(workflow_id) is COMPLETED


async def test_what_the_state_does_not_allow_is_a_conflict(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one")
    await node.report(await node.poll("step"))

    for command in (PauseWorkflow(workflow_id), RetryWorkflow(workflow_id=workflow_id)):
        with pytest.raises(ConflictError):
            await node.engine.control(command)


async def test_what_does_not_exist_is_named(node: Node) -> None:
    nobody = "018f0000-0000-7000-8000-000000000000"
    with pytest.raises(NotFoundError, match="'none'"):
        await node.start("none")
    with pytest.raises(NotFoundError, match=nobody):
        await node.engine.get(nobody)
    with pytest.raises(NotFoundError, match=nobody):
        await node.engine.get_task(nobody)
    with pytest.raises(NotFoundError, match=nobody):
        await node.engine.control(PauseWorkflow(nobody))
    with pytest.raises(NotFoundError, match=nobody):
        await node.engine.add_log(nobody, "line")
    assert await node.engine.logs(nobody) == []


async def test_a_priority_out_of_range_is_refused(node: Node) -> None:
    await node.register(chain("one", 1))

    with pytest.raises(InvalidError, match="priority 100"):
        await node.start("one", priority=100)


async def test_an_inline_definition_runs_without_being_registered(node: Node) -> None:
    from batuta.core.definition.normalize import read_workflow_def

    definition = read_workflow_def(chain("inline", 1))
    workflow_id = await node.engine.start(StartRequest(name="inline", definition=definition))

    await node.report(await node.poll("step"))

    assert await node.status_of(workflow_id) is COMPLETED
    with pytest.raises(NotFoundError):
        await node.engine.definitions.get_workflow_def("inline")


async def test_a_task_is_shown_with_its_run_and_its_log(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one")
    polled = await node.poll("step", worker_id="w1")
    task_id = polled.task.task_id

    await node.engine.add_log(task_id, "first")
    await node.report(polled, {"n": 1}, logs=("second", "third"))

    run, view = await node.engine.get_task(task_id)
    assert run.workflow.workflow_id == workflow_id
    assert (view.task.status, view.output.value) == (TaskStatus.COMPLETED, {"n": 1})
    assert (view.task.worker_id, view.task.poll_count) == ("w1", 1)
    assert [line.line for line in await node.engine.logs(task_id)] == ["first", "second", "third"]


async def test_status_counts_runs_queues_and_polls(node: Node) -> None:
    await node.register(chain("one", 1, "build"))
    done, *others = [await node.start("one") for _ in range(3)]
    await node.report(await node.poll("build", worker_id="w1"))
    await node.poll("build", worker_id="w2")

    status = await node.engine.status()

    assert status.counts == {"COMPLETED": 1, "RUNNING": 2}
    [queue] = status.queues
    assert (queue.queue, queue.ready, queue.leased) == ("build", 1, 1)
    assert queue.last_poll_at_ms > 0
    assert {run.workflow_id for run in status.recent} == {done, *others}
    polls = {found.worker_id: found for found in node.engine.poll_data("build")}
    assert set(polls) == {"w1", "w2"}
    assert node.engine.poll_data("other") == []


async def test_a_domain_is_a_queue_of_its_own(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one", task_to_domain={"*": "blue"})

    assert await node.polls_nothing("step")
    polled = await node.poll("step", domain="blue")

    assert polled.task.domain == "blue"
    await node.report(polled)
    assert await node.status_of(workflow_id) is COMPLETED


async def test_the_first_domain_with_a_recent_poll_is_chosen(node: Node) -> None:
    await node.register(chain("one", 1))
    await node.engine.poll("step", domain="green", wait_ms=0)

    await node.start("one", task_to_domain={"step": "blue, green, red"})
    chosen = await node.poll("step", domain="green")
    node.clock.move(60_000)
    await node.start("one", task_to_domain={"step": "blue, green, red"})

    assert chosen.task.domain == "green"
    assert (await node.poll("step", domain="red")).task.domain == "red"


@pytest.mark.parametrize(("after_ms", "domain"), [(9_000, "green"), (11_000, "red")])
async def test_a_domain_is_active_for_ten_seconds_after_a_poll(
    node: Node, after_ms: int, domain: str
) -> None:
    """gotchas.md 51."""
    await node.register(chain("one", 1))
    await node.engine.poll("step", domain="green", wait_ms=0)

    node.clock.move(after_ms)
    await node.start("one", task_to_domain={"step": "green,red"})

    assert (await node.poll("step", domain=domain)).task.domain == domain


async def test_a_more_urgent_run_is_served_first(node: Node) -> None:
    await node.register(chain("one", 1))
    starts = [await node.start("one", priority=p) for p in (0, 5, 1)]

    polled = await node.engine.poll("step", count=3, wait_ms=0)

    order = [one.workflow.workflow_id for one in polled]
    assert order == [starts[1], starts[2], starts[0]]


async def test_commands_of_one_run_at_once_are_all_done_in_order(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one")
    polled = await node.poll("step")

    submit = node.engine.committer.submit
    task_id = polled.task.task_id
    logs = [LogTask(workflow_id=workflow_id, task_id=task_id, line=f"line {n}") for n in range(20)]
    await asyncio.gather(*map(submit, logs), node.report(polled, {"n": 1}))

    lines = [found.line for found in await node.engine.logs(task_id)]
    assert lines == [f"line {n}" for n in range(20)]
    run = await node.engine.get(workflow_id)
    assert run.workflow.status is COMPLETED
    assert run.workflow.version == 22


async def test_a_caller_who_stops_waiting_does_not_undo_the_command(node: Node) -> None:
    await node.register(chain("one", 1))
    workflow_id = await node.start("one")
    polled = await node.poll("step")

    caller = asyncio.create_task(node.report(polled, {"n": 1}))
    await turns(1)
    caller.cancel()
    await node.until(lambda: len(node.commits) == 2)

    assert await node.status_of(workflow_id) is COMPLETED


async def test_of_very_many_wrong_definitions_the_first_are_told(node: Node) -> None:
    with pytest.raises(InvalidError) as found:
        await node.engine.definitions.put_workflow_defs([[]] * 100_000, overwrite=True)

    faults = found.value.faults
    assert len(faults) == FAULTS_MAX
    assert faults[0].path.startswith("[0]")
    assert faults[-1].path == f"[{FAULTS_MAX}]"
    assert faults[-1].message == "and those after it: not read"
