"""Every endpoint of Conductor's, and docs/reference/compatibility.md, which says how we serve it.

The page is written from Conductor's endpoints (../shared/contract/endpoints.json), our route table
and the words below by running this file. Where the contract is absent, the page is held against
the route table alone.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from batuta.api.routes import ROUTES
from tests.api.client import Answer, Client
from tests.api.example import PLACES, Example

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT.parent / "shared" / "contract" / "endpoints.json"
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
NO_CONTRACT = "Conductor's endpoints are not here: ../shared/contract is absent on this machine"
GROUPS = (
    "workflow",
    "workflow bulk",
    "task",
    "metadata",
    "queue admin",
    "admin",
    "health",
    "version",
    "docs",
)
MARK = "<!-- Above: written by tests/api/test_contract_rows.py. Below: by hand. -->"
SAME, BETTER, LATER = "same", "better", "later"
LINE = re.compile(r"^\| `([A-Z]+) (\S+)` \| (same|better|later) \| (.*) \|$", re.MULTILINE)

_TASKS_SEARCH = "the whole query language, on every store; totals are exact up to a named limit"
_RUNS_SEARCH = f"{_TASKS_SEARCH}; an unknown field is a 400 that names the known ones"
_HEALTH = "503 while it starts or stops, so that a balancer sends nothing"
_DECIDES = "answers whether anything was left to do; Conductor's is off unless configured"
_POLLS = "every worker that polls, the latest first; Conductor shows the latest alone"
_QUEUED = "the report is in the run before the answer, and no outside queue is needed"
_SIZE = "counts what a worker would get now; what workers hold is told apart"
_STORAGE = (
    "needs no storage service: the uri is this server's, the path is always one that it chooses, "
    "and what was uploaded becomes the payload itself, which every client reads inline"
)
# How a row is better: what a client can notice and gain by. A row of ours without a word is same.
HOW = {
    "POST /api/workflow/execute/{name}/{version}": (
        "waits on commits, not by polling; the input is kept as sent, without `_systemMetadata`"
    ),
    "POST /api/workflow/test": (
        "nothing of the run is kept or seen by workers, and waits take no time; a task without a "
        "mock is a 400 that names it, where Conductor answers a half-done run"
    ),
    "PUT /api/workflow/{workflowId}/resume": "409 for a run that is not paused, not 500",
    "PUT /api/workflow/{workflowId}/skiptask/{taskReferenceName}": (
        "the body's taskInput and taskOutput are kept; a 4xx for what cannot be skipped, not 500"
    ),
    "GET /api/workflow/search": f"{_RUNS_SEARCH}; a `classifier` is refused, as no column holds it",
    "GET /api/workflow/search-v2": (
        f"{_RUNS_SEARCH}; a `classifier` is refused, as no column holds it"
    ),
    "GET /api/workflow/search-by-tasks": _RUNS_SEARCH,
    "GET /api/workflow/search-by-tasks-v2": _RUNS_SEARCH,
    "GET /api/tasks/search": _TASKS_SEARCH,
    "GET /api/tasks/search-v2": _TASKS_SEARCH,
    "GET /api/workflow/{workflowId}/tasks": "400 for a status or a page that cannot be meant",
    "POST /api/workflow/bulk/search": "has the fields of a run besides those of the inner model",
    "DELETE /api/workflow/bulk/terminate-remove": "an id is in one of the two lists",
    "GET /api/tasks/poll/{tasktype}": (
        "the worker holds a lease on disk: a task is never lost between queue and worker"
    ),
    "GET /api/tasks/poll/batch/{tasktype}": "answers as soon as one task is there",
    "POST /api/tasks": "400 with the field for a status that no worker may report, not 500",
    "POST /api/tasks/update-v2": (
        "report and next poll are one commit; 400 for a body that breaks a rule, not 500"
    ),
    "POST /api/tasks/{workflowId}/{taskRefName}/{status}": "400 for a wrong status, not 500",
    "GET /api/tasks/queue/all": _SIZE,
    "GET /api/tasks/queue/all/verbose": f"{_SIZE} as `uacked`",
    "GET /api/tasks/queue/size": _SIZE,
    "GET /api/tasks/queue/sizes": _SIZE,
    "GET /api/tasks/queue/polldata": _POLLS,
    "GET /api/tasks/queue/polldata/all": _POLLS,
    "POST /api/tasks/queue/requeue/{taskType}": (
        "a task and its place in the queue are one transaction, so that nothing is pushed twice"
    ),
    "GET /api/queue/size": "0 always: a report never waits to be read",
    "GET /api/queue/": "the two statuses that can be reported are there without configuration",
    "POST /api/queue/update/{workflowId}/{taskRefName}/{status}": _QUEUED,
    "POST /api/queue/update/{workflowId}/task/{taskId}/{status}": _QUEUED,
    "GET /api/admin/config": "settings that are no secrets; Conductor shows all system properties",
    "POST /api/admin/sweep/requeue/{workflowId}": (
        "decides the run at once and says whether anything was left to do; 404 for an unknown run"
    ),
    "POST /api/admin/consistency/verifyAndRepair/{workflowId}": _DECIDES,
    "GET /health": _HEALTH,
    "GET /api/health": _HEALTH,
    "GET /actuator/health": _HEALTH,
    "GET /api/workflow/externalstoragelocation": _STORAGE,
    "GET /api/workflow/external-storage-location": _STORAGE,
    "GET /api/tasks/externalstoragelocation": _STORAGE,
    "GET /api/tasks/external-storage-location": _STORAGE,
    "GET /api-docs": "OpenAPI 3.1 of the table that routes requests, with every field's type",
}
# Why a row is not served. One that neither stands here nor in the route table fails the test.
WHY_LATER = {
    "POST /api/workflow/{workflowId}/messages": (
        "workflow message queues, which Conductor has off unless configured; a durable one takes "
        "rows beside a run's own in every store. Until then a `PULL_WORKFLOW_MESSAGES` task is "
        "polled by a worker of yours, and a message is a report on a WAIT task"
    ),
}
# Query parameters that we do not read, and why that is right.
_NO_COLUMN = "refused with a 400: no column holds it"
_SYSTEM_QUEUES = "names a queue of system tasks that Conductor isolates; there are none"
UNREAD = {
    ("POST /api/workflow/execute/{name}/{version}", "consistency"): "ignored by Conductor too",
    ("PUT /api/workflow/{workflowId}/skiptask/{taskReferenceName}", "taskInput"): "in the body",
    ("PUT /api/workflow/{workflowId}/skiptask/{taskReferenceName}", "taskOutput"): "in the body",
    ("GET /api/workflow/search", "classifier"): _NO_COLUMN,
    ("GET /api/workflow/search-v2", "classifier"): _NO_COLUMN,
    ("GET /api/tasks/queue/size", "isolationGroupId"): _SYSTEM_QUEUES,
    ("GET /api/tasks/queue/size", "executionNamespace"): _SYSTEM_QUEUES,
}
HEAD = """\
# Compatibility

How Batuta serves each endpoint of Conductor OSS in these groups: **same** (what a client sends and
gets is Conductor's), **better** (the same, and how it is more), **later** (a 404 with the error
body). Names, types and status codes of each call are in [the HTTP API](http-api.md).

Everywhere, and not repeated below: what a client did wrong is a 4xx that names the field, where
Conductor answers 500 for an unreadable body, a wrong type, a missing parameter or a state that does
not allow the call; and an answer of 200 means that the change is on disk.

This page is written by `.venv/bin/python tests/api/test_contract_rows.py`, and the same file visits
every row: `same` and `better` rows answer a valid call with one of Conductor's own codes for
success, `later` rows with a 404.
"""


def _shape(method: str, path: str) -> tuple[str, str]:
    return method, PLACES.sub("{}", path)


OURS = {_shape(row.method, row.path) for row in ROUTES}


def _contract() -> list[dict[str, Any]]:
    if not CONTRACT.is_file():
        return []
    rows = [row for row in json.loads(CONTRACT.read_text("utf-8")) if row["group"] in GROUPS]
    return sorted(rows, key=lambda row: GROUPS.index(row["group"]))


def _name(row: dict[str, Any]) -> str:
    return f"{row['method']} {row['path']}"


def _verdict(row: dict[str, Any]) -> tuple[str, str]:
    """Say how a row is served, and why or how."""
    name = _name(row)
    if _shape(row["method"], row["path"]) not in OURS:
        return LATER, WHY_LATER[name]
    return (BETTER, HOW[name]) if name in HOW else (SAME, "")


def page(rows: list[dict[str, Any]]) -> str:
    """Return docs/reference/compatibility.md."""
    lines = [HEAD]
    for group in GROUPS:
        lines += [
            f"## {group.capitalize()}",
            "",
            "| call | | how, or why not yet |",
            "|---|---|---|",
        ]
        for row in rows:
            if row["group"] == group:
                verdict, words = _verdict(row)
                lines.append(f"| `{_name(row)}` | {verdict} | {words} |")
        lines.append("")
    return "\n".join([*lines, MARK, ""])


CONTRACT_ROWS = _contract()
each_row = pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=_name(row)) for row in CONTRACT_ROWS]
    or [pytest.param({}, marks=pytest.mark.skip(reason=NO_CONTRACT))],
)


@pytest.fixture
async def example(client: Client) -> Example:
    return await Example(client).fill()


async def _ask(example: Example, row: dict[str, Any]) -> Answer:
    required = [one["name"] for one in row["query"] if one["required"]]
    line = example.line(row["method"], row["path"], required)
    return await example.client.ask(line, example.body(row["method"], row["path"]))


@each_row
async def test_a_row_of_the_contract_is_served_or_is_not_there(
    example: Example, row: dict[str, Any]
) -> None:
    answer = await _ask(example, row)

    if _verdict(row)[0] == LATER:
        assert answer.status == 404, answer.body
        assert {"status", "message", "retryable"} <= set(answer.json)
        return
    assert str(answer.status) in row["status"], answer.body
    assert answer.status in {200, 204}, answer.body
    if answer.body:
        media = answer.headers["content-type"]
        assert media == row["content_type"].split(" ")[0], "the SDKs go by it"
    else:
        assert row["response"] in {None, "empty"} or "empty" in row["response"].lower()


@each_row
def test_the_query_of_a_row_is_read_with_its_defaults(row: dict[str, Any]) -> None:
    ours = {_shape(one.method, one.path): one for one in ROUTES}
    served = ours.get(_shape(row["method"], row["path"]))
    if served is None:
        assert _verdict(row)[0] == LATER
        return
    given = {one.name: one for one in served.query}

    for one in row["query"]:
        if one["name"] not in given:
            assert (_name(row), one["name"]) in UNREAD
        elif one["name"] != "requestId":  # made by the server when it is absent
            found = given[one["name"]]
            assert (found.default, found.is_required) == (one["default"], one["required"])


@each_row
def test_every_row_of_the_contract_has_its_line_on_the_page(row: dict[str, Any]) -> None:
    verdict, words = _verdict(row)

    assert f"| `{_name(row)}` | {verdict} | {words} |" in PAGE.read_text("utf-8").splitlines()


@pytest.mark.skipif(not CONTRACT_ROWS, reason=NO_CONTRACT)
def test_the_page_is_written_from_the_contract() -> None:
    assert PAGE.read_text("utf-8").startswith(page(CONTRACT_ROWS)), f"run {__file__}"


@pytest.mark.skipif(not CONTRACT_ROWS, reason=NO_CONTRACT)
def test_no_word_is_left_of_a_row_that_is_gone() -> None:
    names = {_name(row) for row in CONTRACT_ROWS}

    assert set(HOW) | set(WHY_LATER) <= names
    assert {_name(row) for row in CONTRACT_ROWS if _verdict(row)[0] == LATER} == set(WHY_LATER)


def test_what_the_page_promises_is_in_the_route_table() -> None:
    lines = LINE.findall(PAGE.read_text("utf-8"))

    served = {_shape(method, path) for method, path, verdict, _ in lines if verdict != LATER}
    later = {_shape(method, path) for method, path, verdict, _ in lines if verdict == LATER}
    assert len(lines) > 80
    assert served <= OURS
    assert not later & OURS
    assert all(words for _, _, verdict, words in lines if verdict != SAME)


if __name__ == "__main__":
    by_hand = PAGE.read_text("utf-8").partition(f"{MARK}\n")[2] if PAGE.is_file() else ""
    PAGE.write_text(page(CONTRACT_ROWS) + by_hand, "utf-8")
