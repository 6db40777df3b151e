"""GET /api/workflow/{id}/stream over the real application, event by event."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from batuta.api import create_app
from batuta.runtime.engine import Engine
from batuta.runtime.feed import follow
from tests.api.client import Client
from tests.api.conftest import Settings, polled, report, simple, started

Event = dict[str, Any]


class Reader:
    """Reads one stream, event by event."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_over = asyncio.Event()
        self._pieces: asyncio.Queue[str] = asyncio.Queue()

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        elif message.get("more_body"):
            self._pieces.put_nowait(message["body"].decode())
        else:
            self.is_over.set()

    async def piece(self) -> str:
        return await asyncio.wait_for(self._pieces.get(), 10)

    async def event(self) -> Event:
        """Give the next event: its name, id and data."""
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.piece()).splitlines() if line)
            if "event" in fields:
                return {**fields, "data": json.loads(fields["data"])}


@asynccontextmanager
async def reading(
    engine: Engine, workflow_id: str, last_event_id: str = ""
) -> AsyncIterator[Reader]:
    app = create_app(engine, Settings())
    reader, gone = Reader(), asyncio.Event()
    path = f"/api/workflow/{workflow_id}/stream"
    headers = [(b"host", b"localhost:8080"), (b"last-event-id", last_event_id.encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "server": ("127.0.0.1", 8080),
        "headers": headers,
    }
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    serving = asyncio.create_task(app(scope, receive, reader.send))
    try:
        yield reader
    finally:
        gone.set()
        await serving


async def test_a_stream_begins_with_the_run_as_it_is(engine: Engine, client: Client) -> None:
    workflow_id = await started(client)
    async with reading(engine, workflow_id) as reader:
        first = await reader.event()
    shown = await client.ask(f"GET /api/workflow/{workflow_id}")
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream")
    assert first["event"] == "snapshot"
    assert first["data"] == shown.json


async def test_each_change_names_the_tasks_that_were_written(
    engine: Engine, client: Client
) -> None:
    workflow_id = await started(client, simple("a"), simple("b"))
    async with reading(engine, workflow_id) as reader:
        await reader.event()
        task = await polled(client, "a")
        held = (await reader.event())["data"]
        await client.ask("POST /api/tasks", report(task, outputData={"x": 1}))
        ended = await reader.event()
    assert [one["taskId"] for one in held["held"]] == [task["taskId"]]
    assert held["held"][0]["workerId"] == "me"
    told = {one["referenceTaskName"]: one for one in ended["data"]["tasks"]}
    assert {name: one["status"] for name, one in told.items()} == {
        "a": "COMPLETED",
        "b": "SCHEDULED",
    }
    assert told["a"]["outputData"] == {"x": 1}
    assert ended["data"]["held"] == []
    assert ended["data"]["workflow"]["status"] == "RUNNING"


async def test_who_comes_back_is_told_what_is_newer_and_nothing_twice(
    engine: Engine, client: Client
) -> None:
    workflow_id = await started(client, simple("a"), simple("b"), simple("c"))
    async with reading(engine, workflow_id) as reader:
        seen = (await reader.event())["id"]
    for name in ("a", "b"):
        await client.ask("POST /api/tasks", report(await polled(client, name)))
    async with reading(engine, workflow_id, seen) as reader:
        newer = await reader.event()
        assert newer["event"] == "change"
        assert [one["referenceTaskName"] for one in newer["data"]["tasks"]] == ["a", "b", "c"]
        await client.ask("POST /api/tasks", report(await polled(client, "c")))
        while (last := await reader.event())["data"]["workflow"]["status"] != "COMPLETED":
            assert [one["referenceTaskName"] for one in last["data"]["tasks"]] == []
    assert [one["referenceTaskName"] for one in last["data"]["tasks"]] == ["c"]


async def test_a_task_that_is_retired_is_named_by_its_seq(engine: Engine, client: Client) -> None:
    workflow_id = await started(client, simple("a"), simple("b"))
    for name in ("a", "b"):
        await client.ask("POST /api/tasks", report(await polled(client, name)))
    async with reading(engine, workflow_id) as reader:
        before = await reader.event()
        seqs = [one["seq"] for one in before["data"]["tasks"]]
        await client.ask(f"POST /api/workflow/{workflow_id}/restart")
        after = await reader.event()
    assert after["event"] == "change"
    assert after["data"]["retired"] == seqs
    assert [one["referenceTaskName"] for one in after["data"]["tasks"]] == ["a"]


@pytest.mark.parametrize("wrong", ["7.1.ffffffffffff", "99999.1.aaaaaaaaaaaa", "nonsense", "0"])
async def test_an_id_that_says_nothing_gives_a_snapshot(
    engine: Engine, client: Client, wrong: str
) -> None:
    workflow_id = await started(client)
    async with reading(engine, workflow_id, wrong) as reader:
        assert (await reader.event())["event"] == "snapshot"


async def test_the_end_of_a_removed_run_is_told(engine: Engine, client: Client) -> None:
    workflow_id = await started(client)
    async with reading(engine, workflow_id) as reader:
        await reader.event()
        await client.ask(f"DELETE /api/workflow/{workflow_id}/remove?archiveWorkflow=false")
        while (last := await reader.event())["event"] == "change":
            pass
        await asyncio.wait_for(reader.is_over.wait(), 10)
    assert last["event"] == "removed"


async def test_a_run_that_nobody_knows_has_no_stream(client: Client) -> None:
    answer = await client.ask("GET /api/workflow/nobody/stream")
    assert (answer.status, answer.json["status"]) == (404, 404)


async def test_a_change_whose_hint_is_lost_is_told_within_a_second(
    engine: Engine, client: Client
) -> None:
    workflow_id = await started(client)
    engine.listeners.clear()
    async with reading(engine, workflow_id) as reader:
        await reader.event()
        await client.ask(f"PUT /api/workflow/{workflow_id}/pause")
        told = await reader.event()
    assert told["data"]["workflow"]["status"] == "PAUSED"


async def test_a_server_that_stops_ends_its_streams(engine: Engine, client: Client) -> None:
    workflow_id = await started(client)
    async with reading(engine, workflow_id) as reader:
        await reader.event()
        engine.drain()
        await asyncio.wait_for(reader.is_over.wait(), 10)
    assert len(engine.feed) == 0


async def test_no_more_streams_are_opened_than_a_server_bears(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = await started(client)
    monkeypatch.setattr(follow, "FOLLOWERS_MAX", 1)
    async with reading(engine, workflow_id) as reader:
        await reader.event()
        answer = await client.ask(f"GET /api/workflow/{workflow_id}/stream")
    assert (answer.status, answer.json["retryable"]) == (429, True)


async def test_a_silent_stream_is_kept_open_by_beats(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id = await started(client)
    monkeypatch.setattr(follow.Feed.changed, "__defaults__", (0.01,))
    async with reading(engine, workflow_id) as reader:
        await reader.event()
        assert (await reader.piece()).startswith(":")
        assert (await reader.piece()).startswith(":")
