"""What guides to Conductor call although Conductor OSS does not have it (S2.6)."""

from dataclasses import dataclass

import pytest

from batuta.api import create_app
from batuta.api.lenient.rows import LENIENT_ROUTES
from tests.api.client import Client
from tests.api.conftest import open_engine, polled, started


@dataclass(frozen=True)
class Strict:
    """What the wire of a strict server is told."""

    allowed_hosts: tuple[str, ...] = ()
    body_bytes_max: int = 1_000_000
    strict: bool = True


async def test_runs_are_listed_the_newest_first(client: Client) -> None:
    ids = [await started(client) for _ in range(3)]

    answer = await client.ask("GET /api/workflow?size=2")

    assert answer.status == 200
    times = [run["startTime"] for run in answer.json]
    assert len(times) == 2
    assert times == sorted(times, reverse=True)
    assert {run["workflowId"] for run in answer.json} < set(ids)
    assert answer.json[0]["status"] == "RUNNING"


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("terminate?reason=enough", None),
        ("terminate", {"reason": "enough"}),
    ],
)
async def test_a_run_is_ended_by_post_too(client: Client, line: str, body: object) -> None:
    workflow_id = await started(client)

    answer = await client.ask(f"POST /api/workflow/{workflow_id}/{line}", body)

    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert (answer.status, answer.body) == (200, b"")
    assert (run["status"], run["reasonForIncompletion"]) == ("TERMINATED", "enough")


async def test_a_reason_that_is_no_text_is_refused(client: Client) -> None:
    workflow_id = await started(client)

    for body in ({"reason": 7}, ["enough"]):
        answer = await client.ask(f"POST /api/workflow/{workflow_id}/terminate", body)
        assert answer.status == 400


async def test_stats_count_runs_and_tasks(client: Client) -> None:
    for _ in range(3):
        await started(client)
    await polled(client)

    stats = (await client.ask("GET /api/admin/stats")).json

    assert stats["workflows"]["RUNNING"] == 3
    assert (stats["readyTasks"], stats["leasedTasks"]) == (2, 1)
    assert sum(stats["queues"].values()) == 2


async def test_the_key_that_the_guide_sends_is_passed_over(client: Client) -> None:
    headers = {"x-authorization": "key:secret"}

    listed = await client.ask("GET /api/metadata/workflow", headers=headers)
    plain = await client.ask("POST /api/workflow", {"name": "none"}, headers=headers)

    assert (listed.status, plain.status) == (200, 404)


async def test_one_definition_or_a_list_are_taken(client: Client) -> None:
    task = {"name": "t", "taskReferenceName": "t", "type": "SIMPLE"}
    document = {"name": "one", "tasks": [task]}

    made = await client.ask("POST /api/metadata/workflow", [document, document | {"name": "two"}])
    single = await client.ask("POST /api/metadata/taskdefs", {"name": "t"})

    assert (made.status, single.status) == (200, 200)
    assert (await client.ask("GET /api/metadata/workflow/two")).status == 200
    assert (await client.ask("GET /api/metadata/taskdefs/t")).status == 200


async def test_a_strict_server_has_none_of_them() -> None:
    async with open_engine() as engine:
        strict = Client(create_app(engine, Strict()))
        for row in LENIENT_ROUTES[:-1]:
            path = row.path.replace("{workflowId}", "w")
            assert (await strict.ask(f"{row.method} {path}")).status == 404, row.path
        assert (await strict.ask("GET /swagger-ui/index.html")).status == 200


async def test_the_page_of_the_api_is_where_conductor_has_it(client: Client) -> None:
    there = await client.ask("GET /swagger-ui/index.html")

    assert there.body == (await client.ask("GET /docs")).body
    assert there.headers["content-type"].startswith("text/html")
