"""What EVENT tasks publish, and who reads it: once, in order, after restarts and removals too."""

from typing import Any

from batuta.model.command import DecideWorkflow, DeleteWorkflow, UpdateReference
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.event.read import Message, read_messages
from batuta.runtime.why.cause import Code
from batuta.runtime.why.collect import why
from tests.engine.definitions import Document, simple, workflow
from tests.engine.node import Clock, Node, OpenStore, running

COMPLETED = WorkflowStatus.COMPLETED


def event(reference_name: str, sink: str, **fields: Any) -> Document:
    """Return an EVENT task."""
    named = {"name": reference_name, "taskReferenceName": reference_name}
    return {**named, "type": "EVENT", "sink": sink, **fields}


async def read_all(node: Node, position: int = 0, **options: Any) -> list[Message]:
    """Read from a position to the end, a few rows of the journal at a time."""
    found = []
    while True:
        read = await read_messages(node.store, position, rows_max=2, **options)
        found += read.messages
        if read.position == position:
            return found
        position = read.position


async def test_a_message_is_there_when_its_task_is_and_after_a_restart(
    open_store: OpenStore, clock: Clock
) -> None:
    paid = event("e", "conductor:paid", inputParameters={"id": "${workflow.input.id}"})
    async with running(open_store, clock) as node:
        await node.register(workflow("orders", simple("s0"), paid, event("f", "conductor")))
        runs = []
        for number in range(3):
            runs.append(await node.start("orders", {"id": number}))
            clock.move(1)  # two of one millisecond have no order
        assert await read_all(node) == []
        polled = [await node.poll("step") for _ in runs]
        for one in polled:
            await node.report(one)
        published = await read_all(node)
        views = [await node.task(run, "e") for run in runs]

    async with running(open_store, clock) as node:
        assert await read_all(node) == published
        assert await read_all(node, published[1].position) == published[2:]
        named = await read_all(node, queue="conductor:orders:paid")
        own = await read_all(node, queue="conductor:orders:f")

        assert [one.queue for one in published[:2]] == ["conductor:orders:paid", own[0].queue]
        assert [one.message_id for one in named] == [view.task.task_id for view in views]
        assert [one.payload.value for one in named] == [view.output.value for view in views]
        assert [one.payload.value["id"] for one in named] == [0, 1, 2]
        assert [one.workflow_id for one in named] == runs
        assert len(own) == 3


async def test_an_open_event_is_sent_once_and_ends_by_a_report(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(workflow("asks", event("e", "conductor:ask", asyncComplete=True)))
        run = await node.start("asks")
    async with running(open_store, clock) as node:
        for _ in range(3):
            await node.engine.control(DecideWorkflow(run))
            await node.advance(60_000)
        [cause] = (await why(node.engine, run)).causes
        assert (cause.code, cause.reference) == (Code.WAIT_FOR_REPORT, "e")

        report = UpdateReference(
            workflow_id=run, reference_name="e", status=TaskStatus.COMPLETED, output=Payload.of({})
        )
        await node.engine.update_reference(report)

        assert await node.status_of(run) is COMPLETED
        assert len(await read_all(node)) == 1


async def test_a_message_outlives_its_run(open_store: OpenStore, clock: Clock) -> None:
    async with running(open_store, clock) as node:
        await node.register(workflow("tells", event("e", "conductor:told")))
        run = await node.start("tells", {"x": 1})
        await node.engine.control(DeleteWorkflow(workflow_id=run))

        [message] = await read_all(node)

        assert (message.queue, message.workflow_id) == ("conductor:tells:told", run)


async def test_a_repeated_report_publishes_nothing_more(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        await node.register(workflow("asks", simple("s0"), event("e", "conductor:ask")))
        run = await node.start("asks")
        polled = await node.poll("step")

        for _ in range(2):
            await node.report(polled)

        assert await node.status_of(run) is COMPLETED
        assert len(await read_all(node)) == 1


async def test_a_message_over_the_bound_fails_its_task_and_is_not_sent(
    open_store: OpenStore, clock: Clock
) -> None:
    async with running(open_store, clock) as node:
        large = event("e", "conductor", inputParameters={"all": "${workflow.input.all}"})
        await node.register(workflow("shouts", large))

        run = await node.start("shouts", {"all": "x" * 300_000})

        task = (await node.task(run, "e")).task
        assert task.status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
        assert "more than 262144" in (task.reason or "")
        assert await read_all(node) == []
