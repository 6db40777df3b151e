"""The answers that clients depend on, rule by rule (clients.md 1.3 and 1.4, gotchas.md 1-12)."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.conftest import names, polled, report, started

NOWHERE = "01a1f824-0000-7001-8000-000000000000"


def is_error(body: Any, status: int) -> bool:
    """Tell whether this is Conductor's error body; the JS SDK needs a numeric status."""
    return body["status"] == status and bool(body["message"]) and body["retryable"] is False


async def test_ids_are_plain_text_without_quotes(client: Client) -> None:
    """gotchas.md 4; clients.md 1.3: the Java SDK keeps quotes and asks for that id."""
    await started(client)
    answers = [
        await client.ask("POST /api/workflow", {"name": "w"}),
        await client.ask("POST /api/workflow/w", {}),
    ]
    task = await polled(client)
    answers.append(await client.ask("POST /api/tasks", report(task)))
    other = await polled(client)
    line = f"POST /api/tasks/{other['workflowInstanceId']}/a/COMPLETED"
    answers.append(await client.ask(line, {"x": 1}))

    for answer in answers:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain"
        assert len(answer.body) == 36
        assert b'"' not in answer.body


async def test_a_void_answer_is_200_with_length_0_and_no_content_type(client: Client) -> None:
    """clients.md 1.3, gotchas.md 6: pause, resume and terminate."""
    workflow_id = await started(client)
    task = await polled(client)

    for line in (
        f"PUT /api/workflow/{workflow_id}/pause",
        f"PUT /api/workflow/{workflow_id}/resume",
        f"DELETE /api/workflow/{workflow_id}?reason=enough",
        f"POST /api/tasks/{task['taskId']}/log",
        "PUT /api/metadata/taskdefs",
    ):
        body: Any = {"name": "t"} if "taskdefs" in line else {}
        if "taskdefs" in line:
            assert (await client.ask("POST /api/metadata/taskdefs", [body])).body == b""
        answer = await client.ask(line, body)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers == {"content-length": "0"}


async def test_retry_answers_204(client: Client) -> None:
    """gotchas.md 6."""
    workflow_id = await started(client)
    task = await polled(client)
    await client.ask("POST /api/tasks", report(task, "FAILED_WITH_TERMINAL_ERROR"))

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/retry")

    assert (answer.status, answer.body, answer.headers) == (204, b"", {})
    assert (await polled(client))["retryCount"] == 1


async def test_a_retry_of_a_running_workflow_is_404(client: Client) -> None:
    """gotchas.md 2."""
    workflow_id = await started(client)

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/retry")

    assert answer.status == 404
    assert is_error(answer.json, 404)


async def test_operations_that_the_state_does_not_allow_are_409_and_repeated_ones_nothing(
    client: Client,
) -> None:
    """endpoints: pause twice and terminate twice are no-ops; resume of what runs is 500 in OSS."""
    open_, ended = await started(client), await started(client)
    for task in (await client.ask("GET /api/tasks/poll/batch/a?count=2")).json:
        if task["workflowInstanceId"] == ended:
            await client.ask("POST /api/tasks", report(task))

    calls = [
        (f"PUT /api/workflow/{open_}/resume", 409),
        (f"PUT /api/workflow/{open_}/pause", 200),
        (f"PUT /api/workflow/{open_}/pause", 200),
        (f"PUT /api/workflow/{open_}/resume", 200),
        (f"DELETE /api/workflow/{open_}?reason=enough", 200),
        (f"DELETE /api/workflow/{open_}", 200),
        (f"PUT /api/workflow/{open_}/pause", 409),
        (f"DELETE /api/workflow/{ended}", 409),
        (f"PUT /api/workflow/{ended}/resume", 409),
    ]

    for line, status in calls:
        answer = await client.ask(line)
        assert (line, answer.status) == (line, status)
        assert answer.body == b"" if status == 200 else is_error(answer.json, 409)
    shown = (await client.ask(f"GET /api/workflow/{open_}")).json
    assert (shown["status"], shown["reasonForIncompletion"]) == ("TERMINATED", "enough")


async def test_an_empty_batch_poll_is_an_empty_list(client: Client) -> None:
    """gotchas.md 5: 204 gives the Java SDK a null list."""
    answer = await client.ask("GET /api/tasks/poll/batch/a?count=5&timeout=1&workerid=me")

    assert (answer.status, answer.body) == (200, b"[]")
    assert answer.headers["content-type"] == "application/json"


async def test_an_empty_single_poll_is_204_without_a_content_type(client: Client) -> None:
    """gotchas.md 5."""
    answer = await client.ask("GET /api/tasks/poll/a")

    assert (answer.status, answer.body, answer.headers) == (204, b"", {})


async def test_update_v2_gives_the_next_task_of_the_same_queue(client: Client) -> None:
    await started(client)
    second = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()
    task = await polled(client)

    answer = await client.ask("POST /api/tasks/update-v2", report(task, workerId="me"))

    assert answer.status == 200
    assert answer.json["workflowInstanceId"] == second
    assert (answer.json["status"], answer.json["workerId"]) == ("IN_PROGRESS", "me")


async def test_update_v2_without_a_next_task_is_204_without_a_content_type(client: Client) -> None:
    """clients.md 1.3: the JS SDK would read {} from a 204 with a JSON content type."""
    await started(client)
    task = await polled(client)

    answer = await client.ask("POST /api/tasks/update-v2", report(task))

    assert (answer.status, answer.body, answer.headers) == (204, b"", {})


@pytest.mark.parametrize("path", ["/api/tasks", "/api/tasks/update-v2"])
async def test_a_report_that_breaks_a_rule_is_400_on_both_paths(client: Client, path: str) -> None:
    """gotchas.md 3: Conductor answers 500 on the second, which is merely accidental."""
    answer = await client.ask(f"POST {path}", {"taskId": "t", "status": "COMPLETED"})

    assert answer.status == 400
    assert answer.json["validationErrors"][0]["path"] == "workflowInstanceId"
    assert "instance" not in answer.json
    assert is_error(answer.json, 400)


@pytest.mark.parametrize(
    "line",
    [
        f"GET /api/workflow/{NOWHERE}",
        "GET /api/workflow/no-uuid-at-all",
        f"GET /api/workflow/{NOWHERE}/status",
        f"PUT /api/workflow/{NOWHERE}/pause",
        f"PUT /api/workflow/{NOWHERE}/resume",
        f"DELETE /api/workflow/{NOWHERE}",
        f"POST /api/workflow/{NOWHERE}/retry",
        f"GET /api/tasks/{NOWHERE}",
        "GET /api/tasks/x",
        "GET /api/metadata/workflow/unknown",
        "GET /api/metadata/workflow/unknown?version=3",
        "DELETE /api/metadata/workflow/unknown/1",
        "GET /api/metadata/taskdefs/unknown",
        "DELETE /api/metadata/taskdefs/unknown",
        "POST /api/workflow/unknown",
        "POST /api/token",
        "GET /api/schema",
        "GET /nothing",
        "GET /api/workflow//status",
        "GET /api/tasks/poll/",
        "GET /assets/../server.py",
        "GET /assets/page.py",
    ],
)
async def test_what_does_not_exist_is_404_with_the_error_body(client: Client, line: str) -> None:
    """clients.md 1.3: SDKs fall back on 404 and 405, never on 501 or 400."""
    answer = await client.ask(line, {} if line.startswith("POST") else None)

    assert answer.status == 404
    assert is_error(answer.json, 404)
    assert answer.json["instance"]


@pytest.mark.parametrize("body", [{"name": "unknown"}, {"name": "w", "version": 99}])
async def test_a_start_of_an_unknown_definition_is_404(
    client: Client, body: dict[str, Any]
) -> None:
    await started(client)

    assert (await client.ask("POST /api/workflow", body)).status == 404


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("GET /api/tasks/update-v2", ""),
        ("DELETE /api/tasks", "POST"),
        ("PATCH /api/workflow", "POST"),
        ("GET /api/workflow/x/pause", "PUT"),
        ("POST /api/tasks/poll/a", ""),
        ("PUT /api/tasks/poll/batch/a", "GET"),
        ("POST /health", "GET"),
        ("OPTIONS /api/workflow", "POST"),
        ("HEAD /api/tasks/poll/a", "GET"),
        ("HEAD /api/tasks/poll/batch/a", "GET"),
    ],
)
async def test_a_wrong_method_is_405_with_the_error_body(
    client: Client, line: str, allowed: str
) -> None:
    """gotchas.md 9."""
    answer = await client.ask(line)

    if not allowed:  # another row takes it: a task by id, a report by reference
        assert answer.status in {400, 404, 405}
        return
    assert answer.status == 405
    assert is_error(answer.json, 405)
    assert allowed in answer.headers["allow"]


async def test_head_answers_as_get(client: Client) -> None:
    assert (await client.ask("HEAD /health")).status == 200


async def test_null_fields_are_left_out_and_nulls_in_maps_stay(client: Client) -> None:
    """gotchas.md 8."""
    workflow_id = await started(client, body={"input": {"x": None, "y": {"z": None}}})
    task = await polled(client)
    await client.ask("POST /api/tasks", report(task, outputData={"none": None}))

    shown = (await client.ask(f"GET /api/workflow/{workflow_id}")).json

    assert shown["input"] == {"x": None, "y": {"z": None}}
    assert shown["tasks"][0]["outputData"] == {"none": None}
    for bean in (shown, shown["tasks"][0], shown["workflowDefinition"]):
        maps = {"input", "inputData", "output", "outputData", "variables"}
        assert None not in [value for key, value in bean.items() if key not in maps]
    assert "correlationId" not in shown


async def test_a_log_line_is_kept_as_it_is_and_an_empty_log_is_204(client: Client) -> None:
    """gotchas.md 5, clients.md 1.4: Python sends invalid JSON, JS a quoted text."""
    await started(client)
    task_id = (await polled(client))["taskId"]
    line = f"/api/tasks/{task_id}/log"
    assert (await client.ask(f"GET {line}")).status == 204
    bodies = [b'he said \\"no\\"', b'"quoted"', b"{", "höh".encode(), b"\xff\0", b""]

    for body in bodies:
        headers = {"content-type": "application/json"}
        assert (await client.ask(f"POST {line}", raw=body, headers=headers)).status == 200

    shown = (await client.ask(f"GET {line}")).json
    expected = ['he said \\"no\\"', '"quoted"', "{", "höh", "\ufffd\ufffd", ""]
    assert names(shown, "log") == expected
    assert {one["taskId"] for one in shown} == {task_id}
    assert all(one["createdTime"] > 0 for one in shown)


async def test_a_report_for_an_ended_task_is_accepted_and_changes_nothing(client: Client) -> None:
    """gotchas.md 22."""
    workflow_id = await started(client)
    task = await polled(client)
    await client.ask("POST /api/tasks", report(task, outputData={"n": 1}))

    again = await client.ask("POST /api/tasks", report(task, "FAILED", outputData={"n": 2}))

    assert (again.status, again.body.decode()) == (200, task["taskId"])
    shown = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert (shown["status"], shown["tasks"][0]["outputData"]) == ("COMPLETED", {"n": 1})


async def test_a_report_in_progress_puts_the_task_back(client: Client) -> None:
    """gotchas.md 21."""
    await started(client)
    task = await polled(client)

    await client.ask("POST /api/tasks", report(task, "IN_PROGRESS", outputData={"n": 1}))

    again = await polled(client)
    assert (again["taskId"], again["pollCount"]) == (task["taskId"], 2)
    assert again["outputData"] == {"n": 1}
    assert again["startTime"] == task["startTime"]


async def test_a_report_by_reference_merges_and_is_empty_without_an_open_task(
    client: Client,
) -> None:
    """gotchas.md 23; endpoints: an empty 200 when nothing matches."""
    workflow_id = await started(client)
    task = await polled(client)
    await client.ask("POST /api/tasks", report(task, "IN_PROGRESS", outputData={"a": 1, "b": 1}))

    line = f"POST /api/tasks/{workflow_id}/a/COMPLETED?workerid=me"
    answer = await client.ask(line, {"b": 2})
    nothing = await client.ask(line, {"b": 3})
    unknown = await client.ask(f"POST /api/tasks/{NOWHERE}/a/COMPLETED", {})

    shown = (await client.ask(f"GET /api/tasks/{task['taskId']}")).json
    assert answer.body.decode() == task["taskId"]
    assert shown["outputData"] == {"a": 1, "b": 2}
    assert (nothing.status, nothing.body) == (200, b"")
    assert (unknown.status, unknown.body) == (200, b"")


async def test_a_heartbeat_keeps_the_lease_and_changes_nothing_else(client: Client) -> None:
    """clients.md 1.2: status IN_PROGRESS with extendLease=true."""
    await started(client)
    task = await polled(client)
    beat = report(task, "IN_PROGRESS", extendLease=True, outputData={"n": 1})

    first = await client.ask("POST /api/tasks", beat)
    second = await client.ask("POST /api/tasks/update-v2", beat)

    assert (first.status, second.status) == (200, 204)
    shown = (await client.ask(f"GET /api/tasks/{task['taskId']}")).json
    assert (shown["status"], shown["pollCount"], shown["outputData"]) == ("IN_PROGRESS", 1, {})
