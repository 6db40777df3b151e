"""Telling that a flow has ended: signed, however it ended, until it is taken."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batuta.dialects.flow import callback
from batuta.store.memory import MemoryStore
from tests.dialects.conftest import Served, memory, served
from tests.dialects.flow.flows import boom, doing, echo, node, records, started, status
from tests.system.server import Target, serving

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    async with serving() as found:
        yield found


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    found = memory()
    yield found
    await found.close()


@pytest.fixture
async def server(store: MemoryStore) -> AsyncIterator[Served]:
    async with served(store, flow_callback_secret=SECRET) as found:
        yield found


async def told(server: Served, workflow_id: str) -> Any:
    """Return the run around a flow once it has ended: its tasks are the flow and the message."""
    flow = (await server.ask(f"GET /api/workflow/{workflow_id}")).json
    await server.ended(flow["parentWorkflowId"])
    return (await server.ask(f"GET /api/workflow/{flow['parentWorkflowId']}")).json


def message(target: Target) -> Any:
    """Return the only message, whose signature is right."""
    [seen] = target.seen
    return read(seen)


def read(seen: dict[str, Any]) -> Any:
    """Return a message's body; its signature is checked as a reader of the standard does."""
    header = {name: values[0] for name, values in seen["headers"].items()}
    signed = f"{header['webhook-id']}.{header['webhook-timestamp']}.{seen['body']}"
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    assert header["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert header["content-type"] == "application/json"
    return json.loads(seen["body"])


async def test_the_end_of_a_run_is_told_with_its_record(server: Served, target: Target) -> None:
    async with doing(server, echo=echo):
        workflow_id = await started(
            server, node("a", text="t"), callbackUrl=f"{target.url}/json", workflowName="Tale"
        )
        around = await told(server, workflow_id)

    found = message(target)
    [record] = await records(server)
    assert found["type"] == "workflow.completed"
    assert found["timestamp"] == record["endTime"]
    assert found["data"] == {**record, "error": None}
    assert (record["workflowId"], record["workflowName"]) == (workflow_id, "Tale")
    assert target.seen[0]["method"] == "POST"
    assert target.seen[0]["headers"]["webhook-id"] == [f"{workflow_id}.0"]
    assert around["status"] == "COMPLETED"


async def test_the_end_of_a_failed_run_is_told_too(server: Served, target: Target) -> None:
    async with doing(server, boom=boom):
        workflow_id = await started(
            server, node("a", "boom", text="no"), callbackUrl=f"{target.url}/json"
        )
        await told(server, workflow_id)

    found = message(target)
    assert (found["type"], found["data"]["status"]) == ("workflow.failed", "failed")
    assert "no" in found["data"]["error"]
    assert found["data"]["results"][0]["error"] == "no"
    assert (await status(server, workflow_id))["status"] == "failed"


async def test_the_end_of_a_cancelled_run_is_told_too(server: Served, target: Target) -> None:
    await server.ask("GET /api/tasks/poll/held")
    workflow_id = await started(server, node("a", "held"), callbackUrl=f"{target.url}/json")
    await server.ask(f"POST /workflow/{workflow_id}/cancel", {"reason": "enough"})
    await told(server, workflow_id)

    found = message(target)
    assert (found["type"], found["data"]["error"]) == ("workflow.failed", "enough")


async def test_the_run_around_a_flow_is_no_flow(server: Served, target: Target) -> None:
    async with doing(server, echo=echo):
        workflow_id = await started(server, node("a"), callbackUrl=f"{target.url}/json")
        around = await told(server, workflow_id)

    assert [one["workflowId"] for one in await records(server)] == [workflow_id]
    assert (await server.ask(f"GET /workflow/{around['workflowId']}/status")).status == 404


async def test_a_message_that_was_not_taken_is_sent_again(
    server: Served, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "RETRY_DELAY_SECONDS", 0)
    monkeypatch.setattr(callback, "RETRIES", 2)
    async with doing(server, echo=echo):
        workflow_id = await started(server, node("a"), callbackUrl=f"{target.url}/500")
        around = await told(server, workflow_id)

    assert len(target.seen) == 3
    assert len({seen["headers"]["webhook-id"][0] for seen in target.seen}) == 1
    assert [read(seen)["data"]["workflowId"] for seen in target.seen] == [workflow_id] * 3
    assert around["status"] == "FAILED"
    assert around["tasks"][-1]["reasonForIncompletion"] == "callback: answered 500"
    assert (await status(server, workflow_id))["status"] == "completed"


async def test_who_is_gone_is_told_once(server: Served, target: Target) -> None:
    async with doing(server, echo=echo):
        workflow_id = await started(server, node("a"), callbackUrl=f"{target.url}/410")
        around = await told(server, workflow_id)

    assert len(target.seen) == 1
    assert around["tasks"][-1]["status"] == "FAILED_WITH_TERMINAL_ERROR"


async def test_the_next_server_tells_what_the_last_one_could_not(
    store: MemoryStore, target: Target
) -> None:
    async with served(store, flow_callback_secret=SECRET, has_workers=False) as first:
        async with doing(first, echo=echo):
            workflow_id = await started(first, node("a"), callbackUrl=f"{target.url}/json")
            await first.ended(workflow_id)
        assert target.seen == []

    async with served(store, flow_callback_secret=SECRET) as second:
        await told(second, workflow_id)

    assert message(target)["data"]["workflowId"] == workflow_id


async def test_a_large_message_goes_without_results(
    server: Served, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "BODY_BYTES_MAX", 1_000)
    async with doing(server, echo=echo):
        workflow_id = await started(
            server, node("a", text="x" * 2_000), callbackUrl=f"{target.url}/json"
        )
        await told(server, workflow_id)

    data = message(target)["data"]
    assert "results" not in data
    assert data["nodeCount"] == 1


@pytest.mark.parametrize(
    "url",
    [7, "x", "ftp://a/b", "http://", "http://[::1", "http://a:x/", "http://a:99999/", "h" * 3_000],
)
async def test_an_address_that_is_none_is_refused(server: Served, url: Any) -> None:
    answer = await server.ask("POST /workflow/run", {"nodes": [node("a")], "callbackUrl": url})

    assert answer.status == 400
    assert answer.json["error"].startswith("callbackUrl must be an http or https URL")


async def test_without_a_secret_nothing_is_promised() -> None:
    store = memory()
    async with served(store) as server, doing(server, echo=echo):
        body = {"nodes": [node("a")], "callbackUrl": "http://127.0.0.1:9/x"}
        answer = await server.ask("POST /workflow/run", body)

        assert (answer.status, answer.json) == (
            400,
            {"error": "callbackUrl needs the setting flow_callback_secret, to be signed"},
        )
        assert await records(server) == []
    await store.close()


@pytest.mark.parametrize("secret", ["plain text", "whsec_not base64"])
def test_a_secret_that_is_no_base64_is_taken_as_it_is(secret: str) -> None:
    digest = hmac.new(secret.encode(), b"id.5.{}", hashlib.sha256).digest()

    expected = f"v1,{base64.b64encode(digest).decode()}"
    assert callback.signature(secret, "id", 5, b"{}") == expected


async def test_a_flow_that_was_opened_again_is_told_of_at_its_next_end(
    store: MemoryStore, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "RETRY_DELAY_SECONDS", 1)
    async with served(store, flow_callback_secret=SECRET, has_workers=False) as first:
        async with doing(first, boom=boom):
            workflow_id = await started(first, node("a", "boom"), callbackUrl=f"{target.url}/json")
            await first.ended(workflow_id)
        await first.ask(f"POST /api/workflow/{workflow_id}/retry")

    async with served(store, flow_callback_secret=SECRET) as second:
        around = (await second.ask(f"GET /api/workflow/{workflow_id}")).json["parentWorkflowId"]
        async with asyncio.timeout(20):
            while True:
                tasks = (await second.ask(f"GET /api/workflow/{around}")).json["tasks"]
                if tasks[1]["status"] == "FAILED":
                    break
                await asyncio.sleep(0.01)
        assert "opened again" in tasks[1]["reasonForIncompletion"]
        async with doing(second, boom=echo):
            await told(second, workflow_id)

    found = message(target)
    assert (found["type"], found["data"]["nodeCount"]) == ("workflow.completed", 2)
