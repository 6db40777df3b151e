"""Restart, rerun, skip, remove and their bulk forms over HTTP."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.conftest import names, polled, report, simple, started, workflow


async def shown(client: Client, workflow_id: str) -> dict[str, Any]:
    answer = await client.ask(f"GET /api/workflow/{workflow_id}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


async def ended(client: Client, *tasks: dict[str, Any], **more: Any) -> str:
    """Run a workflow of SIMPLE tasks to its end, each giving its number; give its id."""
    tasks = tasks or (simple("a"), simple("b"))
    workflow_id = await started(client, *tasks, **more)
    for number, task in enumerate(tasks):
        given = {"outputData": {"n": number}}
        await client.ask("POST /api/tasks", report(await polled(client, task["name"]), **given))
    return workflow_id


async def test_a_restart_answers_204_and_runs_the_same_id_again(client: Client) -> None:
    """gotchas.md 6 and 46."""
    workflow_id = await ended(client, body={"input": {"x": 1}})
    before = await shown(client, workflow_id)

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/restart")

    after = await shown(client, workflow_id)
    assert (answer.status, answer.body) == (204, b"")
    assert (after["status"], after["input"], after["output"]) == ("RUNNING", {"x": 1}, {})
    assert (after["endTime"], names(after["tasks"], "referenceTaskName")) == (0, ["a"])
    assert after["createTime"] >= before["endTime"]
    assert after["tasks"][0]["taskId"] != before["tasks"][0]["taskId"]
    # History keeps the retired tasks, but they are not shown and take no more reports.
    assert (await client.ask(f"GET /api/tasks/{before['tasks'][0]['taskId']}")).status == 404
    late = {**before["tasks"][0], "workflowInstanceId": workflow_id}
    assert (await client.ask("POST /api/tasks", report(late))).status == 404


async def test_a_restart_takes_the_latest_definition_when_asked(client: Client) -> None:
    """gotchas.md 15."""
    workflow_id = await ended(client)
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("z"), version=2)])

    await client.ask(f"POST /api/workflow/{workflow_id}/restart")
    kept = await shown(client, workflow_id)
    await client.ask(f"DELETE /api/workflow/{workflow_id}")
    await client.ask(f"POST /api/workflow/{workflow_id}/restart?useLatestDefinitions=true")
    latest = await shown(client, workflow_id)

    assert (kept["workflowVersion"], kept["tasks"][0]["taskType"]) == (1, "a")
    assert (latest["workflowVersion"], latest["tasks"][0]["taskType"]) == (2, "z")
    assert latest["workflowDefinition"]["version"] == 2
    assert (await polled(client, "z"))["workflowInstanceId"] == workflow_id


async def test_the_latest_definition_of_an_inline_run_is_404(client: Client) -> None:
    inline = {"name": "inline", "workflowDef": workflow(simple("z"), name="inline")}
    workflow_id = (await client.ask("POST /api/workflow", inline)).body.decode()
    await client.ask("POST /api/tasks", report(await polled(client, "z")))

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/restart?useLatestDefinitions=true")

    assert answer.status == 404
    assert "useLatestDefinitions" in answer.json["message"]
    assert (await shown(client, workflow_id))["status"] == "COMPLETED"


async def test_the_state_of_a_run_refuses_operations(client: Client) -> None:
    """gotchas.md 2: the statuses are Conductor's, 400 and 409 where it has 500."""
    running = await started(client, simple("a"), simple("b"))

    async def status(line: str, body: Any = None) -> int:
        return (await client.ask(line, body)).status

    run = f"/api/workflow/{running}"
    assert await status(f"POST {run}/restart") == 409
    assert await status(f"POST {run}/rerun", {}) == 409
    assert await status(f"DELETE {run}/remove") == 400
    assert await status(f"PUT {run}/skiptask/a") == 409
    assert await status(f"PUT {run}/skiptask/typo") == 400
    for line in (
        "POST {}/restart",
        "POST {}/rerun",
        "PUT {}/skiptask/a",
        "DELETE {}/remove",
        "DELETE {}/terminate-remove",
        "POST {}/resetcallbacks",
    ):
        assert await status(line.format("/api/workflow/none")) == 404
    assert await status("PUT /api/workflow/decide/none") == 404


async def test_a_completed_run_that_is_not_restartable_is_404(client: Client) -> None:
    """gotchas.md 2."""
    definition = workflow(simple("a"), name="once", restartable=False)
    await client.ask("PUT /api/metadata/workflow", [definition])
    workflow_id = (await client.ask("POST /api/workflow/once", {})).body.decode()
    await client.ask("POST /api/tasks", report(await polled(client)))

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/restart")

    assert (answer.status, "restartable" in answer.json["message"]) == (404, True)


async def test_a_rerun_begins_with_a_task_and_its_new_input(client: Client) -> None:
    workflow_id = await ended(client, simple("a"), simple("b"), simple("c"))
    before = (await shown(client, workflow_id))["tasks"]

    answer = await client.ask(
        f"POST /api/workflow/{workflow_id}/rerun",
        {"reRunFromTaskId": before[1]["taskId"], "taskInput": {"x": 2}},
    )

    after = await shown(client, workflow_id)
    assert (answer.status, answer.body.decode()) == (200, workflow_id)
    assert names(after["tasks"], "referenceTaskName") == ["a", "b"]
    assert after["tasks"][0]["taskId"] == before[0]["taskId"]
    assert after["tasks"][1]["taskId"] != before[1]["taskId"]
    assert after["tasks"][1]["retryCount"] == before[1]["retryCount"]
    assert (await polled(client, "b"))["inputData"] == {"x": 2}


async def test_a_rerun_of_all_takes_input_and_correlation_id(client: Client) -> None:
    workflow_id = await ended(client, body={"input": {"x": 1}, "correlationId": "one"})

    body = {"workflowInput": {"x": 2}, "correlationId": "two", "taskInput": None}
    await client.ask(f"POST /api/workflow/{workflow_id}/rerun", body)

    after = await shown(client, workflow_id)
    assert (after["input"], after["correlationId"], after["status"]) == ({"x": 2}, "two", "RUNNING")


async def test_a_rerun_from_an_unknown_task_is_400(client: Client) -> None:
    workflow_id, other = await ended(client), await ended(client)
    foreign = (await shown(client, other))["tasks"][0]["taskId"]

    for task_id in ("none", foreign):
        answer = await client.ask(
            f"POST /api/workflow/{workflow_id}/rerun", {"reRunFromTaskId": task_id}
        )
        assert answer.status == 400
        assert answer.json["validationErrors"][0]["path"] == "reRunFromTaskId"
        assert f"Task {task_id} not found" in answer.json["message"]


async def parent_and_child(client: Client) -> tuple[str, str]:
    """Run a parent with a sub-workflow to the end; give both ids."""
    child = workflow(simple("a"), name="child")
    sub = {
        "name": "s",
        "taskReferenceName": "s",
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"name": "child"},
    }
    await client.ask("PUT /api/metadata/workflow", [child])
    parent_id = await started(client, sub, simple("b"))
    await client.ask("POST /api/tasks", report(await polled(client)))
    await client.ask("POST /api/tasks", report(await polled(client, "b")))
    tasks = (await shown(client, parent_id))["tasks"]
    return parent_id, tasks[0]["subWorkflowId"]


async def test_a_rerun_finds_its_task_in_a_sub_workflow(client: Client) -> None:
    parent_id, child_id = await parent_and_child(client)
    task_id = (await shown(client, child_id))["tasks"][0]["taskId"]
    line = f"POST /api/workflow/{parent_id}/rerun"

    refused = await client.ask(line, {"reRunFromTaskId": task_id, "workflowInput": {}})
    answer = await client.ask(line, {"reRunFromTaskId": task_id})

    assert (refused.status, answer.status, answer.body.decode()) == (400, 200, parent_id)
    after = await shown(client, parent_id)
    assert [(one["referenceTaskName"], one["status"]) for one in after["tasks"]] == [
        ("s", "IN_PROGRESS")
    ]
    assert (await shown(client, child_id))["status"] == "RUNNING"
    again = await client.ask(line, {"reRunFromTaskId": task_id})
    assert again.status == 409, "it runs"


async def test_a_skipped_task_has_the_body_s_input_and_output(client: Client) -> None:
    """gotchas.md 7 (honoured here) and 49: seq 0, and it sorts first."""
    workflow_id = await started(client, simple("a"), simple("b"), simple("c"))

    body = {"taskInput": {"i": 1}, "taskOutput": {"o": 2}}
    answer = await client.ask(f"PUT /api/workflow/{workflow_id}/skiptask/b", body)

    first, second = (await shown(client, workflow_id))["tasks"]
    assert (answer.status, answer.body) == (200, b"")
    assert (first["status"], first["seq"], first["taskType"]) == ("SKIPPED", 0, "b")
    assert (first["inputData"], first["outputData"]) == ({"i": 1}, {"o": 2})
    assert second["referenceTaskName"] == "a"
    await client.ask("POST /api/tasks", report(await polled(client)))
    assert (await polled(client, "c"))["workflowInstanceId"] == workflow_id


async def test_a_removed_run_is_gone(client: Client) -> None:
    workflow_id = await ended(client)
    task_id = (await shown(client, workflow_id))["tasks"][0]["taskId"]

    answer = await client.ask(f"DELETE /api/workflow/{workflow_id}/remove")

    assert (answer.status, answer.body) == (200, b"")
    for line in (f"GET /api/workflow/{workflow_id}", f"GET /api/tasks/{task_id}"):
        assert (await client.ask(line)).status == 404
    assert (await client.ask(f"DELETE /api/workflow/{workflow_id}/remove")).status == 404
    late = report({"workflowInstanceId": workflow_id, "taskId": task_id})
    assert (await client.ask("POST /api/tasks", late)).status == 404


async def test_a_running_run_is_removed_without_archive_or_after_its_end(client: Client) -> None:
    first = await started(client)
    second = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()

    plain = await client.ask(f"DELETE /api/workflow/{first}/remove?archiveWorkflow=false")
    after = await client.ask(f"DELETE /api/workflow/{second}/terminate-remove?reason=enough")

    assert (plain.status, after.status) == (200, 200)
    for one in (first, second):
        assert (await client.ask(f"GET /api/workflow/{one}")).status == 404
    assert (await client.ask("GET /api/tasks/queue/size?taskType=a")).body == b"0"
    assert (await client.ask("GET /api/tasks/poll/a")).status == 204


async def test_removing_a_sub_workflow_or_its_parent_leaves_the_other(client: Client) -> None:
    parent_id, child_id = await parent_and_child(client)

    await client.ask(f"DELETE /api/workflow/{parent_id}/remove")
    restarted = await client.ask(f"POST /api/workflow/{child_id}/restart")
    await client.ask("POST /api/tasks", report(await polled(client)))

    child = await shown(client, child_id)
    assert (restarted.status, child["status"]) == (204, "COMPLETED")
    assert child["parentWorkflowId"] == parent_id


async def test_resetting_callbacks_answers_204_and_offers_the_task(client: Client) -> None:
    """gotchas.md 6."""
    workflow_id = await started(client)
    task = await polled(client)
    await client.ask("POST /api/tasks", report(task, "IN_PROGRESS", callbackAfterSeconds=600))
    assert (await client.ask("GET /api/tasks/poll/a")).status == 204

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/resetcallbacks")

    assert (answer.status, answer.body) == (204, b"")
    assert (await polled(client))["taskId"] == task["taskId"]


@pytest.mark.parametrize("verb", ["PUT pause", "PUT resume", "POST terminate", "POST restart"])
async def test_a_bulk_says_what_became_of_each_run(client: Client, verb: str) -> None:
    method, word = verb.split()
    first = await started(client)
    second = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()
    for one in (first, second):
        if word == "resume":
            await client.ask(f"PUT /api/workflow/{one}/pause")
        if word == "restart":
            await client.ask(f"DELETE /api/workflow/{one}")

    answer = await client.ask(f"{method} /api/workflow/bulk/{word}", [first, "none", second])

    assert answer.status == 200
    assert answer.json["bulkSuccessfulResults"] == [first, second]
    assert answer.json["bulkErrorResults"] == {"none": "no workflow 'none'"}
    expected = {"pause": "PAUSED", "terminate": "TERMINATED"}.get(word, "RUNNING")
    assert {(await shown(client, one))["status"] for one in (first, second)} == {expected}


async def test_runs_are_removed_in_bulk(client: Client) -> None:
    first, running = await ended(client), await started(client)

    removed = await client.ask("DELETE /api/workflow/bulk/remove", [first, running])
    both = await client.ask(
        "DELETE /api/workflow/bulk/terminate-remove?reason=enough", [first, running]
    )

    assert removed.json["bulkSuccessfulResults"] == [first]
    assert "Cannot archive workflow" in removed.json["bulkErrorResults"][running]
    assert both.json["bulkSuccessfulResults"] == [running]
    assert list(both.json["bulkErrorResults"]) == [first]


async def test_a_failed_run_is_retried_in_bulk(client: Client) -> None:
    workflow_id = await started(client)
    failed = report(await polled(client), "FAILED_WITH_TERMINAL_ERROR")
    await client.ask("POST /api/tasks", failed)

    answer = await client.ask("POST /api/workflow/bulk/retry", [workflow_id, workflow_id])

    assert answer.json["bulkSuccessfulResults"] == [workflow_id]
    assert workflow_id in answer.json["bulkErrorResults"], "the second finds it running"


@pytest.mark.parametrize("body", [[], ["x"] * 1_001, {"ids": []}, [1], None])
async def test_a_bulk_takes_1_to_1000_ids(client: Client, body: Any) -> None:
    answer = await client.ask("PUT /api/workflow/bulk/pause", body)

    assert answer.status == 400
    assert answer.json["validationErrors"]
