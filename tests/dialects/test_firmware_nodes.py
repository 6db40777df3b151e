"""One delivery at two servers of one database at once: it starts one run (S2.13)."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from batuta.api import create_app
from batuta.dialects import Host
from batuta.dialects.firmware.dialect import open_firmware
from batuta.runtime.engine import Engine
from batuta.runtime.search import SearchRequest
from batuta.store.postgres import migrate
from batuta.workers.system.target import targets_of
from tests.api.client import Client
from tests.api.conftest import Settings
from tests.contract.postgres_server import fresh_schema, postgres
from tests.engine.node import Clock, postgres_opener, running

SECRET = "test-secret"
NODES, DELIVERIES = 2, 20
TASK = {"name": "validate_commit", "taskReferenceName": "v", "type": "SIMPLE"}
PUSH = json.dumps(
    {"ref": "refs/heads/main", "after": "737e3d8", "repository": {"name": "K1.node1"}}
).encode()


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
async def doors(postgres_server: str) -> AsyncIterator[list[tuple[Client, Engine]]]:
    clock = Clock()
    async with fresh_schema(postgres_server) as url, AsyncExitStack() as stack:
        await migrate(url)
        found = []
        for number in range(NODES):
            opened = running(postgres_opener(url), clock, has_loops=True, node=f"n{number}-")
            node = await stack.enter_async_context(opened)
            if not number:
                await node.register({"name": "firmware-ci-cd-pipeline", "tasks": [TASK]})
            host = Host(
                engine=node.engine,
                targets=targets_of((), is_shared=False),
                github_secret=SECRET,
            )
            mount = (await open_firmware(host)).mount
            client = Client(create_app(node.engine, Settings(), mounts=[mount]))
            found.append((client, node.engine))
        yield found


@pytest.mark.postgres
async def test_s2_13_a_delivery_at_two_nodes_at_once_starts_one(
    doors: list[tuple[Client, Engine]],
) -> None:
    signature = "sha256=" + hmac.new(SECRET.encode(), PUSH, hashlib.sha256).hexdigest()

    async def push(door: Client, delivery: int) -> tuple[int, str]:
        headers = {"x-hub-signature-256": signature, "x-github-delivery": f"d-{delivery}"}
        answer = await door.ask("POST /webhook/github/push", raw=PUSH, headers=headers)
        return answer.status, answer.json["workflowId"]

    pushes = [push(door, delivery) for delivery in range(DELIVERIES) for door, _ in doors]
    answers = await asyncio.gather(*pushes)

    pairs = [answers[place : place + NODES] for place in range(0, len(answers), NODES)]
    assert {status for status, _ in answers} == {200}
    assert all(len(set(pair)) == 1 for pair in pairs), "both say the same run"
    page = await doors[0][1].searches.runs(SearchRequest(query="", size=100))
    assert len(page.items) == DELIVERIES
    assert all(run.workflow.version == 1 for run in page.items), "each was started once"
