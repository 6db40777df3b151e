"""The workflow that every server has: offline, and with the protocols of real providers."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from batuta.dialects.checkpointed.author import HardError, RetryableError
from batuta.dialects.checkpointed.builtin.img_edit_to_video.workflow import ImgEditToVideoWorkflow
from batuta.runtime.clock import wall_ms
from batuta.store.blob.media import MediaFiles
from tests.dialects.checkpointed.classes import form, world
from tests.media.conftest import live
from tests.media.providers import FAL_KEY, PICTURE, Providers, serving

JOB = "01890000-0000-7000-8000-00000000002a"
UPLOAD = "POST /v1_1/my-cloud/image/upload"
STEP = {"name": "image_edit", "default_model": "nano-banana"}
FILM_STEP = {"name": "video_generation", "default_model": "minimax/video-01"}


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with serving() as found:
        found.waits = 1
        film = {"video": {"url": f"{found.url}/files-of-others/a.mp4"}}
        found.results["fal-ai/minimax/video-01/image-to-video"] = film
        yield found


@pytest.fixture
def media(tmp_path: Path) -> MediaFiles:
    return MediaFiles(tmp_path / "media", wall_ms=wall_ms)


def workflow(
    media: MediaFiles, providers: Providers, *, options: Any = None, **environment: str
) -> ImgEditToVideoWorkflow:
    """Return an object as a step gets it."""
    made = ImgEditToVideoWorkflow()
    made.services = live(media, providers)
    made.job_id = JOB
    made.options = options or {}
    made.environment = environment
    made.config = {"default_prompts": {"image_edit": "in oil", "video_generation": "slowly"}}
    return made


async def test_s4_02_b_it_is_listed_and_runs_without_any_key(tmp_path: Path) -> None:
    async with world(tmp_path / "none") as here:
        listed = (await here.server.ask("GET /workflows/list")).json["workflows"]
        sent = form(workflow_id="img-edit-to-video", file=("me.png", "image/png", PICTURE))
        job_id = (await here.ask("POST /workflows/execute", **sent)).json["job_id"]
        await here.server.ended(job_id)
        job, shown = await here.job(job_id), await here.execution(job_id)
        media = here.server.engine.media
        assert media is not None
        film = media.path(job["video_url"].rpartition("/")[2])

    assert [one["id"] for one in listed] == ["img-edit-to-video"]
    assert listed[0]["icon"] == "🎬"
    assert [step["name"] for step in listed[0]["steps"]] == [
        "upload",
        "image_edit",
        "video_generation",
    ]
    assert job["status"] == "completed", job["error_message"]
    assert film is not None
    assert film.suffix == ".mp4"
    assert [one["type"] for one in job["metadata"]["assets"]] == ["image", "image", "video"]
    outputs = [shown["checkpoints"][key]["output"] for key in "012"]
    assert set(outputs[0]) == {"image_url", "public_id", "format"}
    assert set(outputs[1]) == {"edited_image_url", "model_used", "prompt"}
    assert outputs[1]["model_used"] == "nano-banana"


async def test_a_picture_is_uploaded_to_cloudinary_where_there_is_an_account(
    media: MediaFiles, providers: Providers
) -> None:
    stored = {"secure_url": "https://res.example/x.png", "public_id": JOB, "format": "png"}
    providers.instead(UPLOAD, web.json_response(stored))
    account = f"cloudinary://key-1:the-secret@my-cloud?upload_prefix={providers.url}"
    file = await media.put(PICTURE, media_type="image/png", workflow_id=JOB)

    found = await workflow(media, providers, CLOUDINARY_URL=account).step_upload(
        {"url": file.url}, {}
    )

    assert found == {"image_url": "https://res.example/x.png", "public_id": JOB, "format": "png"}
    fields = providers.said("upload").fields
    signed = {name: fields[name] for name in ("overwrite", "public_id", "timestamp")}
    text = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
    assert fields["signature"] == hashlib.sha1(f"{text}the-secret".encode()).hexdigest()
    assert (fields["api_key"], fields["file"]) == ("key-1", PICTURE)


async def test_fal_changes_the_picture_and_makes_the_film(
    media: MediaFiles, providers: Providers
) -> None:
    file = await media.put(PICTURE, media_type="image/png", workflow_id=JOB)
    options = {"prompts": {"image_edit": "as a fresco"}}
    made = workflow(media, providers, options=options)

    edited = await made.step_image_edit({"image_url": file.url}, STEP)
    film = await made.step_video_generation(edited, FILM_STEP)

    asked = [said for said in providers.seen if said.line.startswith("POST /queue/")]
    assert [said.line for said in asked] == [
        "POST /queue/fal-ai/nano-banana/edit",
        "POST /queue/fal-ai/minimax/video-01/image-to-video",
    ]
    assert asked[0].body["prompt"] == "as a fresco"
    assert asked[0].body["image_urls"][0].startswith("data:image/png;base64,")
    assert asked[0].headers["Authorization"] == f"Key {FAL_KEY}"
    assert asked[1].body["prompt"] == "slowly"
    assert film["model_used"] == "minimax/video-01"
    assert film["video_url"] == f"{providers.url}/files-of-others/a.mp4"


@pytest.mark.parametrize(
    ("status", "body", "error_type", "retry_after"),
    [
        (429, {"detail": "Too many requests"}, "rate_limit", 9.0),
        (429, {"detail": "You exceeded your current quota"}, "quota_exceeded", None),
        (402, {"detail": "pay"}, "quota_exceeded", None),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, "quota_exceeded", None),
        (401, {"detail": "Cannot access application"}, "invalid_key", None),
        (503, {"detail": "overloaded"}, "api_error", None),
    ],
)
async def test_s4_05_b_what_a_provider_says_decides_what_is_waited_for(
    media: MediaFiles,
    providers: Providers,
    status: int,
    body: Any,
    error_type: str,
    retry_after: float | None,
) -> None:
    file = await media.put(PICTURE, media_type="image/png", workflow_id=JOB)
    headers = {"Retry-After": "9"} if retry_after else {}
    answer = web.json_response(body, status=status, headers=headers)
    providers.instead("POST /queue/fal-ai/nano-banana/edit", answer)

    with pytest.raises(RetryableError) as raised:
        await workflow(media, providers).step_image_edit({"image_url": file.url}, STEP)

    found = raised.value
    assert (found.error_type, found.retry_after) == (error_type, retry_after)
    assert (found.provider, found.model) == ("fal", "nano-banana")
    assert "hunter2" not in found.message


async def test_s4_09_c_what_no_retry_mends_is_a_hard_error(
    media: MediaFiles, providers: Providers
) -> None:
    file = await media.put(PICTURE, media_type="image/png", workflow_id=JOB)
    answer = web.json_response({"detail": "content policy"}, status=422)
    providers.instead("POST /queue/fal-ai/nano-banana/edit", answer)
    made = workflow(media, providers)

    with pytest.raises(HardError, match="content policy"):
        await made.step_image_edit({"image_url": file.url}, STEP)
    with pytest.raises(HardError, match="an image is needed"):
        await made.step_upload({}, {})
    text = await media.put(b"no picture", media_type="text/plain", workflow_id=JOB)
    with pytest.raises(HardError):
        await made.step_upload({"url": text.url}, {})
