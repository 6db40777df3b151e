"""Providers that are busy, broken, slow or right to refuse."""

from typing import Any

import pytest
from aiohttp import web

from batuta.store.blob.media import MediaFiles
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.call import NodeError, TroubleError
from batuta.workers.media.provider import ask as asking
from batuta.workers.media.worker import TRIES_MAX
from batuta.workers.system.target import targets_of
from tests.media.conftest import PARALLEL, do, live, progress, step
from tests.media.providers import FAL_KEY, OPENAI_KEY, Providers, refusal

CHAT = "POST /v1/chat/completions"
SUBMIT = "POST /queue/fal-ai/z-image/turbo"


@pytest.mark.parametrize(
    ("model", "has_temperature"), [("gpt-4o", True), ("gpt-5-mini", False), ("openai/o3", False)]
)
async def test_a_model_that_refuses_a_temperature_gets_none(
    services: Services, providers: Providers, model: str, *, has_temperature: bool
) -> None:
    done = await do(services, "text_to_text", {"model": model})

    assert ("temperature" in providers.said(CHAT).body) == has_temperature
    assert done.output["model"] == model


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
async def test_a_busy_provider_is_asked_again(
    services: Services, providers: Providers, status: int
) -> None:
    providers.instead(CHAT, refusal(status))

    done = await do(services, "text_to_text", {})

    assert done.status == "COMPLETED"
    assert providers.lines() == [CHAT, CHAT]


async def test_a_provider_that_stays_busy_fails_the_attempt_but_not_for_good(
    services: Services, providers: Providers
) -> None:
    providers.instead(CHAT, *(refusal(500) for _ in range(TRIES_MAX)))

    done = await do(services, "text_to_text", {})

    assert (done.status, done.reason) == ("FAILED", "OpenAI answered 500: not now")
    assert len(providers.lines()) == TRIES_MAX


@pytest.mark.parametrize(
    ("given", "least_ms", "most_ms"),
    [
        ("30", 29_000, 30_000),
        ("1.5", 1_400, 1_500),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1, 1_000),
        ("Fri, 21 Oct 2050 07:28:00 GMT", 599_000, 600_000),
        ("99999999", 599_000, 600_000),
        ("soon", 1, 1_000),
        ("-5", 1, 1_000),
    ],
)
async def test_a_provider_says_how_long_to_wait(
    services: Services, providers: Providers, given: str, least_ms: int, most_ms: int
) -> None:
    providers.instead(CHAT, refusal(429, Retry_After=given))

    found = await step(services, "text_to_text", {})

    assert found.status.value == "IN_PROGRESS"
    assert least_ms <= found.callback_after_ms <= most_ms


async def test_s0_04_a_refusal_ends_the_task_for_good_with_its_message(
    services: Services, providers: Providers
) -> None:
    line = "POST /queue/fal-ai/ltxv-13b-098-distilled/image-to-video"
    detail = [{"loc": ["body", "image_url"], "msg": "unreadable image", "type": "value_error"}]
    providers.instead(line, web.json_response({"detail": detail}, status=422))

    done = await do(services, "image_to_video", {"imageUrl": "https://x.example/a.png"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == "fal answered 422: unreadable image"
    assert providers.lines() == [line]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_a_refusal_is_not_tried_again(
    services: Services, providers: Providers, status: int
) -> None:
    providers.instead(CHAT, refusal(status))

    done = await do(services, "text_to_text", {})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == f"OpenAI answered {status}: not now"
    assert providers.lines() == [CHAT]


async def test_one_refusal_ends_all_calls_of_a_task(
    services: Services, providers: Providers
) -> None:
    providers.instead(CHAT, refusal(400))

    done = await do(services, "text_to_text", {"prompt": ["a", "b", "c"]}, PARALLEL)

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<html>gateway", content_type="text/html"),
        web.Response(body=b"\xff\xfe\x00", content_type="application/json"),
        web.json_response({"choices": []}),
        web.json_response([1, 2]),
        web.json_response({"choices": [{"message": {"content": None}}]}),
    ],
)
async def test_an_answer_that_makes_no_sense_is_trouble(
    services: Services, providers: Providers, answer: web.Response
) -> None:
    providers.instead(CHAT, answer)

    found = await step(services, "text_to_text", {})

    assert found.status.value == "IN_PROGRESS"
    assert "OpenAI" in progress(found)["trouble"]


async def test_a_provider_that_is_slow_is_given_up(
    monkeypatch: pytest.MonkeyPatch, services: Services, providers: Providers
) -> None:
    monkeypatch.setattr("batuta.workers.media.provider.openai.CHAT_S", 0.05)
    providers.silent.add(CHAT)

    done = await do(services, "text_to_text", {})

    assert (done.status, done.reason) == ("FAILED", "OpenAI did not answer within 0.05 s")


async def test_a_provider_that_is_not_there_is_trouble(media: MediaFiles) -> None:
    ai = Ai(openai_key=OPENAI_KEY, openai_base_url="http://127.0.0.1:9")
    services = Services(
        ai=ai, media=media, targets=targets_of((), is_shared=False), retry_ms=1, ask_ms=1
    )

    done = await do(services, "text_to_text", {})

    assert done.status == "FAILED"
    assert "OpenAI cannot be reached" in (done.reason or "")


@pytest.mark.parametrize(
    ("node", "config", "name"),
    [
        ("text_to_text", {}, "OPENAI_API_KEY"),
        ("split_text", {"text": "A b."}, "OPENAI_API_KEY"),
        ("image_to_image", {"imageUrl": "https://x.example/a.png"}, "OPENAI_API_KEY"),
        ("text_to_image", {"provider": "openai"}, "OPENAI_API_KEY"),
        ("text_to_image", {}, "FAL_KEY"),
        ("text_to_video", {}, "FAL_KEY"),
        ("image_to_video", {"imageUrl": "https://x.example/a.png"}, "FAL_KEY"),
        ("text_to_music", {}, "FAL_KEY"),
        ("text_to_speech", {}, "FAL_KEY"),
    ],
)
async def test_a_key_that_is_missing_is_named_with_the_way_out(
    media: MediaFiles, node: str, config: dict[str, Any], name: str
) -> None:
    services = Services(ai=Ai(), media=media, targets=targets_of((), is_shared=False))

    done = await do(services, node, config)

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert f"{name} is not set" in (done.reason or "")
    assert "BATUTA_AI=fake" in (done.reason or "")


async def test_an_address_of_ones_own_needs_no_key(media: MediaFiles, providers: Providers) -> None:
    providers.instead(CHAT, web.json_response({"choices": [{"message": {"content": "hi"}}]}))

    done = await do(live(media, providers, openai_key=""), "text_to_text", {})

    assert done.output["text"] == "hi"
    assert "Authorization" not in providers.said(CHAT).headers


@pytest.mark.parametrize("node", ["text_to_text", "text_to_image"])
async def test_no_key_is_in_what_anybody_sees(
    media: MediaFiles, providers: Providers, node: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = {"error": {"message": f"wrong key {OPENAI_KEY} or {FAL_KEY} or sk-other-123456789"}}
    for line in (CHAT, SUBMIT):
        providers.instead(line, web.json_response(said, status=401))
    services = live(media, providers)

    done = await do(services, node, {})

    seen = f"{done.reason} {done.steps!r} {services!r} {caplog.text}"
    assert "wrong key" in (done.reason or "")
    assert "sk-other-123456789" not in seen
    own = OPENAI_KEY if node == "text_to_text" else FAL_KEY
    assert own not in seen


@pytest.mark.parametrize("model", ["../../admin", "fal-ai/../x", "a b/c", "x", "fal-ai//x", "/a/b"])
async def test_a_model_is_no_path(services: Services, providers: Providers, model: str) -> None:
    done = await do(services, "text_to_image", {"model": model})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert providers.seen == []


async def test_a_redirect_does_not_take_the_key_along(
    services: Services, providers: Providers
) -> None:
    moved = web.Response(status=302, headers={"Location": f"{providers.url}/a.png"})
    providers.instead(CHAT, moved)

    done = await do(services, "text_to_text", {})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "redirect is not followed" in (done.reason or "")
    assert providers.lines() == [CHAT]


async def test_what_no_database_takes_is_left_out(services: Services, providers: Providers) -> None:
    providers.text = "a\0b \\u0000"
    written = await do(services, "text_to_text", {})
    providers.instead(CHAT, web.json_response({"error": {"message": "no\0t"}}, status=400))
    refused = await do(services, "text_to_text", {})

    assert written.output["text"] == "ab \\u0000"
    assert refused.reason == "OpenAI answered 400: not"


async def test_a_huge_answer_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, services: Services, providers: Providers
) -> None:
    monkeypatch.setattr(asking, "JSON_BYTES_MAX", 100_000)
    providers.instead(CHAT, web.Response(body=b" " * 1_000_000, content_type="application/json"))

    done = await do(services, "text_to_text", {})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == "the answer of OpenAI is larger than 100,000 bytes"


async def test_speech_that_is_too_large_leaves_no_file(
    services: Services, providers: Providers, media: MediaFiles
) -> None:
    sound = web.Response(body=b"\0" * 3_000_000, content_type="audio/mpeg")
    providers.instead("POST /v1/audio/speech", sound)

    done = await do(services, "text_to_speech", {"model": "openai/tts-1"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "larger than 2,000,000 bytes" in (done.reason or "")
    assert [path for path in media._folder.rglob("*") if path.is_file()] == []


async def test_speech_that_is_no_sound_is_not_kept(
    services: Services, providers: Providers, media: MediaFiles
) -> None:
    page = web.Response(text="<html>", content_type="text/html")
    providers.instead("POST /v1/audio/speech", page)

    found = await step(services, "text_to_speech", {"model": "openai/tts-1"})

    assert "'text/html" in progress(found)["trouble"]
    assert not media._folder.exists()


@pytest.mark.parametrize("text", ["no base64!", "PGh0bWw+"])
async def test_a_picture_that_is_none_is_not_kept(
    services: Services, providers: Providers, media: MediaFiles, text: str
) -> None:
    providers.picture = {"b64_json": text}

    found = await step(services, "text_to_image", {"provider": "openai"})

    assert "b64_json" in progress(found)["trouble"]
    assert not media._folder.exists()


async def test_without_a_folder_for_files_a_node_says_what_to_set(providers: Providers) -> None:
    done = await do(live(None, providers), "text_to_image", {"provider": "openai"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "BATUTA_BLOB_FOLDER" in (done.reason or "")


async def test_a_disk_that_is_full_may_be_tried_again(
    services: Services, media: MediaFiles
) -> None:
    media._folder.write_text("a file in the way")

    done = await do(services, "text_to_image", {"provider": "openai"})

    assert done.status == "FAILED"


@pytest.mark.parametrize("output", [b"", b"{", b"[]", b'{"progress":7}', b'{"progress":[{},{}]}'])
async def test_what_is_no_progress_is_begun_anew(services: Services, output: bytes) -> None:
    done = await step(services, "text_to_text", {}, output=output)

    assert done.status.value == "COMPLETED"


async def test_plain_coroutines_raise_what_the_worker_reports(
    media: MediaFiles, providers: Providers
) -> None:
    from batuta.workers.media.make import edit_image

    services = live(media, providers)
    providers.instead("POST /v1/images/edits", refusal(500), refusal(400))
    url = f"{providers.url}/a.png"

    with pytest.raises(TroubleError):
        await edit_image(services, image_url=url, prompt="x")
    with pytest.raises(NodeError):
        await edit_image(services, image_url=url, prompt="x")
    assert str(await edit_image(services, image_url=url, prompt="x")).startswith("/files/")
