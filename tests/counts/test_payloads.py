"""A payload is decoded at the door and carried as bytes from there on."""

from collections.abc import Iterator

import pytest

from batuta.core.execution import Execution
from batuta.model.command import UpdateTask
from batuta.model.execution import TaskStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.view import StartRequest
from tests.counts.work import over_http, wire
from tests.engine.definitions import simple, workflow
from tests.engine.node import Node

# What no template names is not looked into, however it is passed on.
CARRIED = workflow(
    "carried",
    simple("first", inputParameters={}),
    simple("second", inputParameters={"fixed": 1}),
)
# Odd spelling, so that a decoded and encoded copy would differ.
ODD = b'{ "x" : [1.50, 1E2,"\\u00e9\\/"] , "y":{}}'


def payloads(execution: Execution) -> Iterator[Payload]:
    """Yield every payload of its own that the run has in memory: the empty one is everybody's."""
    own = [execution.input, execution.variables, execution.output]
    for payload in (*own, *execution.inputs.values(), *execution.outputs.values()):
        if payload is not None and payload is not EMPTY:
            yield payload


async def test_a_payload_nobody_looks_into_is_never_decoded(node: Node) -> None:
    await node.register(CARRIED)
    request_input, reported = Payload(ODD), Payload(ODD)

    workflow_id = await node.engine.start(StartRequest(name="carried", input=request_input))
    for _ in range(2):
        polled = await node.poll("step")
        assert [p for p in (polled.input, polled.output) if p.is_decoded and p is not EMPTY] == []
        command = UpdateTask(
            workflow_id=workflow_id,
            task_id=polled.task.task_id,
            status=TaskStatus.COMPLETED,
            output=reported,
        )
        await node.engine.update(command)

    execution = node.engine._cache.peek(workflow_id)
    assert execution is not None
    assert execution.workflow.status == "COMPLETED"
    carried = list(payloads(execution))
    assert len(carried) >= 4  # the run's input, the second task's, two outputs
    assert [payload.raw for payload in carried if payload.is_decoded] == []
    # In memory, on disk and as shown, the very bytes.
    assert execution.input is request_input
    [loaded] = (await node.store.load([(workflow_id, 0)])).values()
    assert loaded.input == request_input
    assert [output for _, _, output in loaded.tasks] == [reported, reported]
    assert not request_input.is_decoded
    assert not reported.is_decoded


async def test_a_payload_from_the_door_is_not_decoded_again(node: Node) -> None:
    await node.register(CARRIED)
    client = wire(node.engine)

    answer = await client.ask("POST /api/workflow/carried", raw=ODD)
    await over_http(client, "step", 2)

    execution = node.engine._cache.peek(answer.body.decode())
    assert execution is not None
    assert execution.workflow.status == "COMPLETED"
    assert [found.raw for found in payloads(execution) if found.is_decoded] == []
    shown = await client.ask(f"GET /api/workflow/{answer.body.decode()}")
    assert shown.json["input"] == {"x": [1.5, 100.0, "é/"], "y": {}}


@pytest.mark.parametrize("width", [1, 50])
async def test_a_template_that_looks_into_a_payload_decodes_it_once(node: Node, width: int) -> None:
    names = [simple(f"s{n}", inputParameters={"x": "${workflow.input.x}"}) for n in range(width)]
    await node.register(workflow("looking", *names))
    request_input = Payload(ODD)
    workflow_id = await node.engine.start(StartRequest(name="looking", input=request_input))
    first = request_input.value

    await node.work("step", width)

    execution = node.engine._cache.peek(workflow_id)
    assert execution is not None
    assert execution.input.value is first
    assert not any(output.is_decoded for output in execution.outputs.values())
