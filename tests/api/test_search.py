"""Search over HTTP: what is found, how it is shown, and how a wrong wish is refused."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from batuta.api.summary import PRINTED_BYTES_MAX, java_text
from batuta.runtime.engine import Engine
from batuta.store.query.parse import DEPTH_MAX, QUERY_CHARACTERS_MAX, SORT_KEYS_MAX, VALUES_MAX
from batuta.store.query.tree import FIELDS, PAGE_SIZE_MAX, START_MAX, Subject
from tests.api.client import Answer, Client
from tests.api.conftest import names, polled, report, simple, started, workflow

WORKFLOWS = "/api/workflow/search"
TASKS = "/api/tasks/search"


async def search(client: Client, path: str, query: str = "", **more: Any) -> dict[str, Any]:
    """Search, which must be answered; give the page."""
    answer = await asked(client, path, query, **more)
    assert answer.status == 200, answer.body
    page: dict[str, Any] = answer.json
    return page


async def asked(client: Client, path: str, query: str = "", **more: Any) -> Answer:
    """Search; give the answer as it is."""
    wish = {"query": query, **more}
    return await client.ask(
        f"GET {path}?" + "&".join(f"{name}={quote(str(value))}" for name, value in wish.items())
    )


async def a_failed_and_a_running(client: Client) -> tuple[str, str]:
    """Start two runs, of which the first fails."""
    body = {"input": {"a": 1, "b": [None, True, "x"]}, "correlationId": "c 1", "priority": 3}
    failed = await started(client, body=body)
    task = await polled(client)
    reason = "out of stock"
    done = report(task, "FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion=reason)
    await client.ask("POST /api/tasks", done)
    running = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()
    return failed, running


async def test_a_summary_is_conductors(client: Client) -> None:
    """semantics a.7."""
    failed, _ = await a_failed_and_a_running(client)
    shown = (await client.ask(f"GET /api/workflow/{failed}")).json

    page = await search(client, WORKFLOWS, "status=FAILED AND correlationId='c 1'")

    assert set(page) == {"totalHits", "results"}
    assert page["totalHits"] == 1
    [one] = page["results"]
    times = {name: one.pop(name) for name in ("startTime", "updateTime", "endTime")}
    assert all(len(time) == 24 and time.endswith("Z") for time in times.values()), times
    assert one == {
        "workflowType": "w",
        "version": 1,
        "workflowId": failed,
        "correlationId": "c 1",
        "status": "FAILED",
        "input": "{a=1, b=[null, true, x]}",
        "output": "{}",
        "inputSize": 24,
        "outputSize": 2,
        "reasonForIncompletion": shown["reasonForIncompletion"],
        "executionTime": shown["endTime"] - shown["startTime"],
        "failedReferenceTaskNames": "a",
        "failedTaskNames": ["a"],
        "priority": 3,
        "taskToDomain": {},
        "parentWorkflowId": "",
        "classifier": "workflow",
    }


async def test_whole_runs_are_found_without_their_tasks(client: Client) -> None:
    failed, _ = await a_failed_and_a_running(client)
    shown = (await client.ask(f"GET /api/workflow/{failed}?includeTasks=false")).json

    page = await search(client, f"{WORKFLOWS}-v2", "status=FAILED")

    assert page == {"totalHits": 1, "results": [shown]}


async def test_runs_are_found_by_their_tasks(client: Client) -> None:
    failed, running = await a_failed_and_a_running(client)

    summaries = await search(client, f"{WORKFLOWS}-by-tasks", "status=SCHEDULED AND taskType=a")
    whole = await search(client, f"{WORKFLOWS}-by-tasks-v2", "reasonForIncompletion=out*")

    assert names(summaries["results"], "workflowId") == [running]
    assert names(whole["results"], "workflowId") == [failed]


async def test_tasks_are_found_as_they_are_shown(client: Client) -> None:
    failed, running = await a_failed_and_a_running(client)
    task = await polled(client)
    shown = (await client.ask(f"GET /api/tasks/{task['taskId']}")).json

    [held] = (await search(client, f"{TASKS}-v2", "status=IN_PROGRESS"))["results"]
    [ended] = (await search(client, TASKS, f"workflowId={failed}"))["results"]

    assert held == shown
    assert held["workflowInstanceId"] == running
    assert (ended["status"], ended["taskDefName"], ended["workflowType"]) == (
        "FAILED_WITH_TERMINAL_ERROR",
        "a",
        "w",
    )
    assert ended["input"] == "{}"
    assert ended["executionTime"] >= 0
    assert ended["endTime"] > ended["scheduledTime"][:10]


async def test_a_join_under_way_is_found_with_what_it_has_gathered(client: Client) -> None:
    fork = {
        "name": "f",
        "taskReferenceName": "f",
        "type": "FORK_JOIN",
        "forkTasks": [[simple("a")], [simple("b")]],
    }
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b"]}
    await started(client, fork, join)
    await client.ask("POST /api/tasks", report(await polled(client), outputData={"x": 1}))

    [found] = (await search(client, f"{TASKS}-v2", "taskType=JOIN"))["results"]

    assert found["outputData"] == {"a": {"x": 1}}


async def test_the_pages_of_a_search_hold_every_run_once(client: Client) -> None:
    await started(client)
    for _ in range(4):
        await client.ask("POST /api/workflow", {"name": "w"})

    pages = [
        await search(client, WORKFLOWS, "", start=start, size=2, sort="startTime:ASC")
        for start in (0, 2, 4, 6)
    ]

    found = [one["workflowId"] for page in pages for one in page["results"]]
    assert (len(found), len(set(found))) == (5, 5)
    assert names(pages, "totalHits") == [5, 5, 5, 5]


async def test_top_level_only_leaves_sub_workflows_out(client: Client) -> None:
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("a"), name="child")])
    child = {"name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW"}
    parent = await started(client, {**child, "subWorkflowParam": {"name": "child"}})

    every = await search(client, WORKFLOWS, "workflowType=w OR workflowType=child")
    top = await search(client, WORKFLOWS, "workflowType IN (w, child)", topLevelOnly=True)

    assert every["totalHits"] == 2
    assert names(top["results"], "workflowId") == [parent]
    below = await search(client, WORKFLOWS, f"parentWorkflowId={parent}")
    assert names(below["results"], "workflowType") == ["child"]


async def test_a_large_payload_is_named_in_a_summary_and_whole_in_v2(client: Client) -> None:
    text = "x" * (PRINTED_BYTES_MAX + 1)
    await started(client, body={"input": {"text": text}})

    [summary] = (await search(client, WORKFLOWS))["results"]
    [whole] = (await search(client, f"{WORKFLOWS}-v2"))["results"]

    size = len(json.dumps({"text": text}))
    assert summary["input"] == f"({size} bytes: get it with the workflow)"
    assert whole["input"] == {"text": text}


@pytest.mark.parametrize("path", [WORKFLOWS, f"{WORKFLOWS}-v2", TASKS, f"{TASKS}-v2"])
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("colour=red", "at character 1: unknown field 'colour'"),
        ("status=DONE", "at character 8: status: 'DONE' is not one of"),
        ("status<COMPLETED", "operator '<' is not one of =, !=, IN"),
        ("status LIKE x", "status: expected one of =, !=, IN, found 'LIKE x'"),
        ("startTime>soon", "neither Unix milliseconds nor ISO 8601"),
        ("startTime>2026-02-30", "neither Unix milliseconds nor ISO 8601"),
        ("startTime>99999999999999999", "neither Unix milliseconds nor ISO 8601"),
        ("workflowId=7", "'7' is not an id"),
        ("(status=FAILED", "expected AND, OR or a closing parenthesis, found the end"),
        ("status=FAILED)", "expected AND, OR or the end, found ')'"),
        ("status IN (FAILED", "expected , or ) in the list, found the end"),
        ("status IN FAILED", "expected ( after IN"),
        ("workflowType='w", "the quote that opens here is not closed"),
        ("workflowType=w status=FAILED", "looks like two clauses"),
        ("workflowType=", "expected a value, found the end"),
        ("workflowType=w AND", "expected a field, found the end"),
        ("workflowType= AND status=FAILED", "expected a value, found 'AND status=FAILED'"),
        ("workflowType", "expected one of =, !=, IN, found the end"),
        ("workflowType NOT w", "expected IN after NOT"),
        ("AND", "unknown field 'AND'"),
        ("=1", "expected a field"),
        ("(" * (DEPTH_MAX + 2), f"more than {DEPTH_MAX} levels"),
        ("NOT " * (DEPTH_MAX + 2), f"more than {DEPTH_MAX} levels"),
        (f"workflowType IN ({','.join('a' * (VALUES_MAX + 1))})", f"more than {VALUES_MAX} values"),
        ("workflowType=" + "a" * QUERY_CHARACTERS_MAX, "is longer than"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_400_and_says_where(
    client: Client, path: str, query: str, told: str
) -> None:
    """gotchas.md 57: Conductor answers nothing, everything, 400 or 500."""
    answer = await asked(client, path, query)

    assert answer.status == 400
    assert answer.json["message"].startswith("query: ")
    assert told in answer.json["message"]


@pytest.mark.parametrize("subject", list(Subject))
async def test_an_unknown_field_is_answered_with_all_that_are_known(
    client: Client, subject: Subject
) -> None:
    path = WORKFLOWS if subject is Subject.WORKFLOW else TASKS

    for wish in ({"query": "x=1"}, {"sort": "x:DESC"}):
        message = (await asked(client, path, **{"query": "", **wish})).json["message"]
        assert ", ".join(FIELDS[subject]) in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", PAGE_SIZE_MAX + 1),
        ("size", 0),
        ("start", -1),
        ("start", START_MAX + 1),
        ("sort", "startTime:DOWN"),
        ("sort", "|".join(["status"] * (SORT_KEYS_MAX + 1))),
        ("freeText", "a" * (QUERY_CHARACTERS_MAX + 1)),
        ("classifier", "agent"),
    ],
)
async def test_a_wrong_parameter_of_a_search_is_400_and_named(
    client: Client, name: str, value: Any
) -> None:
    answer = await asked(client, WORKFLOWS, **{"query": "", name: value})

    assert answer.status == 400
    assert answer.json["message"].startswith(f"{name}: ")


@pytest.mark.parametrize(
    "query",
    [
        "workflowType=w",
        "workflowType = 'w'",
        'workflowType="w" and status IN (RUNNING, FAILED)',
        "workflowType IN ( 'w' , x )AND status!=COMPLETED",
        "NOT (workflowType=x OR status = COMPLETED)",
        "startTime>=1970-01-01T00:00:00+01:00 AND startTime<2999-01-01",
        "workflowType NOT IN (x,y) AND priority<=0 AND version=1",
        "workflowType=x OR workflowType=w AND status=RUNNING",
        "correlationId=''",
    ],
)
async def test_all_ways_to_write_a_query_are_read(client: Client, query: str) -> None:
    workflow_id = await started(client)

    page = await search(client, WORKFLOWS, query)

    assert names(page["results"], "workflowId") == [workflow_id]


async def test_an_empty_page_is_an_empty_list(client: Client) -> None:
    assert await search(client, WORKFLOWS, "workflowType=w") == {"totalHits": 0, "results": []}


async def test_running_lists_open_runs_whatever_their_version(client: Client) -> None:
    _, running = await a_failed_and_a_running(client)
    paused = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()
    await client.ask(f"PUT /api/workflow/{paused}/pause")

    listed = (await client.ask("GET /api/workflow/running/w?version=2")).json

    assert sorted(listed) == sorted([running, paused])


async def test_running_with_a_window_lists_a_versions_runs_whatever_their_status(
    client: Client,
) -> None:
    runs = await a_failed_and_a_running(client)
    times = [
        (await client.ask(f"GET /api/workflow/{run}")).json["createTime"] for run in sorted(runs)
    ]
    window = f"startTime={times[0]}&endTime={times[1]}"

    first = (await client.ask(f"GET /api/workflow/running/w?{window}")).json
    second = (await client.ask(f"GET /api/workflow/running/w?version=2&{window}")).json
    wrong = await client.ask("GET /api/workflow/running/w?startTime=now&endTime=1")

    assert (sorted(first), second) == (sorted(runs), [])
    assert (wrong.status, wrong.json["message"].split(":")[0]) == (400, "startTime")


async def test_correlated_shows_running_runs_and_closed_ones_on_demand(client: Client) -> None:
    failed, _ = await a_failed_and_a_running(client)
    body = {"name": "w", "correlationId": "c 1"}
    running = (await client.ask("POST /api/workflow", body)).body.decode()
    line = "GET /api/workflow/w/correlated/c%201"

    open_ones = (await client.ask(line)).json
    every = (await client.ask(f"{line}?includeClosed=true&includeTasks=true")).json

    assert names(open_ones, "workflowId") == [running]
    assert open_ones[0]["tasks"] == []
    assert sorted(names(every, "workflowId")) == sorted([failed, running])
    assert [len(one["tasks"]) for one in every] == [1, 1]


async def test_many_correlation_ids_are_answered_each(client: Client) -> None:
    await a_failed_and_a_running(client)

    line = "POST /api/workflow/w/correlated?includeClosed=true"
    found = (await client.ask(line, ["c 1", "none"])).json
    wrong = await client.ask(line, [1])

    assert {key: len(runs) for key, runs in found.items()} == {"c 1": 1, "none": 0}
    assert (wrong.status, wrong.json["message"][:14]) == (400, "body: expected")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": [1, 2.0]}, "c": None}, "{a={b=[1, 2.0]}, c=null}"),
        ({}, "{}"),
        ([False, "x, y"], "[false, x, y]"),
        (1e7, "1.0E7"),
        (9_999_999.5, "9999999.5"),
        (1.25e-4, "1.25E-4"),
        (-1.5e300, "-1.5E300"),
        (123_456_789.125, "1.23456789125E8"),
        (0.001, "0.001"),
        (-0.0, "-0.0"),
    ],
)
def test_a_value_is_printed_as_java_prints_it(value: Any, text: str) -> None:
    assert java_text(value) == text


async def test_a_page_whose_payloads_are_too_many_bytes_is_refused(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batuta.runtime.search.ANSWER_BYTES_MAX", 100)
    await started(client, body={"input": {"text": "x" * 60}})
    await client.ask("POST /api/workflow", {"name": "w", "input": {"text": "x" * 60}})

    one = await asked(client, f"{WORKFLOWS}-v2", size=1)
    two = await asked(client, f"{WORKFLOWS}-v2", size=2)

    assert (one.status, two.status) == (200, 400)
    assert two.json["message"].startswith("size: ")
    assert engine.is_ready
