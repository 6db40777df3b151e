"""Media nodes in a real engine: what survives a restart, and which files go with which runs."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from batuta.app.engine import open_engine
from batuta.config import Settings
from batuta.model.command import DeleteWorkflow
from batuta.model.payload import Payload
from batuta.runtime.clock import pause
from batuta.runtime.engine import Engine
from batuta.runtime.view import RunView, StartRequest
from batuta.store.blob.media import MediaFiles
from batuta.workers.local import LocalTransport
from batuta.workers.loop import Workers
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.nodes import NODE_TYPES
from batuta.workers.media.worker import media_functions
from batuta.workers.system.target import targets_of
from tests.media.conftest import live
from tests.media.providers import FAL_KEY, OPENAI_KEY, Providers

LIMIT_S = 20
DAYS_AGO_S = 3 * 86_400


def flow(*nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Give a definition of nodes one after the other."""
    return {
        "name": "flow",
        "version": 1,
        "ownerEmail": "a@b.example",
        "tasks": [
            {
                "name": node,
                "taskReferenceName": f"node_{index}",
                "type": "SIMPLE",
                "inputParameters": {"nodeId": f"n{index}", "nodeType": node, "config": config},
            }
            for index, (node, config) in enumerate(nodes, 1)
        ],
    }


@asynccontextmanager
async def serving(settings: Settings, services: Services | None = None) -> AsyncIterator[Engine]:
    """Give an engine with the workers of all node types."""
    async with open_engine(settings) as engine:
        targets = targets_of((), is_shared=False)
        own = Services(ai=Ai(is_fake=True), media=engine.media, targets=targets)
        workers = Workers(LocalTransport(engine), media_functions(services or own))
        workers.start()
        try:
            yield engine
        finally:
            await workers.drain(5_000)


async def started(engine: Engine, *nodes: tuple[str, dict[str, Any]]) -> str:
    await engine.definitions.put_workflow_defs([flow(*nodes)], overwrite=True)
    return await engine.start(StartRequest(name="flow", input=Payload(b"{}")))


async def ended(engine: Engine, workflow_id: str) -> RunView:
    async with asyncio.timeout(LIMIT_S):
        while True:
            run = await engine.get(workflow_id)
            if run.workflow.status.is_terminal:
                return run
            await pause(0.01)


def outputs(run: RunView) -> list[Any]:
    return [json.loads(view.output.raw or b"null") for view in run.tasks]


def is_in_files(folder: Path, text: str) -> bool:
    """Tell whether any file below a folder holds a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return any(text.encode() in path.read_bytes() for path in files)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(db=str(tmp_path / "batuta.db"))


async def test_s0_20_a_request_that_a_provider_has_queued_survives_a_restart(
    settings: Settings, providers: Providers, media: MediaFiles
) -> None:
    providers.waits = 1_000_000
    services = live(media, providers)
    async with serving(settings, services) as engine:
        workflow_id = await started(
            engine, ("text_to_text", {}), ("text_to_video", {"prompt": "x"})
        )
        async with asyncio.timeout(LIMIT_S):
            while not providers.lines("/status"):
                await pause(0.01)

    providers.waits = 0
    async with serving(settings, live(media, providers)) as engine:
        run = await ended(engine, workflow_id)

    assert run.workflow.status.value == "COMPLETED"
    assert outputs(run)[1]["videoUrl"].endswith("a.mp4")
    assert len(providers.lines("POST /queue")) == 1
    assert len(providers.lines("POST /v1/chat")) == 1, "the node before is not done again"


async def test_no_key_is_in_anything_that_is_stored(
    settings: Settings, providers: Providers, media: MediaFiles, tmp_path: Path
) -> None:
    async with serving(settings, live(media, providers)) as engine:
        nodes = (("text_to_text", {}), ("text_to_image", {}), ("text_to_speech", {}))
        await ended(engine, await started(engine, *nodes))

    assert [key for key in (OPENAI_KEY, FAL_KEY) if is_in_files(tmp_path, key)] == []
    assert is_in_files(tmp_path, "files-of-others"), "the search finds what is there"


async def test_a_failed_provider_fails_the_run_with_its_message(
    settings: Settings, providers: Providers, media: MediaFiles
) -> None:
    async with serving(settings, live(media, providers, openai_key="sk-wrong-key-12345")) as engine:
        run = await ended(engine, await started(engine, ("text_to_text", {})))

    assert run.workflow.status.value == "FAILED"
    assert "OpenAI answered 401: Incorrect API key provided" in (run.workflow.reason or "")
    assert "sk-wrong-key-12345" not in (run.workflow.reason or "")


async def test_files_go_with_their_run(settings: Settings, tmp_path: Path) -> None:
    async with serving(settings) as engine:
        assert engine.media is not None
        kept = await ended(engine, await started(engine, ("text_to_image", {})))
        gone = await ended(engine, await started(engine, ("text_to_image", {})))
        names = [outputs(run)[0]["imageUrl"].rpartition("/")[2] for run in (kept, gone)]
        found = [engine.media.path(name) for name in names]
        for path in found:
            assert path is not None
            at = path.stat().st_mtime - DAYS_AGO_S
            os.utime(path.parent, (at, at))
        await engine.committer.submit(DeleteWorkflow(workflow_id=gone.workflow.workflow_id))
        keeper = engine.keeper
        assert keeper is not None
        await keeper.make_pass()

        assert [engine.media.path(name) for name in names] == [found[0], None]
        assert found[0] is not None
        assert found[0].is_relative_to(tmp_path / "batuta.db-blobs" / "media")


async def test_every_node_type_is_done_by_the_server(settings: Settings) -> None:
    async with serving(settings) as engine:
        nodes = [(name, _config(name)) for name in NODE_TYPES]
        run = await ended(engine, await started(engine, *nodes))

    assert run.workflow.status.value == "COMPLETED", run.workflow.reason
    assert [output["nodeType"] for output in outputs(run)] == list(NODE_TYPES)


def _config(name: str) -> dict[str, Any]:
    return {
        "image_to_video": {"imageUrl": "${node_3.output.imageUrl}", "duration": 1},
        "image_to_image": {"imageUrl": "${node_3.output.imageUrl}"},
        "split_text": {"text": "${node_2.output.text}"},
        "edit_video": {
            "videoUrl": "${node_4.output.videoUrl}",
            "speechUrl": "${node_6.output.audioUrl}",
        },
        "clip_merger": {"clips": ["${node_4.output.videoUrl}", "${node_7.output.videoUrl}"]},
        "text_to_speech": {"text": "Hello"},
        "text_to_video": {"duration": "1 second"},
    }.get(name, {})
