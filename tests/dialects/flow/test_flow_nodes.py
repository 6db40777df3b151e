"""Flows of the server's own node types, by the numbers of their acceptance scenarios (S0.9)."""

import functools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from batuta.dialects.flow import dialect
from batuta.dialects.flow.template import templates
from batuta.runtime.clock import wall_ms
from batuta.store.blob.media import MediaFiles
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.film import ffmpeg
from batuta.workers.media.nodes import NODE_TYPES
from tests.dialects.conftest import Served, memory, served
from tests.dialects.flow.flows import boom, doing, ended, node, outputs, records, ref
from tests.media.providers import FAL_KEY, OPENAI_KEY, Providers, serving
from tests.sdk.server import Server, eventually
from tests.system.test_front_doors import ask, free_port

BYTES_MAX = 20_000_000
PARALLEL = {"execution": {"mode": "parallel"}}
FILM = "POST /queue/fal-ai/ltxv-13b-098-distilled/image-to-video"
# As it stands in the original's own description, but for the port.
CURL = """
curl -X POST http://localhost:5111/workflow/run \\
  -H "Content-Type: application/json" \\
  -d '{
    "workflowName": "Test",
    "nodes": [{
      "id": "node-1",
      "type": "text_to_text",
      "config": {"prompt": "Hello world"}
    }]
  }'
"""


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with serving() as found:
        yield found


def media(folder: Path) -> MediaFiles:
    """Return a folder for files."""
    return MediaFiles(folder / "media", wall_ms=wall_ms, bytes_max=BYTES_MAX)


@pytest.fixture
async def live(
    tmp_path: Path, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """Give a server whose nodes ask our providers, and do not wait long between two questions."""
    hasty = functools.partial(Services, retry_ms=1, ask_ms=1)
    monkeypatch.setattr(dialect, "Services", hasty)
    url = providers.url
    ai = Ai(
        openai_key=OPENAI_KEY,
        openai_base_url=f"{url}/v1",
        fal_key=FAL_KEY,
        fal_run_host=f"{url}/run",
        fal_queue_run_host=f"{url}/queue",
    )
    store = memory()
    async with served(store, ai=ai, media=media(tmp_path)) as found:
        yield found
    await store.close()


@pytest.fixture
async def offline(tmp_path: Path) -> AsyncIterator[Served]:
    """Give a server whose nodes ask nobody."""
    store = memory()
    async with served(store, ai=Ai(is_fake=True), media=media(tmp_path)) as found:
        yield found
    await store.close()


async def test_s0_01_a_text_is_the_provider_s_and_is_in_the_history(
    live: Served, providers: Providers
) -> None:
    found = await ended(live, node("a", "text_to_text", prompt="A robot cooks."))

    assert outputs(found) == [
        {
            "text": providers.text,
            "model": "gpt-4o-mini",
            "tokens": len(providers.text),
            "nodeType": "text_to_text",
        }
    ]
    [record] = await records(live)
    assert (record["status"], record["nodeCount"]) == ("completed", 1)
    assert record["durationMs"] > 0
    assert record["results"] == found["results"]


async def test_s0_03_a_film_is_made_of_the_picture_before_it(
    live: Served, providers: Providers
) -> None:
    found = await ended(
        live,
        node("img", "text_to_image", prompt="A sunset"),
        node("vid", "image_to_video", imageUrl=ref("img", "imageUrl"), duration=5),
    )

    assert found["status"] == "completed", found
    picture = outputs(found)[0]["imageUrl"]
    assert outputs(found)[1]["sourceImage"] == picture
    assert providers.said(FILM).body["image_url"] == picture
    [record] = await records(live)
    assert record["nodeCount"] == 2


async def test_s0_04_a_provider_s_refusal_fails_the_second_node(
    live: Served, providers: Providers
) -> None:
    detail = [{"loc": ["body", "image_url"], "msg": "unreadable image", "type": "value_error"}]
    providers.instead(FILM, web.json_response({"detail": detail}, status=422))

    found = await ended(
        live,
        node("img", "text_to_image", prompt="A sunset"),
        node("vid", "image_to_video", imageUrl=ref("img", "imageUrl")),
    )

    assert found["status"] == "failed"
    assert [one["status"] for one in found["nodeStatuses"]] == ["completed", "failed"]
    assert "422" in found["error"]
    assert found["results"][1]["error"] == "fal answered 422: unreadable image"
    [record] = await records(live)
    assert [one["success"] for one in record["results"]] == [True, False]


async def test_s0_11_a_list_of_prompts_gives_lists(offline: Served) -> None:
    three = ["one", "two", "three"]
    found = await ended(offline, node("a", "text_to_text", prompt=three, more=PARALLEL))

    [output] = outputs(found)
    assert output["itemsCount"] == 3
    assert [item["text"] for item in output["items"]] == output["text"]
    assert len(set(output["text"])) == 3


async def test_s0_12_unequal_lists_fail_in_the_exact_words(offline: Served) -> None:
    found = await ended(
        offline, node("a", "text_to_text", prompt=["one", "two"], systemPrompt=["one"])
    )

    assert found["results"][0]["error"] == "Array inputs must be the same length"


async def test_s0_13_aggregated_lists_are_one_call(offline: Served) -> None:
    execution = {"mode": "parallel", "waitForAll": True, "aggregateItems": True}
    found = await ended(
        offline,
        node("a", "text_to_text", prompt=["one", "two"], more={"execution": execution}),
    )

    [output] = outputs(found)
    assert output["itemsCount"] == 2
    assert isinstance(output["text"], str)
    assert "items" not in output


async def test_s0_14_prompts_are_joined_with_a_blank_line(
    live: Served, providers: Providers
) -> None:
    prompts = {"prompt": "one", "prompt2": "", "prompt3": "three", "concatPrompts": True}
    await ended(live, node("a", "text_to_text", **prompts))

    messages = providers.said("POST /v1/chat/completions").body["messages"]
    assert messages[-1] == {"role": "user", "content": "one\n\nthree"}


async def test_s0_15_a_node_without_its_service_says_what_to_set(live: Served) -> None:
    found = await ended(live, node("a", "face_swap"))

    assert found["results"][0]["error"] == (
        'Node type "face_swap" requires external content service. '
        "Set CONTENT_SERVICE_URL environment variable."
    )


async def test_s0_16_a_text_is_split_by_its_own_list(offline: Served) -> None:
    text = json.dumps(["x", {"text": "y", "duration": 4}])
    found = await ended(
        offline,
        node("a", "split_text", text=text, splitMode="array"),
        node("b", "upload_files", files=[{"name": "f", "url": ref("a", "items[0]")}]),
    )

    assert outputs(found)[0] == {
        "segments": [
            {"index": 0, "text": "x", "duration": 10},
            {"index": 1, "text": "y", "duration": 4},
        ],
        "items": ["x", "y"],
        "totalSegments": 2,
        "nodeType": "split_text",
    }


async def test_earlier_outputs_fill_empty_fields_where_that_is_asked_for(
    live: Served, providers: Providers
) -> None:
    picture = node("img", "text_to_image", prompt="A sunset")
    asking = {"execution": {"usePreviousResults": True}}

    found = await ended(live, picture, node("vid", "image_to_video", more=asking))
    without = await ended(live, picture, node("vid", "image_to_video"))

    assert outputs(found)[1]["sourceImage"] == outputs(found)[0]["imageUrl"]
    assert without["results"][1]["error"] == "No input image provided"
    assert len(providers.lines(FILM)) == 1


async def test_a_node_at_a_provider_is_running_all_the_time(
    tmp_path: Path, providers: Providers
) -> None:
    providers.waits = 10**9
    ai = Ai(fal_key=FAL_KEY, fal_queue_run_host=f"{providers.url}/queue")
    store = memory()
    async with served(store, ai=ai, media=media(tmp_path)) as server:
        answer = await server.ask("POST /workflow/run", {"nodes": [node("a", "text_to_image")]})
        where = f"/workflow/{answer.json['workflowId']}"
        async with doing(server, boom=boom):  # polling lets the others have their turn
            while not providers.lines("POST /queue"):
                await ended(server, node("b", "boom"))
            for _ in range(5):
                await ended(server, node("b", "boom"))
                found = (await server.ask(f"GET {where}/status")).json
                assert (found["status"], found["currentNodeId"]) == ("running", "a")
        await server.ask(f"POST {where}/cancel")
    await store.close()


async def test_a_server_that_has_died_holds_a_node_of_its_own_for_minutes_not_an_hour() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        await server.ask("GET /api/tasks/poll/own")
        for kind in ("text_to_text", "own"):
            assert (
                await server.ask("POST /workflow/run", {"nodes": [node("a", kind)]})
            ).status == 200
        held = [(await server.engine.poll(kind))[0].lease for kind in ("text_to_text", "own")]
    await store.close()

    assert [lease.lease_ms for lease in held] == [300_000, 3_600_000]


@pytest.mark.parametrize("name", sorted(templates()))
async def test_a_template_runs_as_it_is(offline: Served, name: str) -> None:
    if name == "story-to-scenes" and ffmpeg.find("") is None:
        pytest.skip("there is no ffmpeg on this machine")
    shown = (await offline.ask(f"GET /workflow/templates/{name}")).json
    answer = await offline.ask("POST /workflow/run", shown)
    assert answer.status == 200, answer.body
    await offline.ended(answer.json["workflowId"])

    [record] = await records(offline)
    assert (record["status"], record["workflowName"]) == ("completed", shown["workflowName"])
    assert record["nodeCount"] == len(shown["nodes"])
    last = record["results"][-1]["data"]["output"]
    assert last["text"] if name == "test-workflow" else last["videoUrl"].endswith(".mp4")


async def test_a_server_may_leave_nodes_to_others() -> None:
    store = memory()
    async with served(store, node_tasks_max=0) as server:
        body = {"nodes": [node("a", "text_to_text")]}
        refused = await server.ask("POST /workflow/run", body)
        assert refused.status == 400
        await server.ask("GET /api/tasks/poll/text_to_text?workerid=backend-1")
        assert (await server.ask("POST /workflow/run", body)).status == 200
    await store.close()


def test_every_node_type_of_the_original_is_known(shared_data: Path) -> None:
    listed: Any = json.loads((shared_data / "s0" / "node-types.json").read_text("utf-8"))
    found = listed if isinstance(listed, list) else listed.get("nodeTypes", listed)
    names = {one["type"] for one in found} if isinstance(found, list) else set(found)

    assert names <= set(NODE_TYPES)
    assert {one["type"] for template in templates().values() for one in template.nodes} <= names


@pytest.mark.slow
def test_s0_02_the_curl_of_the_original_s_description_works_as_it_is(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    port = free_port()
    server = Server(tmp_path)
    server.start("--listen", f"{port}=flow", "--ai", "fake")
    try:
        command = CURL.replace("localhost:5111", f"localhost:{port}")
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30
        )
        answer = json.loads(done.stdout)
        assert (answer["success"], answer["message"]) == (True, "Workflow queued for execution")
        where = f"http://localhost:{port}/workflow"

        def look() -> Any:
            found = ask(f"{where}/{answer['workflowId']}/status")[1]
            return found if found["status"] == "completed" else None

        found = eventually(look, "the flow completes")
        assert found["results"][0]["data"]["output"]["text"]
        assert ask(f"{where}/history")[1][0]["workflowName"] == "Test"
        assert ask(f"http://localhost:{port}/health")[1]["service"] == "workflow-backend"
    finally:
        server.stop()
    server.check_log()
