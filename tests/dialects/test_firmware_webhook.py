"""GitHub's webhook, by the number of its acceptance scenario (S2.8, 13)."""

import asyncio
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from batuta.dialects.firmware.push import run_id
from batuta.runtime.search import SearchRequest
from tests.api.client import Answer
from tests.dialects.conftest import Served, memory, served

SECRET = "test-secret"
PUSH = "POST /webhook/github/push"
PIPELINE: dict[str, Any] = {
    "name": "firmware-ci-cd-pipeline",
    "version": 1,
    "tasks": [{"name": "validate_commit", "taskReferenceName": "v", "type": "SIMPLE"}],
}
MAIN = {"ref": "refs/heads/main", "after": "737e3d8", "repository": {"name": "K1.node1"}}


@pytest.fixture
async def door() -> AsyncIterator[Served]:
    store = memory()
    async with served(store, github_secret=SECRET) as server:
        await server.engine.definitions.put_workflow_defs([PIPELINE], overwrite=True)
        yield server
    await store.close()


def signature(body: bytes, secret: str = SECRET, algorithm: str = "sha256") -> str:
    return f"{algorithm}=" + hmac.new(secret.encode(), body, algorithm).hexdigest()


async def push(server: Served, document: Any = MAIN, **headers: str) -> Answer:
    body = json.dumps(document, ensure_ascii=False).encode()
    signed = {"x-hub-signature-256": signature(body), "x-github-event": "push"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await server.ask(PUSH, raw=body, headers=signed | given)


async def runs(server: Served) -> list[str]:
    page = await server.engine.searches.runs(SearchRequest(query="", size=100))
    return [run.workflow.workflow_id for run in page.items]


async def test_s2_13_a_signed_push_to_main_starts_one_run_with_its_input(door: Served) -> None:
    answer = await push(door, x_github_delivery="d-1")

    assert answer.status == 200
    [workflow_id] = await runs(door)
    assert answer.json == {"workflowId": workflow_id}
    shown = (await door.ask(f"GET /api/workflow/{workflow_id}")).json
    assert (shown["workflowName"], shown["workflowVersion"]) == (PIPELINE["name"], 1)
    assert shown["correlationId"] == "d-1"
    assert shown["input"] == {
        "repo": "K1.node1",
        "branch": "main",
        "commit_sha": "737e3d8",
        "environment": "esp32-s3-devkitc-1",
    }


async def test_s2_13_the_recorded_push_verifies(door: Served, shared_data: Path) -> None:
    samples = shared_data / "k1" / "samples"
    about = json.loads((samples / "github-push-main.signature.json").read_text("utf-8"))
    body = (samples / about["bodyFile"]).read_bytes()
    assert about["secret"] == SECRET

    answer = await door.ask(PUSH, raw=body, headers={about["header"].lower(): about["value"]})

    assert answer.status == 200
    assert answer.json["workflowId"] in await runs(door)


@pytest.mark.parametrize(
    "document",
    [
        MAIN | {"ref": "refs/heads/feature/main"},
        MAIN | {"ref": "refs/tags/main"},
        MAIN | {"after": "0" * 40},
        MAIN | {"deleted": True},
        {"zen": "Design for failure."},
    ],
    ids=["another branch", "a tag", "nothing after it", "deleted", "no push"],
)
async def test_s2_13_what_is_no_push_to_main_is_ok_and_starts_nothing(
    door: Served, document: Any
) -> None:
    answer = await push(door, document)

    assert (answer.status, answer.body) == (200, b"OK")
    assert await runs(door) == []


@pytest.mark.parametrize("event", ["ping", "issues", "pull_request"])
async def test_s2_13_a_ping_and_other_events_are_ok(door: Served, event: str) -> None:
    answer = await push(door, x_github_event=event)

    assert (answer.status, answer.body) == (200, b"OK")
    assert await runs(door) == []


async def test_s2_13_a_bad_missing_or_short_signature_is_401(door: Served) -> None:
    body = json.dumps(MAIN).encode()
    good = signature(body)
    changed = good[:-1] + ("0" if good[-1] != "0" else "1")
    bad = [
        changed,
        "",
        "sha256=",
        good[:-1],
        good + "0",
        good.upper(),
        good.removeprefix("sha256="),
    ]
    bad += [signature(body, "another"), signature(body, algorithm="sha1"), "sha256=ü" + good[8:]]

    for value in bad:
        answer = await door.ask(PUSH, raw=body, headers={"x-hub-signature-256": value})
        assert (answer.status, answer.body) == (401, b"Invalid signature"), value
    unsigned = await door.ask(PUSH, raw=body)
    old = await door.ask(PUSH, raw=body, headers={"x-hub-signature": signature(body)})

    assert (unsigned.status, old.status) == (401, 401)
    assert await runs(door) == []


async def test_s2_13_nothing_of_an_unsigned_body_is_read(door: Served) -> None:
    answer = await door.ask(PUSH, raw=b"\xff{", headers={"x-hub-signature-256": "sha256=00"})

    assert (answer.status, answer.body) == (401, b"Invalid signature")


async def test_s2_13_the_same_delivery_again_or_at_once_starts_one(door: Served) -> None:
    answers = await asyncio.gather(*(push(door, x_github_delivery="d") for _ in range(8)))
    answers += [await push(door, x_github_delivery="d") for _ in range(2)]

    assert {answer.status for answer in answers} == {200}
    [started] = {answer.json["workflowId"] for answer in answers}
    assert await runs(door) == [started]


async def test_s2_13_other_deliveries_start_their_own(door: Served) -> None:
    answers = [await push(door, x_github_delivery=one) for one in ("d-1", "d-2")]
    answers += [await push(door), await push(door)]

    assert len({answer.json["workflowId"] for answer in answers}) == 4


async def test_s2_13_a_delivery_repeated_at_another_node_starts_none() -> None:
    store = memory()
    first = served(store, github_secret=SECRET)
    async with first as here:
        await here.engine.definitions.put_workflow_defs([PIPELINE], overwrite=True)
        before = await push(here, x_github_delivery="d")
    async with served(store, github_secret=SECRET) as there:
        after = await push(there, x_github_delivery="d")
        assert await runs(there) == [before.json["workflowId"]]
    await store.close()

    assert (after.status, after.json) == (200, before.json)


async def test_s2_13_a_body_with_other_letters_verifies(door: Served) -> None:
    document = MAIN | {"head_commit": {"message": "grün, 緑, 🟢", "author": "Zoë"}}

    answer = await push(door, document)

    assert (answer.status, await runs(door)) == (200, [answer.json["workflowId"]])


async def test_s2_13_a_form_has_the_document_in_its_payload(door: Served) -> None:
    body = urlencode({"payload": json.dumps(MAIN)}).encode()
    headers = {
        "x-hub-signature-256": signature(body),
        "content-type": "application/x-www-form-urlencoded",
    }

    answer = await door.ask(PUSH, raw=body, headers=headers)

    assert (answer.status, await runs(door)) == (200, [answer.json["workflowId"]])


async def test_s2_13_the_path_of_the_analysis_document_is_the_same_door(door: Served) -> None:
    body = json.dumps(MAIN).encode()
    headers = {"x-hub-signature-256": signature(body)}

    for path in ("/api/webhook/github", "/d/firmware/webhook/github/push"):
        answer = await door.ask(f"POST {path}", raw=body, headers=headers)
        assert answer.status == 200, path
    refused = await door.ask("POST /api/webhook/github", raw=body)

    assert (refused.status, refused.body) == (401, b"Invalid signature")
    assert (await door.ask("GET /api/workflow/none")).status == 404, "the API is as it was"


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "object"),
        (MAIN | {"after": "main; rm -rf /"}, "commit"),
        (MAIN | {"after": None}, "commit"),
        (MAIN | {"repository": "K1"}, "repository"),
    ],
)
async def test_a_signed_body_that_is_no_push_says_what_is_wrong(
    door: Served, document: Any, word: str
) -> None:
    answer = await push(door, document)

    assert answer.status == 400
    assert word in answer.body.decode()
    assert await runs(door) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"ref": "refs/heads/main\\ud800", "after": "737e3d8"}',
        b'{"ref": "refs/heads/main", "after": "737e3d8", "repository": {"name": "a\\u0000b"}}',
        b'{"ref": "refs/heads/main", "after": 7, "repository": {"name": "K1"}}',
        b'{"ref": "refs/heads/main", "after": NaN}',
    ],
)
@pytest.mark.parametrize("media", ["application/json", "application/x-www-form-urlencoded"])
async def test_hostile_bodies_are_refused_in_text_and_start_nothing(
    door: Served, body: bytes, media: str
) -> None:
    headers = {"x-hub-signature-256": signature(body), "content-type": media}

    answer = await door.ask(PUSH, raw=body, headers=headers)

    assert answer.status == 400, answer.body
    assert answer.headers["content-type"].startswith("text/plain")
    assert await runs(door) == []


async def test_a_delivery_of_any_letters_and_length_is_one(door: Served) -> None:
    for delivery in ("é" * 100, "../../etc/passwd", " ", "a" * 5_000):
        answers = [await push(door, x_github_delivery=delivery) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[0].json == answers[1].json


async def test_a_body_over_the_limit_is_refused_before_it_is_hashed(door: Served) -> None:
    body = b" " * 1_000_001

    answer = await door.ask(PUSH, raw=body, headers={"x-hub-signature-256": signature(body)})

    assert answer.status == 413


async def test_without_a_secret_nothing_is_taken() -> None:
    store = memory()
    async with served(store) as server:
        answer = await push(server)
    await store.close()

    assert answer.status == 503
    assert b"GITHUB_WEBHOOK_SECRET" in answer.body


async def test_an_engine_that_cannot_start_it_answers_5xx(door: Served) -> None:
    await door.engine.definitions.delete_workflow_def(PIPELINE["name"], 1)
    missing = await push(door)
    await door.engine.definitions.put_workflow_defs([PIPELINE], overwrite=True)
    door.engine.drain()
    stopping = await push(door)

    assert (missing.status, stopping.status) == (503, 503)
    assert b"firmware-ci-cd-pipeline" in missing.body


def test_the_id_of_a_delivery_is_a_uuid_of_its_own() -> None:
    found = uuid.UUID(run_id("72d3162e-cc78-11e3-81ab-4c9367dc0958"))

    assert (found.version, found.variant) == (8, uuid.RFC_4122)
    assert run_id("a") == run_id("a") != run_id("b")
    digest = hashlib.sha256(b"github\0a").hexdigest()
    assert run_id("a")[:8] == digest[:8]
