"""The step orchestrator, by the numbers of its acceptance scenarios (S3.8)."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from batuta.store.sqlite import SqliteStore
from tests.dialects.conftest import Served, memory, served

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
USER = {"email": "ada@example.com", "password": "secret", "plan": "free"}
PROCESS: dict[str, Any] = {
    "name": "User Signup Process",
    "description": "Handles a registration.",
    "startAt": "validateUserInput",
    "steps": {
        "validateUserInput": {
            "id": "validateUserInput",
            "name": "Validate User Input Data",
            "type": "function",
            "functionName": "validateUserData",
            "inputPath": ".initialPayload",
            "resultPath": ".validationOutput",
            "nextStepId": "createUserRecord",
        },
        "createUserRecord": {
            "id": "createUserRecord",
            "name": "Create User in Database",
            "type": "function",
            "functionName": "createUserInDB",
            "inputPath": ".validationOutput",
            "resultPath": ".userRecord",
            "nextStepId": "sendWelcomeNotification",
        },
        "sendWelcomeNotification": {
            "id": "sendWelcomeNotification",
            "name": "Send Welcome Email",
            "type": "function",
            "functionName": "sendWelcomeEmail",
            "inputPath": ".userRecord",
            "resultPath": ".emailStatus",
            "nextStepId": None,
        },
    },
}


def steps(*functions: str, **fields: Any) -> dict[str, Any]:
    """Return a chain of steps a, b, c ... that call functions; ``fields`` are by step."""
    names = [chr(ord("a") + place) for place in range(len(functions))]
    made = {
        name: {
            "functionName": function,
            "nextStepId": following,
            **fields.get(name, {}),
        }
        for name, function, following in zip(names, functions, [*names[1:], None], strict=True)
    }
    return {"name": "chain", "startAt": "a", "steps": made}


async def started(server: Served, definition: dict[str, Any], payload: Any = None) -> str:
    """Register a definition and trigger it by name; return the instance's id."""
    made = await server.ask("POST /workflows/definitions", definition)
    assert made.status in {201, 409}, made.body
    line = f"POST /workflows/{quote(definition['name'])}/trigger"
    answer = await server.ask(line, {"payload": payload or {}})
    assert answer.status == 202, answer.body
    return str(answer.json["instanceId"])


async def ended(server: Served, instance_id: str) -> Any:
    """Return an instance that has ended."""
    await server.ended(instance_id)
    found = (await server.ask(f"GET /workflows/instances/{instance_id}")).json
    assert found["status"] in ENDED
    return found


async def run(server: Served, definition: dict[str, Any], payload: Any = None) -> Any:
    """Run a definition to its end."""
    return await ended(server, await started(server, definition, payload))


async def test_s3_01_the_document_s_own_example_is_kept(server: Served) -> None:
    answer = await server.ask("POST /workflows/definitions", PROCESS)
    assert answer.status == 201
    assert {k: v for k, v in answer.json.items() if k != "id"} == PROCESS
    read = await server.ask(f"GET /workflows/definitions/{answer.json['id']}")
    assert read.json == answer.json


async def test_s3_01_the_shared_example_file_is_kept_verbatim(
    server: Served, shared_data: Path
) -> None:
    body = json.loads((shared_data / "s3" / "readme-user-signup-process.json").read_text("utf-8"))
    answer = await server.ask("POST /workflows/definitions", body)
    assert answer.status == 201
    assert (await run(server, body, USER))["status"] == "COMPLETED"


async def test_s3_02_it_is_triggered_by_name_and_completes(server: Served) -> None:
    await server.ask("POST /workflows/definitions", PROCESS)
    answer = await server.ask("POST /workflows/User%20Signup%20Process/trigger", {"payload": USER})
    assert (answer.status, answer.json["status"]) == (202, "PENDING")
    assert answer.json["currentPayload"] == answer.json["initialPayload"] == USER

    found = await ended(server, answer.json["instanceId"])
    assert found["status"] == "COMPLETED"
    payload = found["currentPayload"]
    assert payload["validationOutput"]["validated"] is True
    assert payload["userRecord"]["userId"].startswith("user_")
    assert payload["emailStatus"]["emailSent"] is True
    assert found["currentStepId"] is None
    assert found["endedAt"] >= found["startedAt"]


async def test_s3_03_the_sample_is_loaded_and_runs_by_id_and_by_name(server: Served) -> None:
    listed = (await server.ask("GET /workflows/definitions")).json
    assert [one["id"] for one in listed] == ["sample-user-signup"]
    for wanted in ("sample-user-signup", "Sample%20User%20Signup%20Workflow"):
        answer = await server.ask(f"POST /workflows/{wanted}/trigger", {"payload": USER})
        found = await ended(server, answer.json["instanceId"])
        assert [record["status"] for record in found["history"]] == ["SUCCESS"] * 4
        assert found["workflowDefinitionId"] == "sample-user-signup"


async def test_s3_03_a_definition_is_triggered_by_the_id_it_was_given(server: Served) -> None:
    made = await server.ask("POST /workflows/definitions", PROCESS)
    answer = await server.ask(f"POST /workflows/{made.json['id']}/trigger", {"payload": USER})
    assert answer.status == 202
    found = await ended(server, answer.json["instanceId"])
    assert found["workflowDefinitionName"] == PROCESS["name"]


async def test_s3_04_a_failing_step_ends_the_instance_with_its_text(server: Served) -> None:
    found = await run(server, PROCESS, {"email": "a@example.com"})
    assert found["status"] == "FAILED"
    [record] = found["history"]
    text = "Validation Error: Email and password are required."
    assert (record["status"], record["error"]) == ("ERROR", text)
    assert found["error"] == f"Error in step Validate User Input Data: {text}"
    assert found["currentStepId"] == "validateUserInput"


async def test_s3_05_a_path_names_an_earlier_step_s_output(server: Served) -> None:
    definition = steps(
        *("validateUserData", "createUserInDB", "logAnalytics"),
        a={"resultPath": "$.x"},
        b={"inputPath": "$.x"},
        c={"inputPath": "$.steps.a.output", "resultPath": "$.last"},
    )
    found = await run(server, definition, USER)
    assert found["history"][2]["input"] == found["history"][0]["output"]
    assert found["currentPayload"]["last"]["analyticsLogged"] is True


@pytest.mark.parametrize(
    ("path", "value"),
    [("$.initialPayload.data", {"k": 1}), (".initialPayload", {"data": {"k": 1}})],
)
async def test_s3_06_the_trigger_s_payload_stays_in_reach(
    server: Served, path: str, value: Any
) -> None:
    definition = steps("logAnalytics", "logAnalytics", b={"inputPath": path})
    definition["steps"]["a"] |= {"inputPath": "$.nothing", "resultPath": "$.data"}
    found = await run(server, definition, {"data": {"k": 1}})
    assert found["history"][1]["input"] == value


async def test_s3_07_results_are_laid_over_put_in_place_or_into_depth() -> None:
    own = {"seven": lambda _: 7, "pair": lambda _: {"b": 2}, "see": lambda given: {"saw": given}}
    store = memory()
    async with served(store, functions=own) as server:
        merged = await run(server, {**steps("pair"), "name": "merge"}, {"a": 1})
        assert merged["currentPayload"] == {"a": 1, "b": 2}
        replaced = await run(server, {**steps("seven", "see"), "name": "replace"}, {"a": 1})
        assert replaced["history"][1]["input"] == 7
        assert replaced["currentPayload"] == {"saw": 7}
        deep = {**steps("seven", a={"resultPath": "$.a.b.c"}), "name": "deep"}
        assert (await run(server, deep, {"a": 1}))["currentPayload"] == {"a": {"b": {"c": 7}}}


async def test_s3_08_definitions_are_made_read_changed_and_removed(server: Served) -> None:
    made = await server.ask("POST /workflows/definitions", PROCESS)
    where = f"/workflows/definitions/{made.json['id']}"
    assert made.status == 201
    assert (await server.ask("POST /workflows/definitions", PROCESS)).json == {
        "message": 'Workflow definition with name "User Signup Process" already exists.',
        "error": "Conflict",
        "statusCode": 409,
    }
    changed = await server.ask(f"PUT {where}", {"name": "Renamed", "description": "new"})
    assert (changed.status, changed.json["id"]) == (200, made.json["id"])
    assert changed.json["steps"] == PROCESS["steps"]
    assert (await server.ask("GET /workflows/definitions")).json[-1]["name"] == "Renamed"
    assert (await server.ask(f"DELETE {where}")).status == 204
    gone = await server.ask(f"DELETE {where}")
    assert gone.status == 404
    assert gone.json["message"].endswith("not found for deletion.")
    assert (await server.ask(f"GET {where}")).status == 404
    assert (await server.ask(f"PUT {where}", {"name": "x"})).status == 404
    assert (await server.ask("POST /workflows/Renamed/trigger", {})).status == 404


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": None}, "name must be a string"),
        ({"name": "  "}, "name should not be empty"),
        ({"startAt": 5}, "startAt must be a string"),
        ({"steps": {}}, "steps must be an object with at least one step"),
        ({"steps": {"a": {}}}, "steps.a.functionName must be a string"),
        ({"steps": {"a": {"functionName": "f", "x": 1}}}, "steps.a.x should not exist"),
        ({"steps": {"a": {"functionName": "f", "type": "map"}}}, "steps.a.type must be 'function'"),
        ({"more": 1}, "more should not exist"),
        ({"startAt": "z"}, "startAt names no step: 'z'"),
        (
            {"steps": {"a": {"functionName": "f", "nextStepId": "q"}}},
            "steps.a.nextStepId names no step: 'q'",
        ),
        ({"name": "01a1f8aa-1d0f-7001-b999-f78a867efdfd"}, "name looks like an id; choose another"),
    ],
)
async def test_s3_09_a_definition_that_cannot_run_is_refused(
    server: Served, change: dict[str, Any], told: str
) -> None:
    body = {"name": "n", "startAt": "a", "steps": {"a": {"functionName": "f"}}, **change}
    answer = await server.ask("POST /workflows/definitions", body)
    assert (answer.status, answer.json["error"]) == (400, "Bad Request")
    assert any(one.startswith(told) for one in answer.json["message"])
    assert len((await server.ask("GET /workflows/definitions")).json) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"payload": "text"}, "payload must be an object"),
        ({"payload": [1]}, "payload must be an object"),
        ({"other": 1}, "property other should not exist"),
    ],
)
async def test_s3_09_a_trigger_that_says_something_else_is_refused(
    server: Served, body: Any, told: str
) -> None:
    answer = await server.ask("POST /workflows/sample-user-signup/trigger", body)
    assert (answer.status, answer.json["message"]) == (400, [told])


async def test_s3_10_an_unknown_function_fails_with_the_known_text(server: Served) -> None:
    found = await run(server, steps("nobody"))
    text = 'Simulated function "nobody" not found or not a function.'
    assert found["error"] == f"Error in step a: {text}"


async def test_s3_13_after_a_kill_it_goes_on_where_it_was(tmp_path: Path) -> None:
    calls: list[str] = []
    own = {"one": lambda _: calls.append("one"), "two": lambda _: calls.append("two")}
    path = str(tmp_path / "batuta.db")
    store = await SqliteStore.open(path)
    async with served(store, has_workers=False, functions=own) as server:
        instance_id = await started(server, steps("one", "two"))
        [polled] = await server.engine.poll("steps.function", wait_ms=2_000)
        assert polled.task.reference_name == "a"
    await store.close()

    store = await SqliteStore.open(path)
    async with served(store, functions=own) as server:
        lease = polled.lease
        from batuta.model.command import UpdateTask
        from batuta.model.execution import TaskStatus
        from batuta.model.payload import Payload

        done = Payload.of({"input": {}, "output": 1, "status": "SUCCESS", "state": {"payload": {}}})
        await server.engine.update(
            UpdateTask(
                workflow_id=lease.workflow_id,
                task_id=lease.task_id,
                status=TaskStatus.COMPLETED,
                output=done,
            )
        )
        found = await ended(server, instance_id)
        listed = (await server.ask("GET /workflows/definitions")).json
    await store.close()
    assert found["status"] == "COMPLETED"
    assert calls == ["two"], "what was committed is not done again"
    assert sorted(one["name"] for one in listed) == ["Sample User Signup Workflow", "chain"]


async def test_s3_14_a_burst_of_triggers_ends(server: Served) -> None:
    ids = [await started(server, steps("logAnalytics")) for _ in range(100)]
    found = [await ended(server, one) for one in ids]
    assert {one["status"] for one in found} == {"COMPLETED"}


async def test_s3_15_an_unknown_instance_is_not_found(server: Served) -> None:
    plain = await server.ask("GET /workflows/instances/01a1f8aa-1d0f-7001-b999-f78a867efdfd")
    assert (plain.status, plain.json["statusCode"]) == (404, 404)


async def test_s3_16_an_instance_keeps_the_definition_it_began_with() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        made = await server.ask("POST /workflows/definitions", steps("logAnalytics", "nobody"))
        answer = await server.ask("POST /workflows/chain/trigger", {})
        shorter = {"steps": steps("logAnalytics")["steps"]}
        assert (
            await server.ask(f"PUT /workflows/definitions/{made.json['id']}", shorter)
        ).status == 200
    async with served(store) as server:
        found = await ended(server, answer.json["instanceId"])
        assert [record["functionName"] for record in found["history"]] == ["logAnalytics", "nobody"]


async def test_s3_17_steps_that_lead_back_end_at_a_limit(server: Served) -> None:
    definition = steps("logAnalytics", "logAnalytics", "logAnalytics", c={"nextStepId": "b"})
    found = await run(server, definition)
    assert found["status"] == "FAILED"
    assert found["error"].startswith("Transition limit of 1000 reached")


async def test_an_instance_is_a_workflow_too(server: Served) -> None:
    instance_id = await started(server, steps("logAnalytics"))
    await ended(server, instance_id)
    shown = (await server.ask(f"GET /api/workflow/{instance_id}")).json
    assert (shown["status"], shown["workflowName"]) == ("COMPLETED", "chain")
    assert [task["referenceTaskName"] for task in shown["tasks"]] == ["a"]


async def test_ids_that_are_no_reference_names_run_too(server: Served) -> None:
    odd = {
        "a b": {"functionName": "logAnalytics", "nextStepId": "x__1"},
        "x__1": {"functionName": "logAnalytics", "nextStepId": "step0"},
        "step0": {"functionName": "logAnalytics", "name": "${workflow.input}"},
    }
    found = await run(server, {"name": "odd", "startAt": "a b", "steps": odd})
    assert [one["stepId"] for one in found["history"]] == ["a b", "x__1", "step0"]
