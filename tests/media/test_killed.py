"""A server of its own that is killed while a provider works: what is paid for is paid for once."""

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from batuta.runtime.clock import pause
from tests.media.providers import FAL_KEY, OPENAI_KEY, PICTURE, Providers
from tests.sdk.server import Server

LIMIT_S = 40


def _ask(server: Server, line: str, body: Any = None) -> bytes:
    method, path = line.split(" ")
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
        return found


@pytest.mark.slow
async def test_s0_20_a_server_that_is_killed_asks_for_the_film_it_had_ordered(
    providers: Providers, tmp_path: Path
) -> None:
    providers.waits = 1_000_000
    url = providers.url
    options = ["--openai-base-url", f"{url}/v1", "--openai-api-key", OPENAI_KEY]
    options += ["--fal-run-host", url, "--fal-queue-run-host", f"{url}/queue"]
    options += ["--fal-key", FAL_KEY]
    server = Server(tmp_path)
    nodes = [
        {"id": "a", "type": "text_to_image", "config": {"provider": "openai"}},
        {
            "id": "b",
            "type": "image_to_video",
            "config": {"imageUrl": {"_type": "reference", "nodeId": "a", "outputKey": "imageUrl"}},
        },
    ]
    try:
        await asyncio.to_thread(server.start, *options)
        begun = await asyncio.to_thread(_ask, server, "POST /workflow/run", {"nodes": nodes})
        workflow_id = json.loads(begun)["workflowId"]
        await _until(lambda: bool(providers.lines("/status")))
        server.kill()
        providers.waits = 0
        await asyncio.to_thread(server.start, *options)
        status = await _ended(server, workflow_id)
        drawn, filmed = [one["data"]["output"] for one in status["results"]]
        picture = await asyncio.to_thread(_ask, server, f"GET {drawn['imageUrl']}")
    finally:
        await asyncio.to_thread(server.stop)

    assert status["status"] == "completed"
    assert filmed["sourceImage"] == drawn["imageUrl"]
    assert picture == PICTURE, "a file that was named is there after the kill"
    assert [line for line in providers.lines() if line.startswith("POST")] == [
        "POST /v1/images/generations",
        "POST /queue/fal-ai/ltxv-13b-098-distilled/image-to-video",
    ]
    assert OPENAI_KEY not in server.log
    server.check_log()


async def _ended(server: Server, workflow_id: str) -> Any:
    found: Any = {}
    async with asyncio.timeout(LIMIT_S):
        while found.get("status") not in ("completed", "failed"):
            raw = await asyncio.to_thread(_ask, server, f"GET /workflow/{workflow_id}/status")
            found = json.loads(raw)
            await pause(0.05)
    return found


async def _until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await pause(0.02)
