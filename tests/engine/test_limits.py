"""Limits on what workers hold and take: concurrentExecLimit and rateLimitPerFrequency."""

import asyncio

import pytest

from batuta.model.error import StoreError
from batuta.model.execution import TaskStatus
from batuta.runtime.view import Polled
from batuta.runtime.why.cause import Code
from batuta.runtime.why.collect import why
from tests.engine.definitions import chain, simple, task_def, workflow
from tests.engine.node import Node


async def take_all(node: Node, task_type: str, **fields: str) -> list[Polled]:
    """Poll until nothing comes any more."""
    taken: list[Polled] = []
    await node.engine.gate.read()
    while more := await node.engine.poll(task_type, count=10, wait_ms=200, **fields):
        taken += more
    return taken


async def test_workers_hold_no_more_than_the_limit_over_all_runs(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", concurrentExecLimit=3)])
    for _ in range(8):
        await node.start("one")

    held = await take_all(node, "step")
    assert len(held) == 3

    await node.report(held[0])
    [again] = await take_all(node, "step")
    assert again.task.task_id not in {one.task.task_id for one in held}


async def test_a_poller_that_waits_gets_a_task_as_soon_as_one_is_given_up(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", concurrentExecLimit=1)])
    for _ in range(4):
        await node.start("one")
    held = await node.poll("step")
    seen = [held.task.task_id]

    for _ in range(3):  # no loop runs here that would look again a second later
        waiting = asyncio.ensure_future(node.poll("step"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await node.report(held)
        held = await waiting
        seen.append(held.task.task_id)
    assert len(set(seen)) == 4


async def test_a_limit_that_cannot_be_read_is_read_by_the_next_pass(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = task_def("step", concurrentExecLimit=1)
    await node.register(chain("one", 1), tasks=[limited])
    await node.start("one")
    await node.report(await node.poll("step"))
    await node.engine.gate.read()  # no part has a task: the limit is forgotten

    async def fail(*_: object) -> None:
        raise StoreError("the disk is gone")

    with monkeypatch.context() as trouble:
        trouble.setattr(node.store, "get_document", fail)
        await node.start("one")
        await node.until_idle()
        assert await node.polls_nothing("step")

    await node.engine.gate.read()
    assert (await node.poll("step")).task.reference_name == "s0"


async def test_tasks_under_a_limit_come_in_the_order_of_their_priority_and_time(
    node: Node,
) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", concurrentExecLimit=2)])
    late, *_ = [await node.start("one") for _ in range(1)]
    node.clock.move(5)
    urgent = await node.start("one", priority=9)

    held = await take_all(node, "step")
    assert [one.workflow.workflow_id for one in held] == [urgent, late]


async def test_a_limit_holds_over_all_domains_of_a_task(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", concurrentExecLimit=2)])
    for _ in range(3):
        await node.start("one", task_to_domain={"step": "lab"})
        await node.start("one")

    held = await take_all(node, "step", domain="lab")
    assert len(held) == 2
    assert await take_all(node, "step") == []

    await node.report(held[0])
    assert len(await take_all(node, "step")) == 1


async def test_a_limit_that_is_raised_or_lifted_holds_for_runs_under_way(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", concurrentExecLimit=1)])
    for _ in range(6):
        await node.start("one")
    assert len(await take_all(node, "step")) == 1

    await node.engine.definitions.put_task_defs([task_def("step", concurrentExecLimit=3)])
    assert len(await take_all(node, "step")) == 2

    await node.engine.definitions.put_task_defs([task_def("step")])
    assert len(await take_all(node, "step")) == 3


async def test_no_more_tasks_are_taken_in_a_window_than_the_rate_says(node: Node) -> None:
    rate = task_def("step", rateLimitPerFrequency=2, rateLimitFrequencyInSeconds=60)
    await node.register(chain("one", 1), tasks=[rate])
    for _ in range(5):
        await node.start("one")

    for one in await take_all(node, "step"):
        await node.report(one)
    assert await take_all(node, "step") == []

    await node.advance(59_000)
    assert await take_all(node, "step") == []
    await node.advance(1_100)
    assert len(await take_all(node, "step")) == 2


async def test_a_limit_of_one_task_holds_up_no_other_of_the_same_queue(node: Node) -> None:
    slow = {**simple("slow", "slow_call"), "type": "HTTP"}
    free = {**simple("free", "free_call"), "type": "HTTP"}
    for task in (slow, free):
        task["inputParameters"] = {"http_request": {"uri": "http://127.0.0.1/", "method": "GET"}}
    await node.register(
        workflow("slow", slow),
        workflow("free", free),
        tasks=[task_def("slow_call", concurrentExecLimit=1)],
    )
    for _ in range(3):
        await node.start("slow")
    for _ in range(3):
        await node.start("free")

    held = await take_all(node, "HTTP")
    names = sorted(one.task.reference_name for one in held)
    assert names == ["free", "free", "free", "slow"]


async def test_what_is_given_back_or_times_out_makes_room(node: Node) -> None:
    limited = task_def(
        "step", concurrentExecLimit=1, responseTimeoutSeconds=10, retryDelaySeconds=0
    )
    await node.register(chain("one", 1), tasks=[limited])
    first = await node.start("one")
    node.clock.move(1)
    await node.start("one")
    held = await node.poll("step")

    await node.engine.give_back([held])
    held = await node.poll("step")
    assert held.workflow.workflow_id == first

    await node.advance(11_000)
    assert len(await take_all(node, "step")) == 1


async def test_why_says_that_a_limit_is_reached(node: Node) -> None:
    limited = task_def("step", concurrentExecLimit=1)
    await node.register(chain("one", 1), tasks=[limited])
    await node.start("one")
    node.clock.move(1)
    second = await node.start("one")
    held = await node.poll("step")

    told = await why(node.engine, second)
    assert told.causes[0].code is Code.LIMIT_REACHED
    assert "workers hold 1 of at most 1 (concurrentExecLimit)" in told.summary

    await node.report(held)
    assert (await why(node.engine, second)).causes[0].code is not Code.LIMIT_REACHED


async def test_queues_are_shown_whole(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", concurrentExecLimit=1)])
    await node.start("one")
    await node.start("one")
    await node.poll("step")

    [queue] = (await node.engine.status()).queues
    assert (queue.queue, queue.ready, queue.leased) == ("step", 1, 1)


async def test_a_name_cannot_smuggle_a_task_into_a_limit_s_part(node: Node) -> None:
    await node.register(chain("one", 1))
    run = await node.start("one", task_to_domain={"step": "lab\x1fother"})
    view = await node.task(run, "s0")
    assert view.task.status is TaskStatus.SCHEDULED
    assert view.task.queue == "lab\N{REPLACEMENT CHARACTER}other:step"
