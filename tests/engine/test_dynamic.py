"""Tasks that are known only when the run gets there: over restarts, shown, by the thousand."""

from typing import Any

import msgspec

from batuta.api.wire import workflow_body
from batuta.core.settle import SETTLE_STEPS_MAX
from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.engine.definitions import Document, simple, task_def, workflow
from tests.engine.node import Clock, OpenStore, running


def dynamic_fork(name: str, *after: Document, **given: Any) -> Document:
    fork = {
        "name": "fan",
        "taskReferenceName": "fan",
        "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": {"forkTaskInputs": "${workflow.input.list}", **given},
    }
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN"}
    return workflow(name, fork, join, *after, outputParameters={"all": "${join.output}"})


async def test_branches_outlive_a_restart_with_their_inputs_and_retries(
    open_store: OpenStore, clock: Clock
) -> None:
    large = "x" * 50_000
    async with running(open_store, clock) as node:
        await node.engine.definitions.put_task_defs(
            [task_def("step", retryCount=1, retryDelaySeconds=5)]
        )
        await node.register(dynamic_fork("fans", forkTaskName="step"))
        run_id = await node.start("fans", {"list": [{"x": 1}, {"x": large}]})
        first = await node.poll("step")
        await node.report(first, {"v": 1})

    async with running(open_store, clock) as node:
        second = await node.poll("step")
        assert second.input.value == {"x": large, "__index": 1}
        await node.report(second, {}, TaskStatus.FAILED)
    async with running(open_store, clock) as node:
        await node.advance(6_000)
        again = await node.poll("step")
        assert (again.task.retry_count, again.input.value) == (1, {"x": large, "__index": 1})
        assert again.graph.node_of(again.task).task.name == "step"
    async with running(open_store, clock) as node:
        await node.report(again, {"v": 2})

        run = await node.engine.get(run_id)
        assert run.workflow.status is WorkflowStatus.COMPLETED
        assert run.output.value == {"all": {"_step_0": {"v": 1}, "_step_1": {"v": 2}}}


async def test_a_dynamic_task_outlives_a_restart_as_what_it_became(
    open_store: OpenStore, clock: Clock
) -> None:
    node_of_name = {
        "name": "which",
        "taskReferenceName": "which",
        "type": "DYNAMIC",
        "dynamicTaskNameParam": "task",
        "inputParameters": {"task": "${workflow.input.task}"},
    }
    async with running(open_store, clock) as node:
        # Registered, but named by no definition: it is looked up when the run gets there.
        await node.engine.definitions.put_task_defs([task_def("real", retryCount=0)])
        await node.register(workflow("picks", node_of_name, simple("after")))
        run_id = await node.start("picks", {"task": "real"})

    async with running(open_store, clock) as node:
        held = await node.poll("real")
        await node.report(held, {}, TaskStatus.FAILED)

        assert await node.status_of(run_id) is WorkflowStatus.FAILED


async def test_the_wire_shows_what_each_task_was_made_of(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(dynamic_fork("fans", forkTaskName="step"))
        run_id = await node.start("fans", {"list": [1]})

        body = msgspec.json.decode(
            msgspec.json.encode(workflow_body(await node.engine.get(run_id)))
        )
        tasks = {task["referenceTaskName"]: task for task in body["tasks"]}

    branch = tasks["_step_0"]
    shown = branch["workflowTask"]
    assert (branch["taskType"], branch["taskDefName"]) == ("step", "step")
    assert (shown["name"], shown["taskReferenceName"]) == ("step", "_step_0")
    assert tasks["fan"]["taskType"] == tasks["fan"]["taskDefName"] == "FORK"
    assert set(tasks) == {"fan", "_step_0", "join"}


async def test_a_loop_under_way_shows_the_branches_of_its_passes(
    open_store: OpenStore, clock: Clock
) -> None:
    inner = dynamic_fork("unused", forkTaskName="step")["tasks"]
    loop = {
        "name": "loop",
        "taskReferenceName": "loop",
        "type": "DO_WHILE",
        "loopCondition": "$.loop.iteration < 2",
        "loopOver": inner,
    }
    async with running(open_store, clock) as node:
        await node.register(workflow("loops", loop))
        run_id = await node.start("loops", {"list": [1]})
        await node.report(await node.poll("step"), {"v": 1})

        body = workflow_body(await node.engine.get(run_id))

    shown = msgspec.json.decode(msgspec.json.encode(body.tasks[0].output_data))
    assert shown["iteration"] == 2
    assert shown["1"]["_step_0"] == {"v": 1}
    assert shown["2"]["_step_0"] == {}


async def test_a_fan_out_over_thousands_completes(open_store: OpenStore, clock: Clock) -> None:
    async with running(open_store, clock) as node:
        await node.register(dynamic_fork("fans", forkTaskType="NOOP"))
        run_id = await node.start("fans", {"list": list(range(2_000))})
        for _ in range(2_000 // SETTLE_STEPS_MAX + 1):
            await node.advance(1)  # a transaction settles so many of them

        run = await node.engine.get(run_id)
        assert run.workflow.status is WorkflowStatus.COMPLETED
        assert len(run.tasks) == 2_002
