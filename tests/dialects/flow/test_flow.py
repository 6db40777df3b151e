"""The flow builder, by the numbers of its acceptance scenarios (S0.9)."""

import asyncio
import re
from typing import Any

import pytest

from batuta.model.command import PauseWorkflow, TerminateWorkflow
from tests.dialects.conftest import Served, memory, served
from tests.dialects.flow.flows import (
    NodeError,
    boom,
    doing,
    echo,
    ended,
    node,
    outputs,
    records,
    ref,
    started,
    status,
)

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


async def test_s0_01_a_run_completes_and_is_in_the_history_though_nobody_polled(
    server: Served,
) -> None:
    async with doing(server, echo=echo):
        body = {"nodes": [node("a", text="Once upon a time")], "workflowName": "Tale"}
        answer = await server.ask("POST /workflow/run", body)
        assert answer.status == 200
        workflow_id = answer.json["workflowId"]
        assert answer.json == {
            "success": True,
            "workflowId": workflow_id,
            "message": "Workflow queued for execution",
        }
        await server.ended(workflow_id)

    [record] = await records(server)
    result = {
        "nodeId": "a",
        "nodeType": "echo",
        "success": True,
        "data": {"type": "echo", "output": {"text": "Once upon a time", "nodeType": "echo"}},
    }
    assert record["durationMs"] > 0
    assert re.fullmatch(ISO, record["startTime"])
    assert re.fullmatch(ISO, record["endTime"])
    for name in ("durationMs", "startTime", "endTime"):
        del record[name]
    assert record == {
        "workflowId": workflow_id,
        "workflowName": "Tale",
        "status": "completed",
        "nodeCount": 1,
        "results": [result],
    }
    assert await status(server, workflow_id) == {
        "status": "completed",
        "currentNodeId": None,
        "nodeStatuses": [{"id": "a", "status": "completed"}],
        "results": [result],
        "error": None,
    }
    results = await server.ask(f"GET /workflow/{workflow_id}/results")
    assert results.json == {"status": "completed", "results": [result]}


async def test_s0_03_a_reference_carries_the_image_to_the_next_node(server: Served) -> None:
    async def picture(given: dict[str, Any]) -> dict[str, Any]:
        return {"imageUrl": "http://media/1.png", "nodeType": given["nodeType"]}

    async with doing(server, picture=picture, echo=echo):
        found = await ended(
            server, node("img", "picture"), node("vid", imageUrl=ref("img", "imageUrl"))
        )

    assert outputs(found)[1] == {"imageUrl": "http://media/1.png", "nodeType": "echo"}


async def test_s0_03_references_are_resolved_at_any_depth_and_in_lists(server: Served) -> None:
    deep = {"one": [{"two": ref("a", "b.c[1]")}, ref("a", "odd key's")], "plain": "${x} $${y}"}
    first = node("a", **{"b": {"c": [1, 2]}, "odd key's": 3})

    async with doing(server, echo=echo):
        found = await ended(server, first, node("z", **deep))

    expected = {"one": [{"two": 2}, 3], "plain": "${x} $${y}", "nodeType": "echo"}
    assert outputs(found)[1] == expected


@pytest.mark.parametrize(
    "reference",
    [
        ref("nobody", "text"),
        ref("a", ""),
        ref("a", None),
        ref(None, "text"),
        ref("b", "text"),  # itself
        ref("c", "text"),  # behind it
        ref("a", "nothing"),
        {"_type": "reference"},
    ],
)
async def test_s0_03_a_reference_to_nothing_is_null(
    server: Served, reference: dict[str, Any]
) -> None:
    async with doing(server, echo=echo):
        found = await ended(
            server, node("a", text="t"), node("b", value=reference), node("c", text="u")
        )

    assert outputs(found)[1] == {"value": None, "nodeType": "echo"}


async def test_s0_03_nodes_run_in_the_order_of_their_list(server: Served) -> None:
    seen: list[str] = []

    async def note(given: dict[str, Any]) -> dict[str, Any]:
        seen.append(given["nodeId"])
        await asyncio.sleep(0)
        return {}

    async with doing(server, note=note):
        await ended(server, *(node(name, "note") for name in "zyxwv"))

    assert seen == list("zyxwv")


async def test_s0_03_a_task_gets_the_original_s_input(server: Served) -> None:
    given: list[Any] = []

    async def keep(task_input: dict[str, Any]) -> dict[str, Any]:
        given.append(task_input)
        return {}

    execution = {"mode": "sequential", "waitForAll": True, "aggregateItems": False}
    async with doing(server, keep=keep):
        found = await ended(
            server,
            node("n", "keep", more={"title": "1. ${x}", "status": "not_run"}, a=1),
            node("m", "keep", more={"execution": execution, "config": None}),
        )

    assert given == [
        {"nodeId": "n", "nodeType": "keep", "config": {"a": 1}, "execution": {}},
        {"nodeId": "m", "nodeType": "keep", "config": {}, "execution": execution},
    ]
    assert outputs(found)[0] == {"nodeType": "keep"}  # put there where a worker does not


async def test_s0_04_a_failing_node_fails_the_run_with_its_text(server: Served) -> None:
    async with doing(server, echo=echo, boom=boom):
        workflow_id = await started(
            server, node("a"), node("b", "boom", text="answered 422"), node("c")
        )
        await server.ended(workflow_id)

    found = await status(server, workflow_id)
    assert found["status"] == "failed"
    assert found["nodeStatuses"] == [
        {"id": "a", "status": "completed"},
        {"id": "b", "status": "failed"},
        {"id": "c", "status": "pending"},
    ]
    assert "422" in found["error"]
    failed = {"nodeId": "b", "nodeType": "boom", "success": False, "error": "answered 422"}
    assert found["results"][1:] == [failed]
    [record] = await records(server)
    assert (record["status"], record["nodeCount"]) == ("failed", 2)
    assert [one["success"] for one in record["results"]] == [True, False]
    results = (await server.ask(f"GET /workflow/{workflow_id}/results")).json
    assert results["results"][2] == {"nodeId": "c", "nodeType": "echo", "success": False}


@pytest.mark.parametrize(
    "body", [{}, {"nodes": None}, {"nodes": []}, {"nodes": "x"}, {"nodes": {"a": 1}}, [], None, 7]
)
async def test_s0_05_a_body_without_nodes_is_refused_in_the_exact_words(
    server: Served, body: Any
) -> None:
    answer = await server.ask("POST /workflow/run", body)

    assert (answer.status, answer.json) == (400, {"error": "Nodes array is required"})


async def test_s0_06_an_unknown_run_is_not_found_in_the_exact_words(server: Served) -> None:
    unknown = "01a1f8aa-1d0f-7001-b999-f78a867efdfd"
    for path, text in (
        ("status", "Workflow execution not found"),
        ("results", "Workflow not found"),
    ):
        for workflow_id in (unknown, "no-id", "%2e%2e%2fetc"):
            answer = await server.ask(f"GET /workflow/{workflow_id}/{path}")
            assert (answer.status, answer.json) == (404, {"error": text})
    answer = await server.ask(f"POST /workflow/{unknown}/cancel", {})
    assert (answer.status, answer.json) == (404, {"error": "Workflow execution not found"})


async def test_s0_06_a_run_of_another_front_door_is_not_ours(server: Served) -> None:
    answer = await server.ask("POST /workflows/sample-user-signup/trigger", {"payload": {}})
    other = answer.json["instanceId"]

    assert (await server.ask(f"GET /workflow/{other}/status")).status == 404
    assert (await server.ask(f"POST /workflow/{other}/cancel")).status == 404


async def test_s0_10_two_backends_do_every_task_of_twenty_workflows_once(server: Served) -> None:
    polled: dict[str, list[str]] = {"worker-1": [], "worker-2": []}
    left = 40

    async def backend(worker_id: str) -> None:
        """Poll as the original does: a parameter in small letters, one task at a time."""
        nonlocal left
        while left:
            line = f"GET /api/tasks/poll/work?workerid={worker_id}"
            answer = await server.ask(line)
            if answer.status == 204:
                await asyncio.sleep(0)
                continue
            task = answer.json
            polled[worker_id].append(task["taskId"])
            report = {
                "taskId": task["taskId"],
                "workflowInstanceId": task["workflowInstanceId"],
                "status": "COMPLETED",
                "outputData": {"n": len(polled[worker_id]), "nodeType": "work"},
                "reasonForIncompletion": None,
                "workerId": worker_id,
            }
            assert (await server.ask("POST /api/tasks", report)).status == 200
            left -= 1

    await server.ask("GET /api/tasks/poll/work?workerid=worker-1")
    ids = [await started(server, node("a", "work"), node("b", "work")) for _ in range(20)]
    async with asyncio.timeout(20):
        await asyncio.gather(*map(backend, polled))

    done = [task_id for one in polled.values() for task_id in one]
    assert len(done) == len(set(done)) == 40
    assert [(await status(server, one))["status"] for one in ids] == ["completed"] * 20


async def test_s0_17_the_word_of_a_run_and_its_nodes_in_every_state(server: Served) -> None:
    await server.ask("GET /api/tasks/poll/slow")
    workflow_id = await started(server, node("a", "slow"), node("b", "slow"))

    async def words() -> tuple[Any, ...]:
        found = await status(server, workflow_id)
        return (
            found["status"],
            found["currentNodeId"],
            *(one["status"] for one in found["nodeStatuses"]),
        )

    assert await words() == ("running", None, "pending", "pending")
    [polled] = await server.engine.poll("slow")
    assert await words() == ("running", "a", "running", "pending")
    await server.engine.control(PauseWorkflow(workflow_id=workflow_id))
    assert await words() == ("pending", "a", "running", "pending")
    assert polled.task.reference_name == "node_1"
    await server.engine.control(TerminateWorkflow(workflow_id=workflow_id, reason="enough"))
    assert await words() == ("failed", None, "failed", "pending")
    assert (await status(server, workflow_id))["results"][0]["error"] == "enough"


async def test_s0_17_a_node_that_takes_too_long_has_failed(server: Served) -> None:
    held = asyncio.Event()

    async def slow(_: dict[str, Any]) -> dict[str, Any]:
        await held.wait()
        return {}

    async with doing(server, slow=slow):
        found = await ended(server, node("a", "slow", more={"timeoutSeconds": 1}))
        held.set()

    assert (found["status"], found["nodeStatuses"][0]["status"]) == ("failed", "failed")
    assert found["error"]
    assert found["results"][0]["success"] is False


async def test_s0_17_a_skipped_node_has_completed(server: Served) -> None:
    await server.ask("GET /api/tasks/poll/held")
    async with doing(server, echo=echo):
        workflow_id = await started(server, node("a", "held"), node("b"), node("c"))
        skipped = await server.ask(f"PUT /api/workflow/{workflow_id}/skiptask/node_2", {})
        assert skipped.status == 200
        [polled] = await server.engine.poll("held")
        report = {"taskId": polled.task.task_id, "workflowInstanceId": workflow_id}
        await server.ask("POST /api/tasks", {**report, "status": "COMPLETED"})
        await server.ended(workflow_id)

    found = await status(server, workflow_id)
    assert found["status"] == "completed"
    assert [one["status"] for one in found["nodeStatuses"]] == ["completed"] * 3


async def test_s0_17_cancelling_ends_a_run_once(server: Served) -> None:
    await server.ask("GET /api/tasks/poll/slow")
    workflow_id = await started(server, node("a", "slow"))

    for _ in range(2):
        answer = await server.ask(f"POST /workflow/{workflow_id}/cancel", {"reason": "no more"})
        assert (answer.status, answer.json) == (200, {"success": True})

    found = await status(server, workflow_id)
    assert (found["status"], found["error"]) == ("failed", "no more")
    [record] = await records(server)
    assert record["status"] == "failed"
    run = (await server.ask(f"GET /api/workflow/{workflow_id}")).json
    assert run["status"] == "TERMINATED"


async def test_s0_17_a_run_that_has_ended_is_not_cancelled(server: Served) -> None:
    async with doing(server, echo=echo):
        workflow_id = await started(server, node("a"))
        await server.ended(workflow_id)

    answer = await server.ask(f"POST /workflow/{workflow_id}/cancel")

    assert (answer.status, answer.json) == (409, {"error": "Workflow has ended: completed"})


@pytest.mark.parametrize("path", ["/health", "/d/flow/health", "/api/health"])
async def test_s0_19_health_is_what_every_reader_of_it_expects(server: Served, path: str) -> None:
    answer = await server.ask(f"GET {path}")

    assert answer.status == 200
    found = answer.json
    assert found["healthy"] is True
    assert (found["status"], found["service"]) == ("ok", "workflow-backend")
    assert found["conductorUrl"] == "http://localhost:8080/api"
    assert found["timestamp"]


async def test_every_path_is_there_under_the_front_door_s_own_name(server: Served) -> None:
    async with doing(server, echo=echo):
        answer = await server.ask("POST /d/flow/workflow/run", {"nodes": [node("a")]})
        workflow_id = answer.json["workflowId"]
        await server.ended(workflow_id)

    for path in (f"{workflow_id}/status", f"{workflow_id}/results", "history", "flows"):
        assert (await server.ask(f"GET /d/flow/workflow/{path}")).status == 200


async def test_a_node_is_tried_again_as_often_as_it_says(server: Served) -> None:
    calls = 0

    async def flaky(_: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise NodeError("not yet")
        return {"calls": calls}

    retry = {"count": 2, "delaySeconds": 0, "backoff": "exponential"}
    async with doing(server, flaky=flaky, boom=boom):
        found = await ended(server, node("a", "flaky", more={"retry": retry}))
        once = await ended(server, node("a", "boom"))

    assert outputs(found) == [{"calls": 3, "nodeType": "flaky"}]
    assert once["status"] == "failed"
    counts = [record["nodeCount"] for record in await records(server)]
    assert counts == [1, 3]


async def test_what_is_null_is_absent(server: Served) -> None:
    execution = {"mode": None, "waitForAll": None, "aggregateItems": None}
    nulls = {"execution": execution, "config": None, "timeoutSeconds": None, "title": None}
    retry = {"count": None, "delaySeconds": None, "backoff": None}
    async with doing(server, echo=echo):
        found = await ended(
            server,
            node("a", more={**nulls, "retry": retry}),
            node("b", more={"retry": None, "execution": None}),
            workflowName=None,
            callbackUrl=None,
        )

    assert found["status"] == "completed"


async def test_a_node_type_s_task_definition_is_registered_and_one_s_own_is_kept(
    server: Served,
) -> None:
    own = {"name": "boom", "retryCount": 1, "retryDelaySeconds": 0}
    await server.ask("POST /api/metadata/taskdefs", [own])

    async with doing(server, echo=echo, boom=boom):
        await ended(server, node("a"), node("b", "boom"))

    made = (await server.ask("GET /api/metadata/taskdefs/echo")).json
    expected = {
        "name": "echo",
        "description": "Flow Builder task: echo",
        "retryCount": 0,
        "timeoutSeconds": 3600,
        "responseTimeoutSeconds": 3600,
        "inputKeys": ["config", "nodeId", "nodeType"],
        "outputKeys": [],
    }
    assert {name: made[name] for name in expected} == expected
    assert (await server.ask("GET /api/metadata/taskdefs/boom")).json["retryCount"] == 1
    [record] = await records(server)
    assert record["nodeCount"] == 3


async def test_nodes_that_differ_in_their_texts_alone_are_one_definition(server: Served) -> None:
    lists = (
        [node("a", text="x")],
        [node("a", text="y")],
        [node("a", text="y"), node("b", text=ref("a", "text"), more_of_it=1)],
        [node("a", text="z"), node("b", text=ref("a", "text"), more_of_it=2)],
        [node("a", text="z"), node("b", text=ref("a", "others"), more_of_it=2)],
    )
    async with doing(server, echo=echo):
        found = [
            await started(server, *nodes, workflowName=f"of {nodes!r}"[:50]) for nodes in lists
        ]
        for one in found:
            await server.ended(one)

    runs = [(await server.ask(f"GET /api/workflow/{one}")).json for one in found]
    names = [run["workflowName"] for run in runs]
    assert re.fullmatch(r"flow_builder_[0-9a-f]{32}", names[0])
    assert names[0] == names[1] != names[2]
    assert names[2] == names[3] != names[4]
    [task] = runs[1]["tasks"]
    assert (task["referenceTaskName"], task["taskType"]) == ("node_1", "echo")
    assert task["inputData"]["config"] == {"text": "y"}
    assert runs[3]["tasks"][1]["inputData"]["config"] == {"text": "z", "more_of_it": 2}
    assert [record["workflowName"] for record in await records(server)] == [
        f"of {nodes!r}"[:50] for nodes in reversed(lists)
    ]


async def test_a_restart_between_any_two_answers_changes_nothing() -> None:
    store = memory()  # all that the second server knows
    async with served(store) as first, doing(first, echo=echo):
        workflow_id = await started(first, node("a"), node("b", v=ref("a", "nodeType")))
        await first.ended(workflow_id)
        paths = (f"{workflow_id}/status", f"{workflow_id}/results", "history")
        before = [(await first.ask(f"GET /workflow/{path}")).body for path in paths]

    async with served(store) as second:
        after = [(await second.ask(f"GET /workflow/{path}")).body for path in paths]

    assert after == before
    await store.close()
