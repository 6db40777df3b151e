"""Who is let in: Host, Origin and size, and what no client of ours ever sends."""

import logging
from collections.abc import Mapping

import msgspec
import pytest

from batuta.api import create_app
from batuta.api.server import ERRORS, error_reply
from batuta.model import error as errors
from batuta.model.error import BatutaError, BusyError, ClosingError, InvalidError, StoreError
from batuta.runtime.engine import Engine
from tests.api.client import Client
from tests.api.conftest import Settings, started


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:1",
        "localhost.",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "batuta.example:443",
    ],
)
async def test_our_own_names_are_answered(client: Client, host: str) -> None:
    assert (await client.ask("GET /health", headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "[::2]:8080",
        "::1",
        "0.0.0.0:8080",
        "xlocalhost",
        "batuta.example.evil.org",
        "localhost\0",
        "user@localhost",
    ],
)
async def test_a_foreign_host_is_refused_on_every_path(client: Client, host: str) -> None:
    """RELIABILITY S3: a name that someone points at this machine must not reach it."""
    for line in ("GET /", "GET /health", "GET /api/tasks/poll/a", "POST /api/workflow", "GET /x"):
        answer = await client.ask(line, headers={"host": host})

        assert answer.status == 403
        assert answer.json["code"] == "WRONG_HOST"


async def test_only_hosts_that_were_let_in_are_remembered(client: Client) -> None:
    assert (await client.ask("GET /health", headers={"host": "localhost:8"})).status == 200
    for number in range(300):
        host = f"evil{number or ''}.example"
        assert (await client.ask("GET /health", headers={"host": host})).status == 403

    assert (await client.ask("GET /health", headers={"host": "localhost:9"})).status == 200


FOREIGN: list[Mapping[str, str]] = [
    {"origin": "http://evil.example"},
    {"origin": "http://localhost:3000"},
    {"origin": "https://localhost:8080.evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_site_may_not_use_the_api(
    client: Client, headers: Mapping[str, str]
) -> None:
    """Not even by reading: the URL of an image may be a poll, which takes tasks."""
    await started(client)

    for line in ("POST /api/workflow", "DELETE /api/workflow/x", "GET /api/tasks/poll/batch/a"):
        answer = await client.ask(line, raw=b'{"name":"w"}', headers=headers)

        assert (answer.status, answer.json["code"]) == (403, "FOREIGN_PAGE")
    assert (await client.ask("GET /api/tasks/queue/all")).json == {"a": 1}


async def test_our_own_page_may(client: Client) -> None:
    await started(client)
    headers = {
        "origin": "http://localhost:8080",
        "sec-fetch-site": "same-origin",
        "content-type": "application/json",
    }

    assert (await client.ask("POST /api/workflow", {"name": "w"}, headers=headers)).status == 200


async def test_a_page_must_send_json(client: Client) -> None:
    headers = {"origin": "http://localhost:8080", "content-type": "text/plain"}

    assert (await client.ask("POST /api/workflow", {"name": "w"}, headers=headers)).status == 415


async def test_a_link_from_elsewhere_opens_our_pages(client: Client) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert (await client.ask("GET /", headers=headers)).status == 200
    assert (await client.ask("GET /docs", headers=headers)).status == 200


async def test_a_client_that_is_no_browser_sends_what_it_likes(client: Client) -> None:
    """SDKs and curl send no Origin: never break them."""
    await started(client)

    for media in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream"):
        headers = {"content-type": media}
        assert (
            await client.ask("POST /api/workflow", {"name": "w"}, headers=headers)
        ).status == 200


async def test_a_body_over_the_limit_is_413_whole_or_in_chunks(engine: Engine) -> None:
    client = Client(create_app(engine, Settings(body_bytes_max=1_000)))
    await started(client)
    exact = b'{"name":"w","input":{"x":"' + b"y" * 971 + b'"}}'
    assert len(exact) == 1_000

    fits = await client.ask("POST /api/workflow", raw=exact)
    whole = await client.ask("POST /api/workflow", raw=exact + b" ")
    chunks = await client.ask("POST /api/workflow", raw=[exact, b" "])
    log = await client.ask("POST /api/tasks/x/log", raw=b"y" * 1_001)

    assert [answer.status for answer in (fits, whole, chunks, log)] == [200, 413, 413, 413]
    assert "1000 bytes" in whole.json["message"]


@pytest.mark.parametrize(
    "query", ["x=" + "y" * 20_000, "&".join(["x=1"] * 2_000), "x=%FF", "x=%00", "%ff=1"]
)
async def test_a_query_that_is_too_long_or_no_text_is_400(client: Client, query: str) -> None:
    assert (await client.ask(f"GET /api/tasks/poll/a?{query}")).status == 400


async def test_a_bug_is_a_500_without_its_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        async def get(self, workflow_id: str, *, with_tasks: bool) -> None:
            raise ZeroDivisionError(f"secret of {workflow_id} {with_tasks}")

    broken = Client(create_app(Broken(), Settings()))  # type: ignore[arg-type]

    with caplog.at_level(logging.ERROR, "batuta.api"):
        answer = await broken.ask("GET /api/workflow/x")

    assert (answer.status, answer.json["status"]) == (500, 500)
    assert b"secret" not in answer.body
    assert "secret of x" in caplog.text


def test_every_error_has_its_status() -> None:
    """The tree in model/error.py and the table agree; what is added there needs a row here."""
    tree = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, BatutaError) and kind is not BatutaError
    ]

    assert {kind for kind, _ in ERRORS} == set(tree)


@pytest.mark.parametrize(
    ("error", "status", "after", "is_retryable"),
    [
        (BusyError("full", retry_after_ms=1_500), 429, "2", True),
        (ClosingError("bye"), 503, "1", True),
        (StoreError("disk"), 500, None, True),
        (InvalidError("bad"), 400, None, False),
    ],
    ids=str,
)
def test_an_error_says_when_to_come_back(
    error: BatutaError, status: int, after: str | None, *, is_retryable: bool
) -> None:
    reply = error_reply(error)

    headers = dict(reply.headers)
    body = msgspec.json.decode(reply.body)
    assert reply.status == status
    assert headers.get(b"retry-after") == (after.encode() if after else None)
    assert (body["retryable"], body["message"]) == (is_retryable, error.message)


async def test_a_header_cannot_be_smuggled_through_an_error(client: Client) -> None:
    answer = await client.ask("GET /api/workflow/x%0d%0aset-cookie:%20a=b")

    assert answer.status == 404
    assert set(answer.headers) == {"content-length", "content-type", "x-content-type-options"}
