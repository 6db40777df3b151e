"""Why a run is not moving: a test for each cause, on every store."""

from typing import Any

import pytest
from msgspec.structs import replace

from batuta.core.decide import decide
from batuta.core.execution import Execution
from batuta.model.command import (
    FireTimer,
    PauseWorkflow,
    ResumeWorkflow,
    TerminateWorkflow,
    UpdateReference,
)
from batuta.model.error import NotFoundError
from batuta.model.execution import TaskStatus, WorkflowStatus
from batuta.runtime.why import collect
from batuta.runtime.why.cause import Cause, Code, instant, listed
from batuta.runtime.why.collect import CAUSES_MAX, CHILDREN_MAX, DEPTH_MAX, why
from batuta.store.failing import SEND, Failing
from tests.engine.definitions import (
    Document,
    chain,
    child,
    fork,
    loop,
    simple,
    task_def,
    wait,
    workflow,
)
from tests.engine.node import Clock, Node, OpenStore, report_of, running


async def causes_of(node: Node, workflow_id: str) -> list[Cause]:
    """Return the causes, having looked at what every one must have."""
    found = await why(node.engine, workflow_id)
    assert found.summary == found.causes[0].message
    assert found.workflow_id == workflow_id
    return found.causes


async def cause_of(node: Node, workflow_id: str) -> Cause:
    """Return the one cause."""
    [cause] = await causes_of(node, workflow_id)
    return cause


def human(reference_name: str) -> Document:
    """Return a task that a person ends."""
    return {"name": reference_name, "taskReferenceName": reference_name, "type": "HUMAN"}


async def follow_fix(node: Node, cause: Cause) -> None:
    """Report as the fix says: its call names the run and the reference."""
    assert cause.fix is not None
    path = cause.fix.split("POST ")[1].split(",")[0]
    _, _, _, workflow_id, reference_name, status = path.split("/")
    report = UpdateReference(
        workflow_id=workflow_id, reference_name=reference_name, status=TaskStatus(status)
    )
    await node.engine.update_reference(report)


async def test_a_queue_that_nobody_has_ever_polled_is_named(node: Node) -> None:
    await node.register(chain("one", 1))
    runs = await node.start_in_order("one", 3)

    cause = await cause_of(node, runs[0])

    task = (await node.task(runs[0], "s0")).task
    assert cause.code is Code.NEVER_POLLED
    assert (cause.queue, cause.reference, cause.task_id) == ("step", "s0", task.task_id)
    assert cause.since_ms == task.scheduled_at_ms
    assert "no worker has polled queue 'step' since this server was started" in cause.message
    assert cause.message.endswith("with 2 others")
    assert "start a worker that polls 'step'" in (cause.fix or "")


async def test_a_queue_that_is_polled_no_more_says_since_when(node: Node) -> None:
    await node.register(chain("one", 1))
    assert await node.polls_nothing("step")
    polled_at_ms = node.clock.now_ms()
    run = await node.start("one")
    node.clock.move(60_000)

    cause = await cause_of(node, run)

    assert (cause.code, cause.queue) == (Code.NOT_POLLED, "step")
    assert abs(cause.since_ms - polled_at_ms) < 5_000
    assert instant(cause.since_ms) in cause.message


async def test_a_task_in_a_polled_queue_waits_behind_others(node: Node) -> None:
    await node.register(chain("one", 1))
    runs = await node.start_in_order("one", 4)
    await node.poll("step")

    cause = await cause_of(node, runs[-1])

    assert cause.code is Code.IN_QUEUE
    assert "with 2 others; workers hold 1 tasks" in cause.message


async def test_a_task_of_a_domain_tells_that_workers_poll_without_it(node: Node) -> None:
    await node.register(chain("one", 1))
    assert await node.polls_nothing("step")

    cause = await cause_of(node, await node.start("one", task_to_domain={"step": "blue"}))

    assert (cause.code, cause.queue) == (Code.NEVER_POLLED, "blue:step")
    assert "without a domain: start one with domain 'blue'" in (cause.fix or "")


async def test_a_lease_names_its_worker_and_its_end(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step")])
    run = await node.start("one")
    polled = await node.poll("step", worker_id="w1")

    cause = await cause_of(node, run)

    assert (cause.code, cause.queue) == (Code.LEASED, "step")
    assert "held by worker 'w1'" in cause.message
    assert cause.until_ms == polled.lease.expires_at_ms
    assert cause.since_ms == polled.lease.started_at_ms
    node.clock.move(61_000)
    assert "it is taken back unless it reports" in (await cause_of(node, run)).message


async def test_a_retry_says_which_and_when_and_what_went_wrong(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", retryDelaySeconds=30)])
    run = await node.start("one")
    await node.report(await node.poll("step"), status=TaskStatus.FAILED, reason="no paper")

    cause = await cause_of(node, run)

    task = (await node.task(run, "s0")).task
    assert (cause.code, cause.until_ms) == (Code.RETRY_AT, task.due_at_ms)
    assert cause.message.startswith("retry 1/3 of 's0' is at ")
    assert cause.message.endswith("the attempt before: no paper")
    await node.advance(31_000)
    assert (await cause_of(node, run)).code is not Code.RETRY_AT


async def test_a_callback_is_told_from_a_retry(node: Node) -> None:
    await node.register(chain("one", 1))
    run = await node.start("one")
    polled = await node.poll("step")
    await node.report(polled, status=TaskStatus.IN_PROGRESS, callback_after_ms=40_000)

    cause = await cause_of(node, run)

    task = (await node.task(run, "s0")).task
    assert (cause.code, cause.until_ms) == (Code.CALLBACK_AT, task.due_at_ms)
    assert "asked to go on at" in cause.message


async def test_a_start_delay_is_told_from_both(node: Node) -> None:
    await node.register(workflow("late", simple("s0", startDelay=50)))

    cause = await cause_of(node, await node.start("late"))

    assert cause.code is Code.START_AT
    assert cause.until_ms - cause.since_ms == 50_000


async def test_a_wait_says_until_when(node: Node) -> None:
    await node.register(workflow("waits", wait("pause", "2 hours")))
    run = await node.start("waits")

    cause = await cause_of(node, run)

    assert (cause.code, cause.reference) == (Code.WAIT_UNTIL, "pause")
    assert cause.until_ms == cause.since_ms + 7_200_000
    assert cause.message == f"'pause' waits until {instant(cause.until_ms)}, or for a report"
    await follow_fix(node, cause)
    assert (await cause_of(node, run)).code is Code.RUN_ENDED


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"name": "go", "taskReferenceName": "go", "type": "WAIT"}, Code.WAIT_FOR_REPORT),
        (human("go"), Code.HUMAN_OPEN),
    ],
    ids=["wait", "human"],
)
async def test_the_call_that_ends_an_endless_wait_is_in_its_fix(
    node: Node, task: Document, code: Code
) -> None:
    await node.register(workflow("asks", task))
    run = await node.start("asks")

    cause = await cause_of(node, run)

    assert (cause.code, cause.reference, cause.until_ms) == (code, "go", 0)
    assert cause.since_ms == (await node.task(run, "go")).task.started_at_ms
    await follow_fix(node, cause)
    assert (await cause_of(node, run)).code is Code.RUN_ENDED


async def test_a_parked_task_waits_for_a_report_and_not_for_a_worker(node: Node) -> None:
    await node.register(chain("one", 1))
    run = await node.start("one")
    polled = await node.poll("step")
    parked = report_of(polled, status=TaskStatus.IN_PROGRESS)
    await node.engine.update(replace(parked, is_parked=True))

    cause = await cause_of(node, run)

    assert (cause.code, cause.queue) == (Code.PARKED, None)
    await follow_fix(node, cause)
    assert (await cause_of(node, run)).code is Code.RUN_ENDED


async def test_a_join_names_its_open_branches_after_their_own_causes(node: Node) -> None:
    await node.register(fork("wide", 3))
    run = await node.start("wide")
    first = await node.poll("step")
    await node.report(first)

    *tasks, join = await causes_of(node, run)

    left = sorted({"b0", "b1", "b2"} - {first.task.reference_name})
    assert [cause.reference for cause in tasks] == left
    assert join.code is Code.JOIN_WAITS
    branches = ", ".join(f"{name!r} (SCHEDULED)" for name in left)
    assert join.message == f"JOIN 'join' waits for branches {branches}"


async def test_a_join_tells_a_branch_that_has_not_been_reached(node: Node) -> None:
    two = fork("deep", 1)
    two["tasks"][0]["forkTasks"] = [[simple("b0"), simple("last")]]
    two["tasks"][1]["joinOn"] = ["last"]
    await node.register(two)

    *_, join = await causes_of(node, await node.start("deep"))

    assert join.message == "JOIN 'join' waits for branches 'last' (not reached)"


async def test_a_loop_says_in_which_pass_it_is(node: Node) -> None:
    await node.register(workflow("again", loop("again", 3, simple("a"))))
    run = await node.start("again")
    await node.report(await node.poll("step"))

    inner, around = await causes_of(node, run)

    assert inner.reference == "a__2"
    assert (around.code, around.message) == (Code.LOOP_PASS, "loop 'again' is in pass 2")


async def test_a_sub_workflow_brings_the_causes_of_its_run(node: Node) -> None:
    await node.register(workflow("inner", human("ask")), workflow("outer", child("sub", "inner")))
    run = await node.start("outer")

    cause = await cause_of(node, run)

    child_id = (await node.task(run, "sub")).task.child_id
    assert (cause.code, cause.child_id) == (Code.CHILD_RUNS, child_id)
    [inner] = cause.causes
    assert (inner.code, inner.reference) == (Code.HUMAN_OPEN, "ask")
    assert cause.message.endswith(inner.message)
    await follow_fix(node, inner)
    assert (await cause_of(node, run)).code is Code.RUN_ENDED


async def test_sub_workflows_are_looked_into_to_a_limit(node: Node) -> None:
    levels = DEPTH_MAX + 3
    await node.register(chain("w0", 1))
    for level in range(1, levels + 1):
        await node.register(workflow(f"w{level}", child("sub", f"w{level - 1}")))

    run = await node.start(f"w{levels}")
    under_way = await cause_of(node, run)
    while under_way.code is Code.CHILD_RUNS:
        [under_way] = under_way.causes
    for _ in range(levels):
        await node.look_for_due()

    [cause] = await causes_of(node, run)

    assert under_way.code is Code.MESSAGE_UNDER_WAY, "deep ones begin by a stored message"
    depth = 0
    while cause.causes:
        [cause] = cause.causes
        depth += 1
    assert (depth, cause.code) == (DEPTH_MAX, Code.CHILD_RUNS)
    assert cause.child_id, "who wants to know more asks for that run"


async def test_a_wide_run_tells_a_bounded_number_of_causes(node: Node) -> None:
    await node.register(fork("wide", CAUSES_MAX + 50))

    found = await why(node.engine, await node.start("wide"))

    assert (len(found.causes), found.omitted) == (CAUSES_MAX, 51)


async def test_only_so_many_children_are_read_for_one_answer(node: Node) -> None:
    wide = fork("wide", CHILDREN_MAX + 2)
    wide["tasks"][0]["forkTasks"] = [[child(f"b{n}", "inner")] for n in range(CHILDREN_MAX + 2)]
    await node.register(chain("inner", 1), wide)

    causes = await causes_of(node, await node.start("wide"))

    children = [cause for cause in causes if cause.code is Code.CHILD_RUNS]
    assert len(children) == CHILDREN_MAX + 2
    assert sum(bool(cause.causes) for cause in children) == CHILDREN_MAX


async def test_a_paused_run_says_so_first_and_what_is_in_hand_next(node: Node) -> None:
    await node.register(chain("one", 2))
    run = await node.start("one")
    polled = await node.poll("step", worker_id="w1")
    await node.engine.control(PauseWorkflow(run))

    first, second = await causes_of(node, run)

    assert (first.code, second.code) == (Code.RUN_PAUSED, Code.LEASED)
    assert first.fix == f"PUT /api/workflow/{run}/resume"
    await node.report(polled)
    assert (await cause_of(node, run)).code is Code.RUN_PAUSED


async def test_a_failed_run_lists_its_failed_attempts(node: Node) -> None:
    await node.register(chain("one", 1), tasks=[task_def("step", retryCount=1)])
    run = await node.start("one")
    for reason in ("no paper", "no ink"):
        polled = await node.poll("step", worker_id="w1")
        await node.report(polled, status=TaskStatus.FAILED, reason=reason)

    ended, first, second = await causes_of(node, run)

    assert (ended.code, ended.reference) == (Code.RUN_ENDED, "s0")
    assert "the run is FAILED" in ended.message
    assert ended.fix is not None
    assert ended.fix.endswith(f"POST /api/workflow/{run}/retry")
    assert first.message == "attempt 1 of 2 of 's0': FAILED by worker 'w1': no paper"
    assert second.message == "attempt 2 of 2 of 's0': FAILED by worker 'w1': no ink"


async def test_a_script_that_fails_is_named_with_its_error(node: Node) -> None:
    script = {**simple("sum", "sum"), "type": "LAMBDA"}
    script["inputParameters"] = {"scriptExpression": "return boom("}
    again = task_def("sum", retryCount=1, retryDelaySeconds=30)
    await node.register(workflow("scripts", script), tasks=[again])
    run = await node.start("scripts")

    retried = await cause_of(node, run)
    assert (retried.code, retried.reference) == (Code.RETRY_AT, "sum")
    assert "no script expected" in retried.message, "what the evaluator said"

    await node.advance(31_000)
    ended, *attempts = await causes_of(node, run)
    assert (ended.code, ended.reference) == (Code.RUN_ENDED, "sum")
    assert len(attempts) == 2
    assert all("boom(" in attempt.message for attempt in attempts)


async def test_a_terminated_run_gives_its_reason_and_a_completed_one_no_fix(node: Node) -> None:
    await node.register(chain("one", 1))
    ended, done = await node.start_in_order("one", 2)
    await node.engine.control(TerminateWorkflow(workflow_id=ended, reason="not needed"))
    await node.work("step", 1)

    terminated, completed = await cause_of(node, ended), await cause_of(node, done)

    assert terminated.message == "the run is TERMINATED: not needed"
    assert (completed.message, completed.fix) == ("the run is COMPLETED", None)
    assert terminated.code is completed.code is Code.RUN_ENDED


async def test_the_limit_of_a_run_comes_last(node: Node) -> None:
    limits = {"timeoutSeconds": 60, "timeoutPolicy": "TIME_OUT_WF"}
    await node.register(
        chain("short", 2, **limits), chain("warned", 1, **limits | {"timeoutPolicy": "ALERT_ONLY"})
    )
    run = await node.start("short")
    created_at_ms = (await node.engine.get(run)).workflow.created_at_ms
    node.clock.move(5_000)
    await node.work("step", 1)

    *_, limit = await causes_of(node, run)

    assert (limit.code, limit.since_ms) == (Code.RUN_LIMIT, created_at_ms)
    assert limit.until_ms == created_at_ms + 60_000
    await node.engine.control(PauseWorkflow(run))
    await node.engine.control(ResumeWorkflow(run))
    *_, renewed = await causes_of(node, run)
    assert renewed.until_ms >= limit.until_ms + 5_000, "its time starts anew with a resume"
    await node.advance(61_000)
    assert [cause.code for cause in await causes_of(node, run)] == [Code.RUN_ENDED]
    warned = await causes_of(node, await node.start("warned"))
    assert [cause.code for cause in warned] == [Code.NOT_POLLED], "an alert ends nothing"


async def test_a_row_that_fails_is_told_while_it_is_tried_again_and_when_quarantined(
    open_store: OpenStore, clock: Clock
) -> None:
    def deciding(execution: Any, command: Any, **named: Any) -> Any:
        if isinstance(command, FireTimer):
            raise RuntimeError("planted")  # noqa: TRY004  any error will do
        return decide(execution, command, **named)

    async with running(open_store, clock, deciding=deciding) as node:
        await node.register(workflow("waits", wait("pause", "2 seconds")))
        run = await node.start("waits")

        await node.advance(3_000)
        failing, _ = await causes_of(node, run)
        for _ in range(6):
            await node.advance(60_000)
        aside, _ = await causes_of(node, run)

        assert (failing.code, failing.reference) == (Code.FAILING, "pause")
        again = instant(failing.until_ms)
        what = "WAIT of task 'pause' failed"
        assert failing.message == f"{what} and is tried again at {again}: planted"
        assert (aside.code, aside.until_ms) == (Code.QUARANTINED, 0)
        assert aside.message == f"{what} 5 times and is quarantined: planted"
        assert run in (aside.fix or "")


async def test_a_run_that_does_not_exist_is_not_found(node: Node) -> None:
    with pytest.raises(NotFoundError):
        await why(node.engine, "0190f5fe-0000-7000-8000-000000000000")


async def test_a_message_under_way_and_a_missing_child_are_told(node: Node) -> None:
    await node.register(chain("inner", 1), workflow("outer", child("sub", "inner")))
    run = await node.start("outer")
    execution = await node.engine.committer.committed(run)
    facts = collect.Facts(
        execution=execution,
        now_ms=0,
        node_started_at_ms=0,
        queues={},
        failing=(
            Failing(
                workflow_id=run, kind=SEND, mark=1, attempts=5, error="planted", retry_at_ms=None
            ),
        ),
        has_messages=True,
        children={(await node.task(run, "sub")).task.child_id or "": None},
    )

    aside, message, missing = collect.explain(facts)

    assert aside.message == "SEND failed 5 times and is quarantined: planted"
    assert message.code is Code.MESSAGE_UNDER_WAY
    assert missing.code is Code.CHILD_MISSING
    await follow_fix(node, missing)
    assert (await cause_of(node, run)).code is Code.RUN_ENDED


async def test_the_server_s_own_workers_are_named_where_they_should_poll(node: Node) -> None:
    call = {"name": "h", "taskReferenceName": "h", "type": "HTTP"}
    request = {"http_request": {"uri": "http://localhost/", "method": "GET"}}
    await node.register(workflow("calls", {**call, "inputParameters": request}))

    cause = await cause_of(node, await node.start("calls"))

    assert (cause.code, cause.queue) == (Code.NEVER_POLLED, "HTTP")
    assert cause.fix == "the server does these itself: its log says why it does not"


async def test_a_run_whose_next_step_is_the_engine_s_says_so(node: Node) -> None:
    await node.register(workflow("noop", {**human("n"), "type": "NOOP"}))
    run = await node.start("noop")
    ended = await node.engine.committer.committed(run)
    begun = Execution(replace(ended.workflow, status=WorkflowStatus.RUNNING), ended.graph)
    facts = collect.Facts(execution=begun, now_ms=0, node_started_at_ms=0, queues={})

    [before] = collect.explain(facts)
    begun.put(replace(ended.in_order()[0], status=TaskStatus.IN_PROGRESS))
    [amid] = collect.explain(facts)

    assert (before.code, before.reference) == (Code.SETTLING, None)
    assert (amid.code, amid.reference) == (Code.SETTLING, "n")


def test_a_long_list_of_names_is_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(25)]).endswith("19 and 5 more")
