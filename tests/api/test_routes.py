"""Every row of the route table is visited: its answer, its status and its description agree."""

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from batuta.api.openapi import describe
from batuta.api.request import EventStream, Route
from batuta.api.resource.page import CONTENT_POLICY
from batuta.api.routes import ROUTES
from batuta.runtime.engine import Engine
from tests.api.client import Answer, Client
from tests.api.conftest import FILE, polled, report, simple, started, workflow

PLACES = re.compile(r"\{(\w+)\}")
VALUES = {"operation": "WRITE", "payloadType": "TASK_OUTPUT"}  # of parameters with words of theirs
OF_ENDED_RUNS = ("/retry", "/restart", "/rerun", "/remove", "/terminate-remove")


class World:
    """A server with one run that waits, one that failed, and definitions; and names of them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.places: dict[str, str] = {}
        self.task: dict[str, Any] = {}

    async def fill(self) -> "World":
        """Make what the rows ask for."""
        client = self.client
        await client.ask("POST /api/metadata/taskdefs", [{"name": "t"}])
        failed = await started(client)
        task = await polled(client)
        await client.ask("POST /api/tasks", report(task, "FAILED_WITH_TERMINAL_ERROR"))
        await client.ask("POST /api/workflow", {"name": "w"})
        self.task = await polled(client)
        await client.ask(f"POST /api/tasks/{self.task['taskId']}/log", raw=b"line")
        await client.ask("POST /api/workflow", {"name": "w"})
        waits = [{"name": n, "taskReferenceName": n, "type": "WAIT"} for n in ("first", "second")]
        await client.ask("POST /api/metadata/workflow", workflow(*waits, name="waits"))
        waiting = await client.ask("POST /api/workflow", {"name": "waits"})
        place = await client.ask(
            "GET /api/tasks/externalstoragelocation?operation=WRITE&payloadType=TASK_OUTPUT"
        )
        uploaded = place.json["uri"].rpartition("/")[2]
        await client.ask(f"PUT /api/batuta/payload/{uploaded}", {"a": 1})
        self.places = {
            "uploadName": uploaded,
            "name": "w",
            "version": "1",
            "workflowId": self.task["workflowInstanceId"],
            "failedId": failed,
            "waitingId": waiting.body.decode(),
            "taskReferenceName": "second",
            "taskType": "t",
            "taskId": self.task["taskId"],
            "taskRefName": "a",
            "status": "COMPLETED",
            "correlationId": "c",
        }
        return self

    def line(self, row: Route) -> str:
        """Give the request line of a row."""
        places = dict(self.places)
        if row.path.endswith(OF_ENDED_RUNS):
            places["workflowId"] = places["failedId"]
        if "/signal" in row.path or "/skiptask/" in row.path:
            places["workflowId"] = places["waitingId"]
        if "/execute/" in row.path:
            places["name"] = "waits"
        if "/payload/" in row.path:
            places["name"] = places["uploadName"]
        if row.path.startswith("/assets"):
            places["name"] = "page.css"
        if row.path.startswith("/files"):
            places["name"] = FILE
        if "/poll/" in row.path:
            places["taskType"] = "a"
        path = PLACES.sub(lambda found: places[found[1]], row.path)
        required = [one.name for one in row.query if one.is_required]
        query = "&".join(f"{name}={VALUES.get(name, 'a')}" for name in required)
        return f"{row.method} {path}" + (f"?{query}" if query else "")

    def body(self, row: Route) -> Any:
        """Give a body that a row takes."""
        if row.path in {"/api/tasks", "/api/tasks/update-v2"}:
            return report(self.task)
        if row.path == "/api/workflow":
            return {"name": "w"}
        if row.path == "/api/workflow/test":
            return {"name": "w", "taskRefToMockOutput": {"a": [{}]}}
        if row.path.endswith("/correlated"):
            return ["c"]
        if row.path == "/api/metadata/workflow":
            return workflow(simple("a"), name="v")
        if row.path.startswith("/api/metadata/workflow"):
            return workflow(simple("a"))
        if row.path == "/api/metadata/taskdefs":
            return [{"name": "t"}]
        if row.group == "workflow bulk":
            return [self.places["failedId"], "no-such-run"]
        return {} if row.request is not None else None


@pytest.fixture
async def world(client: Client) -> World:
    return await World(client).fill()


def _id(row: Route) -> str:
    return f"{row.method} {row.path}"


async def ask(world: World, row: Route) -> Answer:
    if row.path.endswith("/resume"):
        await world.client.ask(world.line(row).replace("/resume", "/pause"))
    until = b"event: snapshot" if row.answer is EventStream else None
    answer = await world.client.call(world.line(row), world.body(row), until=until)
    assert answer is not None, "every row answers"
    return answer


@pytest.mark.parametrize("row", ROUTES, ids=_id)
async def test_a_row_answers_as_it_says(world: World, row: Route) -> None:
    answer = await ask(world, row)

    assert answer.status == row.status, answer.body
    if row.answer is EventStream:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.body.startswith(b"retry: ")
        return
    assert answer.bodies == 1, "headers and body leave in one piece"
    if row.answer is None:
        assert answer.body == b""
        assert "content-type" not in answer.headers
    elif row.answer is str:
        assert answer.headers["content-type"] == "text/plain"
    elif row.answer is not bytes:
        assert answer.headers["content-type"] == "application/json"
        msgspec.json.decode(answer.body, type=row.answer)
    if row.status != 204:
        assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize("row", [row for row in ROUTES if row.query], ids=_id)
async def test_a_wrong_value_of_a_number_or_boolean_parameter_is_400(
    world: World, row: Route
) -> None:
    typed = [one.name for one in row.query if one.kind is not str]

    for name in typed:
        line = f"{world.line(row)}{'&' if '?' in world.line(row) else '?'}{name}=wrong"
        answer = await world.client.ask(line, world.body(row))
        assert (answer.status, answer.json["message"].split(":")[0]) == (400, name)


@pytest.mark.parametrize(
    "row", [row for row in ROUTES if row.request not in {None, bytes}], ids=_id
)
@pytest.mark.parametrize("body", [b"{oops", b'{"a":1e400}', b"\xff", b"[" * 5_000, b"7"])
async def test_a_body_that_breaks_the_door_is_400_on_every_row(
    world: World, row: Route, body: bytes
) -> None:
    answer = await world.client.ask(world.line(row), raw=body)

    assert answer.status == 400, answer.body
    assert answer.json["validationErrors"]


def test_no_two_rows_are_the_same_call() -> None:
    shapes = [(row.method, PLACES.sub("{}", row.path)) for row in ROUTES]

    assert len(set(shapes)) == len(shapes)


def test_the_hot_rows_are_those_of_the_worker_loop() -> None:
    assert {_id(row) for row in ROUTES if row.is_hot} == {
        "POST /api/workflow",
        "POST /api/workflow/{name}",
        "POST /api/tasks",
        "POST /api/tasks/update-v2",
        "GET /api/tasks/poll/{taskType}",
        "GET /api/tasks/poll/batch/{taskType}",
    }


def test_the_openapi_document_describes_every_row() -> None:
    document = describe(ROUTES)

    for row in ROUTES:
        operation = document["paths"][row.path][row.method.lower()]
        given = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert given == set(PLACES.findall(row.path))
        assert set(operation["responses"]) >= {str(row.status)}
        assert ("requestBody" in operation) == (row.request is not None)


def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    document = describe(ROUTES)
    text = msgspec.json.encode(document).decode()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    operations = [
        one["operationId"] for methods in document["paths"].values() for one in methods.values()
    ]

    assert names <= set(document["components"]["schemas"])
    assert len(names) > 10
    assert len(set(operations)) == len(operations)


class Links(HTMLParser):
    """Collects what a page loads, and what its policy would forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.forbidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name, value in given.items():
            if name in {"src", "href"} and value:
                self.loads.append(value)
            if name == "style" or name.startswith("on"):
                self.forbidden.append(f"{tag} {name}")
        if tag == "style" or (tag == "script" and "src" not in given):
            self.forbidden.append(tag)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_only_from_here_and_runs_nothing_inline(
    client: Client, path: str
) -> None:
    page = await client.ask(f"GET {path}")
    links = Links()
    links.feed(page.body.decode())

    assert page.headers["content-security-policy"] == CONTENT_POLICY.decode()
    assert page.headers["x-content-type-options"] == "nosniff"
    assert links.forbidden == []
    assert links.loads
    for target in links.loads:
        assert target.startswith("/")
        assert (await client.ask(f"GET {target}")).status == 200


@pytest.mark.parametrize("name", ["live.js", "docs.js"])
async def test_a_script_of_a_page_writes_text_only(client: Client, name: str) -> None:
    """RELIABILITY S3: nothing in a payload becomes markup or code."""
    script = (await client.ask(f"GET /assets/{name}")).body.decode()

    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "//cdn",
    ):
        assert word not in script


async def test_the_live_page_is_told_what_it_shows(client: Client, engine: Engine) -> None:
    workflow_id = await started(client)
    await polled(client)

    state = (await client.ask("GET /api/batuta/status")).json

    assert (state["version"], state["store"], state["node"]) == ("1.2.3", "memory", "node-1")
    assert state["counts"]["RUNNING"] == 1
    assert [run["workflowId"] for run in state["recent"]] == [workflow_id]
    assert [(one["queue"], one["ready"], one["leased"]) for one in state["queues"]] == [("a", 0, 1)]
    assert state["queues"][0]["lastPollTime"] > 0
    assert (state["isReady"], state["isDraining"]) == (engine.is_ready, False)
