"""Providers that are busy, broken, slow or right to refuse; and requests that wait in a queue."""

import json
from typing import Any

import pytest
from aiohttp import web

from batuta.store.blob.media import MediaFiles
from batuta.workers.media import worker
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.call import NodeError, TroubleError
from batuta.workers.media.provider import ask as asking
from batuta.workers.media.provider import fal
from batuta.workers.media.provider.ask import Target
from batuta.workers.media.provider.fal import SLOW_FACTOR, SOON_COUNT, queued
from batuta.workers.media.worker import PARALLEL_MAX, TRIES_MAX
from batuta.workers.system.target import targets_of
from tests.media.conftest import PARALLEL, do, live, step
from tests.media.providers import FAL_KEY, OPENAI_KEY, Providers

CHAT = "POST /v1/chat/completions"
SUBMIT = "POST /queue/fal-ai/z-image/turbo"
STATUS = "GET /queue/fal-ai/z-image/requests/request-0/status"
RESULT = "GET /queue/fal-ai/z-image/requests/request-0"


def refusal(status: int, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"error": {"message": "not now"}}, status=status, headers=named)


def progress(outcome: Any) -> Any:
    """Give what is kept of the first call."""
    return json.loads(outcome.output)["progress"][0]


async def test_a_request_is_submitted_once_and_asked_for_until_it_is_done(
    services: Services, providers: Providers
) -> None:
    done = await do(services, "text_to_image", {"prompt": "A fox"})

    assert done.status == "COMPLETED"
    assert providers.lines() == [SUBMIT, STATUS, STATUS, STATUS, RESULT]
    assert [one.status.value for one in done.steps] == ["IN_PROGRESS"] * 3 + ["COMPLETED"]
    assert "progress" not in done.output


async def test_a_server_that_starts_anew_asks_for_the_same_request(
    services: Services, providers: Providers, media: MediaFiles
) -> None:
    first = await step(services, "text_to_image", {"prompt": "A fox"})

    assert progress(first)["state"]["requestId"] == "request-0"
    again = live(media, providers)
    output = first.output or b""
    done = await do(again, "text_to_image", {"prompt": "A fox"}, output=output)
    assert done.output["imageUrl"].endswith("a.png")
    assert len(providers.lines("POST")) == 1


async def test_what_is_done_is_not_done_again_while_others_wait(
    services: Services, providers: Providers
) -> None:
    providers.instead(SUBMIT, refusal(503))

    done = await do(services, "text_to_image", {"prompt": ["a", "b"]}, PARALLEL)

    assert done.output["itemsCount"] == 2
    assert len(providers.lines(SUBMIT)) == 3, "two, and the one that was refused"
    assert len(providers.queued) == 2


async def test_of_many_calls_so_many_are_made_at_once_and_then_kept(
    services: Services, providers: Providers
) -> None:
    count = 2 * PARALLEL_MAX + 5

    done = await do(services, "text_to_text", {"prompt": ["a"] * count}, PARALLEL)

    assert done.output["itemsCount"] == len(providers.lines(CHAT)) == count
    kept = [json.loads(one.output or b"{}").get("progress", []) for one in done.steps]
    counts = [sum("output" in held for held in one) for one in kept]
    assert counts == [PARALLEL_MAX, 2 * PARALLEL_MAX, 0]


async def test_of_many_calls_in_a_row_those_of_some_seconds_are_kept(
    monkeypatch: pytest.MonkeyPatch, services: Services, providers: Providers
) -> None:
    monkeypatch.setattr(worker, "KEEP_S", 0.0)

    done = await do(services, "text_to_text", {"prompt": ["a", "b", "c"]})

    assert [one.status.value for one in done.steps] == ["IN_PROGRESS", "IN_PROGRESS", "COMPLETED"]
    assert [said.body["messages"][0]["content"] for said in providers.seen] == ["a", "b", "c"]


async def test_of_many_queued_requests_none_waits_until_others_are_done(
    services: Services, providers: Providers
) -> None:
    count = PARALLEL_MAX + 5

    done = await do(services, "text_to_image", {"prompt": ["a"] * count}, PARALLEL)

    assert done.output["itemsCount"] == len(providers.lines(SUBMIT)) == count
    last = max(at for at, line in enumerate(providers.lines()) if line.startswith("POST"))
    assert last < 2 * PARALLEL_MAX, "in the second round at the latest"


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


async def test_a_call_that_has_to_wait_is_left_alone_while_others_go_on(
    services: Services, providers: Providers
) -> None:
    providers.instead(SUBMIT, refusal(429, Retry_After="60"))
    config = {"prompt": ["a", "b"]}
    first = await step(services, "text_to_image", config, PARALLEL)

    second = await step(services, "text_to_image", config, PARALLEL, output=first.output or b"")

    assert first.callback_after_ms < 1_000, "the other one is queued"
    assert second.status.value == "IN_PROGRESS"
    assert len(providers.lines(SUBMIT)) == 2, "not again before its minute is over"


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


async def test_a_queue_that_never_ends_is_given_up_after_its_questions(
    services: Services, providers: Providers
) -> None:
    providers.waits = 1_000
    paces: list[int] = []

    async def until_given_up() -> None:
        state: Any = {}
        while True:
            found = await queued(
                services, "fal-ai/x", {}, state, kind="image", asks_max=SOON_COUNT + 5
            )
            assert not isinstance(found, str)
            state = found.state
            paces.append(found.wait_ms)

    with pytest.raises(NodeError, match="has not finished request request-0"):
        await until_given_up()

    assert paces[0] == services.ask_ms
    assert paces[-1] == SLOW_FACTOR * services.ask_ms
    assert len(providers.lines("POST")) == 1


async def test_a_request_that_failed_in_the_queue_says_why(
    services: Services, providers: Providers
) -> None:
    failed = {"status": "COMPLETED", "request_id": "request-0", "error": "out of memory"}
    providers.instead(STATUS, web.json_response(failed))

    done = await do(services, "text_to_image", {})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == "fal could not do it: out of memory"


async def test_trouble_with_a_question_loses_no_request(
    services: Services, providers: Providers
) -> None:
    providers.instead(STATUS, refusal(502), refusal(502))
    providers.instead(RESULT, refusal(500))

    done = await do(services, "text_to_image", {})

    assert done.status == "COMPLETED"
    assert len(providers.lines("POST")) == 1


async def test_a_key_is_sent_to_no_other_address(services: Services, providers: Providers) -> None:
    elsewhere = {
        "request_id": "request-0",
        "status_url": "http://evil.example/status",
        "response_url": f"{providers.url}.evil.example/",
    }
    providers.instead(SUBMIT, web.json_response(elsewhere))
    providers.queued["request-0"] = "fal-ai/z-image/turbo"

    done = await do(services, "text_to_image", {})

    assert done.status == "COMPLETED"
    assert providers.lines("GET") == [STATUS, STATUS, STATUS, RESULT]


@pytest.mark.parametrize(
    "given", ["https://queue.fal.run.evil.example/x", "https://queue.fal.run@evil.example/", 7]
)
def test_an_address_that_only_begins_like_the_providers_is_not_believed(given: Any) -> None:
    target = Target(name="fal", url="https://queue.fal.run")
    answer = {"request_id": "r-1", "status_url": given, "response_url": given}

    assert fal._submitted(answer, target, "fal-ai/x/image-to-video") == {
        "requestId": "r-1",
        "statusUrl": "https://queue.fal.run/fal-ai/x/requests/r-1/status",
        "responseUrl": "https://queue.fal.run/fal-ai/x/requests/r-1",
    }


@pytest.mark.parametrize("request_id", ["", None, "../x", "a/b", "a" * 300, 7])
def test_a_request_without_an_id_that_is_one_is_trouble(request_id: Any) -> None:
    with pytest.raises(TroubleError, match="no request_id"):
        fal._submitted({"request_id": request_id}, Target(name="fal", url="https://q"), "fal-ai/x")


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
