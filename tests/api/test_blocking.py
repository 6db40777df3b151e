"""Calls that wait: sync execution, signals, and reports that answer with the run."""

import asyncio
from typing import Any

import pytest

from batuta.runtime import waiting
from batuta.runtime.engine import Engine
from tests.api.client import Answer, Client
from tests.api.conftest import polled, report, simple, started, workflow

UNION = {
    "responseType",
    "targetWorkflowId",
    "targetWorkflowStatus",
    "requestId",
    "workflowId",
    "input",
    "output",
    "signalTimeout",
    "status",
    "priority",
    "createTime",
    "updateTime",
}


def wait(name: str, **inputs: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "WAIT", "inputParameters": inputs}


def sub(name: str, child: str) -> dict[str, Any]:
    params = {"subWorkflowParam": {"name": child}}
    return {"name": name, "taskReferenceName": name, "type": "SUB_WORKFLOW", **params}


async def define(client: Client, name: str, *tasks: dict[str, Any], **more: Any) -> None:
    answer = await client.ask("PUT /api/metadata/workflow", [workflow(*tasks, name=name, **more)])
    assert answer.status == 200, answer.body


async def until(engine: Engine, count: int) -> None:
    """Return once so many callers wait."""
    for _ in range(10_000):
        if len(engine.waiting) == count:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{len(engine.waiting)} callers wait, not {count}")


async def test_an_execution_answers_at_the_end_of_the_run(client: Client, engine: Engine) -> None:
    await define(client, "w", simple("a"), outputParameters={"v": "${a.output.v}"})
    body = {"input": {"x": 1}, "correlationId": "c", "name": "other"}
    call = asyncio.ensure_future(client.ask("POST /api/workflow/execute/w/0?requestId=r", body))
    await until(engine, 1)

    done = report(await polled(client), outputData={"v": 7})
    await client.ask("POST /api/tasks", done)

    answer = await call
    run = answer.json
    assert (answer.status, run["status"], run["output"]) == (200, "COMPLETED", {"v": 7})
    assert set(run) >= UNION | {"tasks", "variables", "correlationId"}
    assert (run["requestId"], run["responseType"]) == ("r", "TARGET_WORKFLOW")
    assert run["workflowId"] == run["targetWorkflowId"] == run["tasks"][0]["workflowInstanceId"]
    assert (run["signalTimeout"], run["correlationId"]) == (False, "c")
    assert len(engine.waiting) == 0


async def test_an_execution_that_is_late_answers_with_the_run_as_it_is(client: Client) -> None:
    await define(client, "w", simple("a"))

    answer = await client.ask("POST /api/workflow/execute/w/1?waitForSeconds=1", {})

    assert (answer.json["status"], answer.json["signalTimeout"]) == ("RUNNING", True)


@pytest.mark.parametrize("reference", ["a", "b, a", "x,a"])
async def test_an_execution_ends_when_a_named_task_has_ended(
    client: Client, engine: Engine, reference: str
) -> None:
    await define(client, "w", simple("a"), simple("b"), simple("x"))
    query = f"waitUntilTaskRef={reference.replace(' ', '%20')}&returnStrategy=BLOCKING_TASK"
    call = asyncio.ensure_future(client.ask(f"POST /api/workflow/execute/w/1?{query}", {}))
    await until(engine, 1)

    await client.ask("POST /api/tasks", report(await polled(client), outputData={"v": 1}))

    task = (await call).json
    assert (task["referenceTaskName"], task["status"]) == ("a", "COMPLETED")
    assert (task["output"], task["targetWorkflowStatus"]) == ({"v": 1}, "RUNNING")
    assert (task["responseType"], task["createdBy"]) == ("BLOCKING_TASK", "me")


async def test_a_name_that_no_task_has_is_400(client: Client) -> None:
    """DESIGN.md 6: no endless wait on a typo."""
    await define(client, "w", simple("a"))
    await define(client, "open", sub("s", "w"))

    answer = await client.ask("POST /api/workflow/execute/w/1?waitUntilTaskRef=typo", {})
    line = "POST /api/workflow/execute/open/1?waitUntilTaskRef=typo&waitForSeconds=1"
    unknowable = await client.ask(line, {})

    assert answer.status == 400
    assert answer.json["validationErrors"][0]["path"] == "waitUntilTaskRef"
    assert (unknowable.status, unknowable.json["signalTimeout"]) == (200, True)


@pytest.mark.parametrize(
    "query",
    ["returnStrategy=ALL", "waitForSeconds=-1", "waitForSeconds=601", "waitForSeconds=x"],
)
async def test_a_wrong_parameter_of_an_execution_is_400(client: Client, query: str) -> None:
    await define(client, "w", simple("a"))

    answer = await client.ask(f"POST /api/workflow/execute/w/1?{query}", {})

    assert answer.status == 400
    assert answer.json["validationErrors"][0]["path"] == query.split("=", maxsplit=1)[0]
    assert (await client.ask("GET /api/tasks/queue/all")).json == {}, "nothing was started"


async def test_a_wait_blocks_and_the_strategy_says_what_is_returned(client: Client) -> None:
    await define(client, "child", wait("w1"), wait("w2"))
    await define(client, "w", wait("timed", duration="1 hour"), sub("s", "child"))
    await define(client, "outer", sub("s", "child"))

    async def execute(strategy: str) -> Answer:
        line = f"POST /api/workflow/execute/outer/0?returnStrategy={strategy}"
        return await client.ask(line, {})

    target = (await execute("TARGET_WORKFLOW")).json
    holder = (await execute("BLOCKING_WORKFLOW")).json
    task = (await execute("BLOCKING_TASK_INPUT")).json

    assert target["workflowId"] == target["targetWorkflowId"]
    assert holder["workflowId"] != holder["targetWorkflowId"]
    assert holder["tasks"][0]["referenceTaskName"] == "w1"
    assert (task["taskType"], task["referenceTaskName"], task["status"]) == (
        "WAIT",
        "w1",
        "IN_PROGRESS",
    )
    timed = await client.ask("POST /api/workflow/execute/w/1?waitForSeconds=1", {})
    assert timed.json["signalTimeout"] is True, "a WAIT with a time blocks nobody"


async def test_without_a_blocking_task_its_strategy_answers_empty(client: Client) -> None:
    await define(client, "w", {"name": "n", "taskReferenceName": "n", "type": "NOOP"})

    answer = await client.ask("POST /api/workflow/execute/w/1?returnStrategy=BLOCKING_TASK", {})

    assert (answer.status, answer.body) == (200, b"")


async def test_an_inline_definition_is_executed(client: Client) -> None:
    inline = workflow({"name": "n", "taskReferenceName": "n", "type": "NOOP"}, name="inline")

    answer = await client.ask("POST /api/workflow/execute/inline/1", {"workflowDef": inline})

    assert (answer.status, answer.json["status"]) == (200, "COMPLETED")


async def test_a_client_that_hangs_up_frees_its_place(client: Client, engine: Engine) -> None:
    await define(client, "w", simple("a"))
    gone = asyncio.Event()
    line = "POST /api/workflow/execute/w/1"
    call = asyncio.ensure_future(client.call(line, {}, gone=gone))
    await until(engine, 1)

    gone.set()

    assert await call is None
    assert len(engine.waiting) == 0
    assert (await polled(client))["taskType"] == "a", "the run goes on"


async def test_a_full_house_of_waiting_clients_is_429_and_starts_nothing(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(client, "w", simple("a"))
    monkeypatch.setattr(waiting, "WAITERS_MAX", 1)
    call = asyncio.ensure_future(client.ask("POST /api/workflow/execute/w/1", {}))
    await until(engine, 1)

    refused = await client.ask("POST /api/workflow/execute/w/1", {})
    await client.ask("POST /api/tasks", report(await polled(client)))

    assert (refused.status, refused.json["retryable"]) == (429, True)
    assert (await call).json["status"] == "COMPLETED"
    assert (await client.ask("GET /api/tasks/poll/a")).status == 204


async def test_a_stopping_server_answers_who_waits(client: Client, engine: Engine) -> None:
    await define(client, "w", simple("a"))
    call = asyncio.ensure_future(client.ask("POST /api/workflow/execute/w/1", {}))
    await until(engine, 1)

    engine.drain()

    answer = await call
    assert (answer.json["status"], answer.json["signalTimeout"]) == ("RUNNING", True)
    assert (await client.ask("POST /api/workflow/execute/w/1", {})).status == 503


async def test_a_run_that_is_removed_meanwhile_is_404(client: Client, engine: Engine) -> None:
    await define(client, "w", simple("a"))
    call = asyncio.ensure_future(client.ask("POST /api/workflow/execute/w/1", {}))
    await until(engine, 1)
    workflow_id = (await polled(client))["workflowInstanceId"]

    await client.ask(f"DELETE /api/workflow/{workflow_id}/remove?archiveWorkflow=false")

    assert (await call).status == 404


async def test_a_signal_answers_the_first_wait_and_merges_its_output(client: Client) -> None:
    """gotchas.md 23."""
    await define(client, "child", wait("w1"))
    workflow_id = await started(client, sub("s", "child"), wait("w2"))

    first = await client.ask(f"POST /api/tasks/{workflow_id}/IN_PROGRESS/signal", {"a": 1})
    again = await client.ask(f"POST /api/tasks/{workflow_id}/COMPLETED/signal", {"b": 2})
    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    last = await client.ask(f"POST /api/tasks/{workflow_id}/COMPLETED/signal", {})
    none = await client.ask(f"POST /api/tasks/{workflow_id}/COMPLETED/signal", {})
    unknown = await client.ask("POST /api/tasks/none/COMPLETED/signal", {})
    wrong = await client.ask(f"POST /api/tasks/{workflow_id}/DONE/signal", {})

    assert [one.status for one in (first, again, last, none)] == [200] * 4
    assert (first.body, unknown.status, wrong.status) == (b"", 404, 400)
    assert run["tasks"][0]["outputData"].items() >= {"a": 1, "b": 2}.items()
    assert run["tasks"][1]["referenceTaskName"] == "w2"


async def test_a_sync_signal_waits_for_the_next_block(client: Client, engine: Engine) -> None:
    workflow_id = await started(client, wait("w1"), simple("a"), wait("w2"))
    line = f"POST /api/tasks/{workflow_id}/COMPLETED/signal/sync?returnStrategy=BLOCKING_TASK"
    call = asyncio.ensure_future(client.ask(line, {"v": 1}))
    await until(engine, 1)

    await client.ask("POST /api/tasks", report(await polled(client)))

    task = (await call).json
    assert (task["referenceTaskName"], task["signalTimeout"]) == ("w2", False)
    late = await client.ask(
        f"POST /api/tasks/{workflow_id}/IN_PROGRESS/signal/sync?timeoutMillis=0", {}
    )
    assert late.json["workflowId"] == workflow_id


async def test_a_sync_signal_without_a_wait_is_404(client: Client) -> None:
    workflow_id = await started(client)

    answer = await client.ask(f"POST /api/tasks/{workflow_id}/COMPLETED/signal/sync", {})
    unknown = await client.ask("POST /api/tasks/none/COMPLETED/signal/sync", {})

    assert (answer.status, unknown.status) == (404, 404)


async def test_a_report_by_reference_answers_with_the_run(client: Client) -> None:
    workflow_id = await started(client, simple("a"), simple("b"))
    line = f"POST /api/tasks/{workflow_id}/a/COMPLETED/sync"

    answer = await client.ask(f"{line}?workerid=me", {"v": 1})
    again = await client.ask(line, {})

    tasks = answer.json["tasks"]
    assert (answer.status, again.status) == (200, 404)
    assert [(one["status"], one["outputData"]) for one in tasks] == [
        ("COMPLETED", {"v": 1}),
        ("SCHEDULED", {}),
    ]
    assert tasks[0]["workerId"] == "me"
