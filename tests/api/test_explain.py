"""What our own calls explain, over HTTP."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from batuta.core.definition.warning import Code as WarningCode
from batuta.runtime.definitions import WARNINGS_LOGGED_MAX
from batuta.runtime.engine import Engine
from batuta.runtime.why.cause import Code
from batuta.store.failing import Failing
from tests.api.client import Client
from tests.api.conftest import polled, report, simple, started


async def test_why_names_the_worker_that_holds_the_task(client: Client) -> None:
    run = await started(client)
    task = await polled(client)

    answer = await client.ask(f"GET /api/workflow/{run}/why")

    assert answer.status == 200
    body = answer.json
    assert set(body) == {"workflowId", "status", "summary", "causes", "omitted", "at"}
    assert (body["workflowId"], body["status"], body["omitted"]) == (run, "RUNNING", 0)
    [cause] = body["causes"]
    assert body["summary"] == cause["message"]
    assert cause["code"] == "LEASED"
    assert "worker 'me'" in cause["message"]
    assert (cause["taskId"], cause["reference"], cause["queue"]) == (task["taskId"], "a", "a")
    assert 0 < cause["since"] <= body["at"] < cause["until"]
    assert set(cause) == {
        *("code", "message", "taskId", "reference", "queue", "since", "until", "fix")
    }, "what is absent is left out"


async def test_the_fix_of_why_works_when_it_is_called(client: Client) -> None:
    run = await started(client, {"name": "h", "taskReferenceName": "h", "type": "HUMAN"})
    [cause] = (await client.ask(f"GET /api/workflow/{run}/why")).json["causes"]

    line = cause["fix"].split(",")[0]
    assert (await client.ask(line, {"approved": True})).status == 200

    [cause] = (await client.ask(f"GET /api/workflow/{run}/why")).json["causes"]
    assert (cause["code"], cause["message"]) == ("RUN_ENDED", "the run is COMPLETED")


async def test_the_fixes_of_a_paused_and_of_a_failed_run_work(client: Client) -> None:
    run = await started(client, simple("a"))
    await client.ask(f"PUT /api/workflow/{run}/pause")
    paused = (await client.ask(f"GET /api/workflow/{run}/why")).json["causes"][0]

    assert (await client.ask(paused["fix"])).status == 200
    await client.ask("POST /api/tasks", report(await polled(client), "FAILED_WITH_TERMINAL_ERROR"))
    failed = (await client.ask(f"GET /api/workflow/{run}/why")).json["causes"][0]
    assert (paused["code"], failed["code"]) == ("RUN_PAUSED", "RUN_ENDED")
    assert (await client.ask(failed["fix"].split("then ")[1])).status == 204
    open_again = (await client.ask(f"GET /api/workflow/{run}/why")).json
    assert (open_again["status"], open_again["causes"][0]["code"]) == ("RUNNING", "IN_QUEUE")


async def test_why_of_an_unknown_run_is_404(client: Client) -> None:
    answer = await client.ask("GET /api/workflow/no-such-run/why")

    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")


async def test_a_quarantined_row_is_shown_and_tried_again(client: Client, engine: Engine) -> None:
    wait = {"name": "w", "taskReferenceName": "w", "type": "WAIT"}
    run = await started(client, wait | {"inputParameters": {"duration": "2 days"}})
    store: Any = engine._store
    [(_, task_id, _)] = [key for key in store.state.timers if key[0] == run]
    at_ms = next(iter(store.state.timers.values()))
    row = Failing(
        workflow_id=run,
        kind="WAIT",
        task_id=task_id,
        mark=at_ms,
        attempts=1,
        error="boom",
        retry_at_ms=None,
    )
    assert await store.note_failure(row)

    shown = (await client.ask(f"GET /api/batuta/quarantine?workflowId={run}")).json
    other = (await client.ask("GET /api/batuta/quarantine?workflowId=other")).json
    why = (await client.ask(f"GET /api/workflow/{run}/why")).json["causes"][0]

    assert shown["quarantined"] == 1
    assert shown["rows"] == [
        {
            "workflowId": run,
            "kind": "WAIT",
            "taskId": task_id,
            "attempts": 1,
            "error": "boom",
            "isQuarantined": True,
            "retryAt": 0,
        }
    ]
    assert other == {"quarantined": 0, "rows": []}
    assert (await client.ask("GET /api/batuta/status")).json["quarantined"] == 1
    assert why["code"] == "QUARANTINED"
    assert (await client.ask(why["fix"].split(", or ")[1])).json == {"rearmed": 1}
    assert (await client.ask("GET /api/batuta/quarantine")).json == {"quarantined": 0, "rows": []}


async def test_what_events_have_published_is_read_behind_a_cursor(client: Client) -> None:
    told = {"name": "e", "taskReferenceName": "e", "type": "EVENT", "sink": "conductor:told"}
    run = await started(client, told | {"inputParameters": {"n": 1}})

    body = (await client.ask("GET /api/batuta/messages")).json
    named = (await client.ask("GET /api/batuta/messages?queue=conductor:w:told")).json
    other = (await client.ask("GET /api/batuta/messages?queue=conductor:w:other")).json
    after = (await client.ask(f"GET /api/batuta/messages?after={body['position']}")).json

    [message] = body["messages"]
    [task] = (await client.ask(f"GET /api/workflow/{run}")).json["tasks"]
    assert message["payload"] == task["outputData"]
    assert message["payload"]["event_produced"] == message["queue"] == "conductor:w:told"
    assert (message["messageId"], message["workflowId"]) == (task["taskId"], run)
    assert named == body
    assert other == after == {"position": body["position"], "messages": []}


async def test_lint_warns_of_a_registered_definition_and_of_unpolled_types(client: Client) -> None:
    switch = {"name": "s", "taskReferenceName": "s", "type": "SWITCH"} | {
        "evaluatorType": "value-param",
        "expression": "v",
        "inputParameters": {"v": "${workflow.input.v}"},
        "decisionCases": {"k": [simple("a")]},
    }
    await started(client, switch, simple("b"), body={"input": {"v": "k"}})
    await polled(client)

    answer = await client.ask("GET /api/batuta/lint/w")

    assert answer.status == 200
    body = answer.json
    assert (body["name"], body["version"]) == ("w", 1)
    assert [(one["path"], one["code"]) for one in body["warnings"]] == [
        ("tasks[0].defaultCase", "SWITCH_WITHOUT_DEFAULT"),
        ("tasks[1]", "NOBODY_POLLS"),
    ]
    assert all(set(one) == {"path", "code", "message"} for one in body["warnings"])
    assert (await client.ask("GET /api/batuta/lint/w?version=1")).json == body
    assert (await client.ask("GET /api/batuta/lint/w?version=2")).status == 404


async def test_a_registration_tells_the_log_a_bounded_number_of_warnings(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    open_cases = [
        {
            "name": "s",
            "taskReferenceName": f"s{number}\n",
            "type": "SWITCH",
            "evaluatorType": "value-param",
            "expression": "v",
            "inputParameters": {"v": "${workflow.input.v}"},
            "decisionCases": {"k": [simple(f"t{number}")]},
        }
        for number in range(WARNINGS_LOGGED_MAX + 5)
    ]

    await started(client, *open_cases, body={"input": {"v": "none"}})

    lines = [one.getMessage() for one in caplog.records if "definition" in one.name]
    assert len(lines) == WARNINGS_LOGGED_MAX + 1
    assert lines[0].startswith("definition 'w' version 1: SWITCH_WITHOUT_DEFAULT at 'tasks[0].def")
    assert lines[-1] == "definition 'w' version 1: and 5 more warnings"
    assert not any("\n" in line for line in lines), "names are as users gave them, a line is ours"


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "codes"),
    [("howto/why-is-my-run-not-moving.md", Code), ("reference/lint.md", WarningCode)],
    ids=["why", "lint"],
)
def test_a_page_explains_each_code(page: str, codes: type[StrEnum]) -> None:
    explained = re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)

    assert sorted(explained) == sorted(codes)
