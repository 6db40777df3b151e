"""Habits of Conductor's that re-implementations get wrong, as a client meets them.

Those of the engine itself are scenarios (tests/scenario/cases); docs/reference/compatibility.md
has the table of all.
"""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.conftest import names, polled, report, simple, started, workflow


async def shown(client: Client, workflow_id: str) -> dict[str, Any]:
    """Give a run as it is shown."""
    found: dict[str, Any] = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    return found


async def test_a_bulk_answer_has_two_lists_and_no_message(client: Client) -> None:
    """gotchas.md 11."""
    workflow_id = await started(client)

    answer = await client.ask("PUT /api/workflow/bulk/pause", [workflow_id])

    assert answer.json == {"bulkErrorResults": {}, "bulkSuccessfulResults": [workflow_id]}


async def test_a_queue_has_its_size_whatever_namespace_is_asked_with(client: Client) -> None:
    """gotchas.md 12: no queue of ours has a namespace or a group, so there is nothing to swap."""
    await started(client)
    line = "GET /api/tasks/queue/size?taskType=a"

    plain = await client.ask(line)
    grouped = await client.ask(f"{line}&isolationGroupId=g")
    spaced = await client.ask(f"{line}&executionNamespace=n&isolationGroupId=g")
    domain = await client.ask(f"{line}&domain=d")

    assert (plain.body, grouped.body, spaced.body) == (b"1", b"1", b"1")
    assert domain.body == b"0"


async def test_a_changed_task_definition_leaves_running_runs_alone(client: Client) -> None:
    """gotchas.md 15: a run keeps what was registered when it began; a new run has the new one."""
    task_def = {"name": "a", "retryCount": 1, "retryDelaySeconds": 0, "timeoutSeconds": 0}
    await client.ask("POST /api/metadata/taskdefs", [task_def])
    old = await started(client)

    await client.ask("PUT /api/metadata/taskdefs", {**task_def, "retryCount": 0})
    await client.ask("POST /api/tasks", report(await polled(client), "FAILED"))
    again = await polled(client)
    new = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()

    assert (again["workflowInstanceId"], again["retryCount"]) == (old, 1)
    assert again["taskDefinition"]["retryCount"] == 1
    assert (await polled(client))["taskDefinition"]["retryCount"] == 0
    await client.ask("POST /api/tasks", report(again, "FAILED"))
    await client.ask(f"POST /api/workflow/{old}/restart")
    kept = (await shown(client, old))["tasks"][0]
    assert kept["taskDefinition"]["retryCount"] == 1, "a restart keeps the snapshot too"
    assert new != old


async def test_fields_that_are_only_kept_come_back_and_change_nothing(client: Client) -> None:
    """gotchas.md 20: kept, given back, and not acted on yet, as in Conductor."""
    kept: dict[str, Any] = {
        "rateLimitConfig": {"rateLimitKey": "k", "concurrentExecLimit": 1},
        "cacheConfig": {"key": "k", "ttlInSecond": 60},
        "maskedFields": ["secret"],
        "inputSchema": {"name": "s", "version": 1, "type": "JSON", "data": {"required": ["x"]}},
        "enforceSchema": True,
    }
    task = simple("a", onStateChange={"onSuccess": [{"type": "t", "payload": {}}]})
    await client.ask("PUT /api/metadata/workflow", [workflow(task, **kept)])
    start = {"name": "w", "idempotencyKey": "once", "idempotencyStrategy": "FAIL"}

    starts = [await client.ask("POST /api/workflow", start) for _ in range(2)]
    tasks = (await client.ask("GET /api/tasks/poll/batch/a?count=2")).json

    assert [answer.status for answer in starts] == [200, 200]
    assert starts[0].body != starts[1].body
    assert len(tasks) == 2
    read = (await client.ask("GET /api/metadata/workflow/w")).json
    assert {key: read[key] for key in kept} == kept
    assert read["tasks"][0]["onStateChange"] == task["onStateChange"]


async def test_no_more_tasks_are_polled_than_a_rate_allows(client: Client) -> None:
    """gotchas.md 50: here it holds on every store."""
    limited = {"name": "a", "rateLimitPerFrequency": 1, "rateLimitFrequencyInSeconds": 3600}
    await client.ask("POST /api/metadata/taskdefs", [limited])
    for _ in range(2):
        await started(client, simple("a"))

    taken = (await client.ask("GET /api/tasks/poll/batch/a?count=2&timeout=2000")).json
    assert len(taken) == 1
    assert (await client.ask("GET /api/tasks/poll/batch/a?count=2&timeout=100")).json == []
    assert (await client.ask("GET /api/metadata/taskdefs/a")).json["rateLimitPerFrequency"] == 1


async def test_a_sub_workflow_s_version_is_the_latest_when_its_parent_starts(
    client: Client,
) -> None:
    """gotchas.md 37."""
    sub = {**simple("s"), "type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "child"}}
    child = workflow(simple("one"), name="child")
    await client.ask("POST /api/metadata/workflow", child)
    await started(client, simple("a"), sub)

    newer = {**workflow(simple("two"), name="child"), "version": 2}
    await client.ask("POST /api/metadata/workflow", newer)
    await client.ask("POST /api/tasks", report(await polled(client)))

    assert (await polled(client, "one"))["workflowType"] == "child"
    assert (await client.ask("GET /api/tasks/poll/two")).status == 204


async def test_a_retried_run_shows_its_earlier_end_while_it_runs(client: Client) -> None:
    """gotchas.md 46: endTime and the failed names stay; the attempt counts against the limit."""
    task_def = {"name": "a", "retryCount": 1, "retryDelaySeconds": 0}
    await client.ask("POST /api/metadata/taskdefs", [task_def])
    workflow_id = await started(client)
    for _ in range(2):
        await client.ask("POST /api/tasks", report(await polled(client), "FAILED"))
    before = await shown(client, workflow_id)

    await client.ask(f"POST /api/workflow/{workflow_id}/retry")

    after = await shown(client, workflow_id)
    assert (before["status"], after["status"]) == ("FAILED", "RUNNING")
    assert before["endTime"] > 0
    for kept in ("endTime", "failedReferenceTaskNames", "failedTaskNames"):
        assert after[kept] == before[kept]
    assert after["lastRetriedTime"] >= before["endTime"]
    assert "reasonForIncompletion" not in after
    assert names(after["tasks"], "retryCount") == [0, 1, 2]
    await client.ask("POST /api/tasks", report(await polled(client), "FAILED"))
    assert (await shown(client, workflow_id))["status"] == "FAILED", "no attempt is left"


async def test_a_removed_run_is_found_by_no_search(client: Client) -> None:
    """gotchas.md 58: nothing is kept in an index that would lead nowhere."""
    workflow_id = await started(client)
    await client.ask("POST /api/tasks", report(await polled(client)))
    lines = (
        "GET /api/workflow/search?query=workflowType=w",
        "GET /api/tasks/search?query=taskType=a",
    )
    before = [(await client.ask(line)).json["totalHits"] for line in lines]

    await client.ask(f"DELETE /api/workflow/{workflow_id}/remove?archiveWorkflow=true")

    assert before == [1, 1]
    assert [(await client.ask(line)).json["totalHits"] for line in lines] == [0, 0]


async def test_a_fork_shows_as_fork_and_a_task_as_its_name(client: Client) -> None:
    """gotchas.md 30 and 31: the JOIN is there at once; a branch goes on without waiting for it."""
    branches = [[simple("a"), simple("b")], [simple("c")]]
    fork = {**simple("f"), "type": "FORK_JOIN", "forkTasks": branches}
    join = {**simple("j"), "type": "JOIN", "joinOn": ["b", "c"]}
    workflow_id = await started(client, fork, join)

    at_first = (await shown(client, workflow_id))["tasks"]
    await client.ask("POST /api/tasks", report(await polled(client)))

    assert names(at_first, "taskType") == ["FORK", "a", "c", "JOIN"]
    assert names(at_first, "status") == ["COMPLETED", "SCHEDULED", "SCHEDULED", "IN_PROGRESS"]
    assert (await polled(client, "b"))["workflowInstanceId"] == workflow_id


@pytest.mark.parametrize(
    "line",
    [
        "GET /api/event",
        "POST /api/event",
        "GET /api/scheduler/schedules",
        "GET /api/scheduler/schedules/nightly/pause",
    ],
)
async def test_event_handlers_and_schedules_are_not_there_yet(client: Client, line: str) -> None:
    """gotchas.md 9 and 60: a 404 with the error body, which the SDKs read, and nothing is kept."""
    answer = await client.ask(line, {"name": "h", "event": "conductor:x", "actions": []})

    assert (answer.status, answer.json["status"]) == (404, 404)
    assert answer.json["message"]
