"""Front doors beside the API: whose path it is, in whose words an error is, which pages may ask."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from batuta.api import create_app
from batuta.api.dispatch.mount import Mount, PassOnError
from batuta.api.dispatch.page import Origins
from batuta.api.request import Reply, Request, Route, json_reply
from batuta.model.error import BatutaError, ConflictError, NotFoundError
from batuta.runtime.engine import Engine
from tests.api.client import Client
from tests.api.conftest import Settings

HERE = "localhost:8080"
PATHS = ("/one/count", "/d/one/one/count", "/d/two/one/count", "/one/count/")


def words(name: str) -> Mount:
    """Return a mount that answers with its name and the values of the path."""

    async def tell(request: Request) -> Reply:
        return json_reply([name, *request.values])

    async def trigger(request: Request) -> Reply:
        if request.values[0] != name:
            raise PassOnError(NotFoundError(f"{name} has no {request.values[0]}"))
        return json_reply([name, "triggered"])

    async def refuse(_: Request) -> Reply:
        raise ConflictError(f"{name} refuses")

    async def break_down(_: Request) -> Reply:
        raise ZeroDivisionError("a secret detail")

    async def count(_: Request) -> Reply:
        return Reply(200, media=b"text/event-stream", chunks=_count())

    def render(status: int, error: BatutaError) -> Reply:
        return json_reply({"of": name, "text": error.message}, status)

    rows = [
        ("GET", f"/{name}/things/{{id}}", tell),
        ("GET", f"/shared/{name}", tell),
        ("GET", "/shared/{id}", tell),
        ("POST", "/shared/{id}/trigger", trigger),
        ("GET", f"/{name}/refuse", refuse),
        ("GET", f"/{name}/break", break_down),
        ("GET", f"/{name}/count", count),
    ]
    routes = tuple(
        Route(method=method, path=path, handler=handler, summary="-")
        for method, path, handler in rows
    )
    return Mount(name=name, routes=routes, render=render, uploads=(f"/{name}/count",))


async def _count() -> AsyncGenerator[bytes, None]:
    for number in range(3):
        await asyncio.sleep(0)
        yield f"data: {number}\n\n".encode()


@pytest.fixture
def mounted(engine: Engine) -> Client:
    origins = Origins(["https://app.example"], is_loopback=True)
    app = create_app(
        engine,
        Settings(),
        mounts=[words("one"), words("two")],
        ports={3000: "two"},
        origins=origins,
    )
    return Client(app)


async def test_each_mount_has_its_paths(mounted: Client) -> None:
    assert (await mounted.ask("GET /one/things/7")).json == ["one", "7"]
    assert (await mounted.ask("GET /two/things/a%2Fb")).json == ["two", "a/b"]
    assert (await mounted.ask("GET /health")).status == 200


async def test_a_literal_path_goes_before_a_variable_of_another_mount(mounted: Client) -> None:
    assert (await mounted.ask("GET /shared/two")).json == ["two"]
    assert (await mounted.ask("GET /shared/x")).json == ["one", "x"]


async def test_who_does_not_know_an_id_passes_it_on(mounted: Client) -> None:
    assert (await mounted.ask("POST /shared/two/trigger")).json == ["two", "triggered"]
    nobody = await mounted.ask("POST /shared/three/trigger")
    assert (nobody.status, nobody.json) == (404, {"of": "one", "text": "one has no three"})


async def test_under_its_name_a_mount_is_alone(mounted: Client) -> None:
    assert (await mounted.ask("GET /d/two/shared/x%20y")).json == ["two", "x y"]
    assert (await mounted.ask("POST /d/two/shared/one/trigger")).json["of"] == "two"
    assert (await mounted.ask("GET /d/two/one/things/7")).json["of"] == "two"
    assert (await mounted.ask("GET /d/three/shared/x")).json["code"] == "NO_SUCH_PATH"


async def test_a_port_may_be_one_mounts_alone(mounted: Client) -> None:
    assert (await mounted.ask("GET /shared/x", port=3000)).json == ["two", "x"]
    assert (await mounted.ask("GET /one/things/7", port=3000)).status == 404
    assert (await mounted.ask("GET /api/version", port=3000)).status == 200


async def test_errors_are_in_the_words_of_the_mount(mounted: Client) -> None:
    refused = await mounted.ask("GET /one/refuse")
    assert (refused.status, refused.json) == (409, {"of": "one", "text": "one refuses"})
    assert (await mounted.ask("GET /one/nothing")).json["of"] == "one"
    assert (await mounted.ask("DELETE /one/refuse")).status == 405
    broken = await mounted.ask("GET /one/break")
    assert broken.status == 500
    assert b"secret" not in broken.body
    assert (await mounted.ask("GET /shared/x/y/z")).json["code"] == "NO_SUCH_PATH"


async def test_only_a_path_of_uploads_takes_more_than_a_body_may_have(mounted: Client) -> None:
    large = {"host": HERE, "content-length": "1000001"}

    taken = [await mounted.ask(f"GET {path}", headers=large) for path in PATHS]
    refused = await mounted.ask("GET /one/refuse", headers=large)

    assert [answer.status for answer in taken] == [200, 200, 413, 413]
    assert refused.status == 413


async def test_an_answer_may_come_in_pieces(mounted: Client) -> None:
    answer = await mounted.ask("GET /one/count")
    assert answer.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", 200),
        ("http://localhost:5173", 200),
        ("http://127.0.0.1:3000", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("https://app.example.evil.org", 403),
        ("null", 403),
    ],
)
async def test_pages_of_known_origins_may_use_mounts(
    mounted: Client, origin: str, status: int
) -> None:
    headers = {"host": HERE, "origin": origin, "sec-fetch-site": "cross-site"}
    answer = await mounted.ask("GET /one/things/7", headers=headers)
    assert answer.status == status
    shown = answer.headers.get("access-control-allow-origin")
    assert shown == (origin if status == 200 else None)
    assert (await mounted.ask("GET /api/version", headers=headers)).status == 403


async def test_a_browser_is_told_what_a_page_may_send(mounted: Client) -> None:
    headers = {
        "host": HERE,
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    answer = await mounted.ask("OPTIONS /shared/one/trigger", headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    foreign = {**headers, "origin": "https://evil.example"}
    assert (await mounted.ask("OPTIONS /shared/one/trigger", headers=foreign)).status == 403
