"""What tests of media nodes share: a folder of files, providers, and doing a task to its end."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batuta.model.execution import TaskStatus
from batuta.runtime.clock import pause, wall_ms
from batuta.store.blob.media import MediaFiles
from batuta.workers.function import Job, TaskContext
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.nodes import NODE_TYPES
from batuta.workers.media.worker import do_node
from batuta.workers.outcome import Outcome
from batuta.workers.system.target import targets_of
from tests.media.providers import FAL_KEY, OPENAI_KEY, Providers, serving

RUN = "01890000-0000-7000-8000-00000000002a"
BYTES_MAX = 2_000_000
STEPS_MAX = 50  # of one task; only one that never ends comes near it
PARALLEL = {"mode": "parallel", "waitForAll": False, "aggregateItems": False}
SEQUENTIAL: dict[str, Any] = {}
AGGREGATED = {"mode": "parallel", "waitForAll": True, "aggregateItems": True}


@pytest.fixture
def media(tmp_path: Path) -> MediaFiles:
    return MediaFiles(tmp_path / "media", wall_ms=wall_ms, bytes_max=BYTES_MAX)


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with serving() as found:
        yield found


def live(media: MediaFiles | None, providers: Providers, **more: Any) -> Services:
    """Give services that ask our providers, with keys; no pause is longer than some ms."""
    url = providers.url
    given = {
        "openai_key": OPENAI_KEY,
        "openai_base_url": f"{url}/v1/",
        "fal_key": FAL_KEY,
        "fal_run_host": f"{url}/run",
        "fal_queue_run_host": f"{url}/queue",
        "content_service_url": f"{url}/content/",
    }
    targets = targets_of((), is_shared=False)
    ai = Ai(**{**given, **more})
    return Services(ai=ai, media=media, targets=targets, retry_ms=1, ask_ms=1)


@pytest.fixture
def services(media: MediaFiles, providers: Providers) -> Services:
    return live(media, providers)


@pytest.fixture
def offline(media: MediaFiles) -> Services:
    targets = targets_of((), is_shared=True)
    return Services(ai=Ai(is_fake=True), media=media, targets=targets)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a task ended; ``steps``: each report, the last one too."""

    status: str
    reason: str | None
    output: dict[str, Any]
    steps: tuple[Outcome, ...]


async def step(
    services: Services,
    node: str,
    config: Any,
    execution: Any = None,
    *,
    output: bytes = b"{}",
    previous: Sequence[Any] = (),
) -> Outcome:
    """Do a task once, as a worker that has just been given it."""
    given = {"nodeId": "n1", "nodeType": node, "config": config, "execution": execution or {}}
    given["previousResults"] = list(previous)
    job = Job(task_id="t", workflow_id=RUN, task_type=node, output=output)
    return await do_node(
        services, NODE_TYPES[node], TaskContext(job, json.loads(json.dumps(given)))
    )


async def do(
    services: Services, node: str, config: Any, execution: Any = None, **more: Any
) -> Done:
    """Do a task until it has ended; each time it is offered again it has only its output."""
    steps: list[Outcome] = []
    output = more.pop("output", b"{}")
    while len(steps) < STEPS_MAX:
        found = await step(services, node, config, execution, output=output, **more)
        steps.append(found)
        output = found.output or b"{}"
        if found.status is not TaskStatus.IN_PROGRESS:
            return Done(
                status=found.status.value,
                reason=found.reason,
                output=json.loads(output),
                steps=tuple(steps),
            )
        assert 0 < found.callback_after_ms < 1_000, "a test does not wait for long"
        await pause(found.callback_after_ms / 1_000)
    raise AssertionError(f"still in progress after {STEPS_MAX} steps: {output!r}")


def raw_of(media: MediaFiles, url: str) -> bytes:
    """Return the bytes of a file of ours."""
    path = media.path(url.rpartition("/")[2])
    assert path is not None, url
    return path.read_bytes()


def progress(outcome: Outcome) -> Any:
    """Give what is kept of the first call."""
    return json.loads(outcome.output or b"{}")["progress"][0]
