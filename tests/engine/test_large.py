"""Payloads too large for a row, and nothing kept in memory: all is read again when needed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batuta.model.command import RetryWorkflow, UpdateReference
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from tests.engine.definitions import chain, child, fork, loop, simple, task_def, wait, workflow
from tests.engine.node import LIMIT_S, Clock, Node, OpenStore, running

LARGE = "x" * 40_000
COMPLETED = WorkflowStatus.COMPLETED


@pytest.fixture
async def node(open_store: OpenStore, clock: Clock) -> AsyncIterator[Node]:
    """Give a node that forgets every run at once."""
    async with running(open_store, clock, has_loops=True, cache_bytes_max=0) as node:
        yield node


async def work(node: Node, count: int, task_type: str = "step") -> list[Any]:
    """Do tasks whose outputs are large; return their inputs."""
    inputs = []
    async with asyncio.timeout(LIMIT_S):
        for _ in range(count):
            polled = await node.poll(task_type)
            inputs.append(polled.input.value)
            await node.report(polled, {"n": polled.task.reference_name, "large": LARGE})
    return inputs


async def ended(node: Node, workflow_id: str) -> Any:
    """Wait for the end of a run and return it."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            run = await node.engine.get(workflow_id)
            if run.workflow.status.is_terminal:
                return run
            await asyncio.sleep(0.01)


async def test_a_chain_hands_large_outputs_on(node: Node) -> None:
    whole = simple("second", inputParameters={"all": "${first.output}", "in": "${workflow.input}"})
    part = simple("third", inputParameters={"part": "${second.output.large}"})
    definition = workflow(
        "hands_on", simple("first"), whole, part, outputParameters={"z": "${third.output.large}"}
    )
    await node.register(definition)
    run = await node.start("hands_on", {"x": LARGE})

    inputs = await work(node, 3)

    assert inputs[0] == {"x": LARGE}
    assert inputs[1] == {"all": {"n": "first", "large": LARGE}, "in": {"x": LARGE}}
    assert inputs[2] == {"part": LARGE}
    assert (await ended(node, run)).output.value == {"z": LARGE}


async def test_a_join_gathers_large_outputs(node: Node) -> None:
    await node.register(fork("wide", 5))
    run = await node.start("wide", {"x": LARGE})

    await work(node, 5)

    joined = (await ended(node, run)).tasks[-1].output.value
    assert joined == {f"b{n}": {"n": f"b{n}", "large": LARGE} for n in range(5)}


async def test_a_loop_gathers_large_outputs_by_pass(node: Node) -> None:
    condition = "$.inner['large'] != 'y' && $.again['iteration'] < 3"
    again = loop("again", 3, simple("inner")) | {"loopCondition": condition}
    await node.register(workflow("loops", again))
    run = await node.start("loops", {"x": 1})

    await work(node, 3)

    looped = (await ended(node, run)).tasks[0].output.value
    assert {number: looped[number]["inner"]["large"] for number in "123"} == dict.fromkeys(
        "123", LARGE
    )


async def test_a_switch_looks_into_a_large_payload(node: Node) -> None:
    switch = {
        "name": "which",
        "taskReferenceName": "which",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "case",
        "inputParameters": {"case": "${first.output.n}"},
        "decisionCases": {"first": [simple("right")]},
        "defaultCase": [simple("wrong")],
    }
    await node.register(workflow("switches", simple("first"), switch))
    run = await node.start("switches", {"x": LARGE})

    await work(node, 2)

    names = {view.task.reference_name for view in (await ended(node, run)).tasks}
    assert names == {"first", "which", "right"}


async def test_a_child_takes_and_gives_large_payloads(node: Node) -> None:
    await node.register(chain("inner", 1, outputParameters={"y": "${s0.output.large}"}))
    last = simple("last", inputParameters={"y": "${c.output.y}"})
    await node.register(workflow("outer", child("c", "inner"), last))
    run = await node.start("outer", {"x": LARGE})

    inputs = await work(node, 2)

    assert inputs == [{"x": LARGE}, {"y": LARGE}]
    assert (await ended(node, run)).workflow.status is COMPLETED


async def test_outputs_are_merged_with_large_ones_before(node: Node) -> None:
    await node.register(workflow("waits", wait("pause", "1 days")))
    run = await node.start("waits")
    reports = (
        ({"a": LARGE, "b": 1}, TaskStatus.IN_PROGRESS),
        ({"b": 2, "c": LARGE}, TaskStatus.COMPLETED),
    )

    for output, status in reports:
        command = UpdateReference(
            workflow_id=run, reference_name="pause", status=status, output=Payload.of(output)
        )
        await node.engine.update_reference(command)

    merged = (await ended(node, run)).tasks[0].output.value
    assert merged == {"a": LARGE, "b": 2, "c": LARGE}


async def test_a_retry_repeats_a_large_input(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", retryCount=1)])
    run = await node.start("one", {"x": LARGE})
    inputs = []
    for _ in range(2):
        polled = await node.poll("step")
        inputs.append(polled.input.value)
        await node.report(polled, {"large": LARGE}, TaskStatus.FAILED)
    assert (await ended(node, run)).workflow.status is WorkflowStatus.FAILED

    await node.engine.control(RetryWorkflow(workflow_id=run))
    inputs += await work(node, 1)

    assert inputs == [{"x": LARGE}] * 3
    assert (await ended(node, run)).workflow.status is COMPLETED


async def test_a_failure_workflow_gets_the_large_input_of_the_run_that_failed(node: Node) -> None:
    clean = simple("clean", "clean", inputParameters={"x": "${workflow.input.x}"})
    await node.register(workflow("clean_up", clean))
    failing = chain("fails", 1, failureWorkflow="clean_up")
    await node.register(failing, tasks=[task_def("step", retryCount=0)])
    await node.start("fails", {"x": LARGE})

    await node.report(await node.poll("step"), {"large": LARGE}, TaskStatus.FAILED)

    assert await work(node, 1, "clean") == [{"x": LARGE}]


async def test_a_failure_workflow_reads_large_outputs_of_the_run_that_failed(node: Node) -> None:
    """semantics.md d.9: failedWorkflow is the full model, whatever is in memory."""
    wanted = "${workflow.input.failedWorkflow.tasks[0].outputData.large}"
    given = "${workflow.input.failedWorkflow.input.x}"
    clean = simple("clean", "clean", inputParameters={"made": wanted, "given": given})
    await node.register(workflow("clean_up", clean))
    failing = chain("fails", 2, failureWorkflow="clean_up")
    await node.register(failing, tasks=[task_def("step", retryCount=0)])
    await node.start("fails", {"x": LARGE})

    await work(node, 1)
    await node.report(await node.poll("step"), {}, TaskStatus.FAILED)

    assert await work(node, 1, "clean") == [{"made": LARGE, "given": LARGE}]


async def test_set_variables_that_are_large_are_read_again(node: Node) -> None:
    set_variable = {
        "name": "set",
        "taskReferenceName": "set",
        "type": "SET_VARIABLE",
        "inputParameters": {"v": "${first.output.large}"},
    }
    second = simple("second", inputParameters={"v": "${workflow.variables.v}"})
    third = simple("third", inputParameters={"v": "${workflow.variables.v}"})
    await node.register(workflow("sets", simple("first"), set_variable, second, third))
    run = await node.start("sets", {"x": 1})

    inputs = await work(node, 3)

    assert inputs[1:] == [{"v": LARGE}] * 2
    shown = await ended(node, run)
    assert shown.variables.value == {"v": LARGE}
