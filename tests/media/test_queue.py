"""Requests that a provider queues, and tasks of many calls: how far they are is kept."""

import json
from typing import Any

import pytest
from aiohttp import web

from batuta.store.blob.media import MediaFiles
from batuta.workers.media import worker
from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError, TroubleError
from batuta.workers.media.provider import fal
from batuta.workers.media.provider.ask import Target
from batuta.workers.media.provider.fal import SLOW_FACTOR, SOON_COUNT, queued
from batuta.workers.media.worker import PARALLEL_MAX
from tests.media.conftest import PARALLEL, do, live, progress, step
from tests.media.providers import Providers, refusal

CHAT = "POST /v1/chat/completions"
SUBMIT = "POST /queue/fal-ai/z-image/turbo"
STATUS = "GET /queue/fal-ai/z-image/requests/request-0/status"
RESULT = "GET /queue/fal-ai/z-image/requests/request-0"


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
