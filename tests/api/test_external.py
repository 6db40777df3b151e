"""Payloads that a client uploads by themselves and names in a request, as the Java client does."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from batuta.api import create_app
from batuta.model.error import BusyError
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.store.blob.upload import UPLOAD_KEEP_MS, Uploads
from tests.api.client import Answer, Client
from tests.api.conftest import UPLOAD_BYTES_MAX, Settings, polled, report, simple, started, workflow

LARGE = {"text": "x" * 1_500_000}  # more than a request's body may have here
HOSTILE = [
    "",
    "x",
    "../key",
    "..%2Fkey",
    "%2e%2e%2fkey",
    "..\\key",
    "/etc/passwd",
    "key",
    "0" * 64,
    "g" * 64,
    "A" * 64,
    "0" * 63,
    "0" * 65,
    "0" * 10_000,
    "task/output/" + "0" * 64 + ".json",
    "\u00e9" * 64,
]


async def location(client: Client, group: str = "tasks", **query: str) -> Answer:
    """Ask for a location to write to."""
    asked = {"path": "", "operation": "WRITE", "payloadType": "TASK_OUTPUT"} | query
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    return await client.ask(f"GET /api/{group}/externalstoragelocation?{pairs}")


async def uploaded(client: Client, value: Any, **query: str) -> str:
    """Upload a payload as the Java client does, and return the path to name."""
    found = (await location(client, **query)).json
    assert set(found) == {"uri", "path"}
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.call(
        f"PUT {urlsplit(found['uri']).path}", raw=json.dumps(value).encode(), headers=form
    )
    assert answer.status == 200, answer.body
    path: str = found["path"]
    return path


@pytest.mark.parametrize("group", ["tasks", "workflow"])
@pytest.mark.parametrize("word", ["externalstoragelocation", "external-storage-location"])
async def test_a_location_to_write_is_an_address_of_ours(
    client: Client, group: str, word: str
) -> None:
    line = f"GET /api/{group}/{word}?path=mine.json&operation=write&payloadType=WORKFLOW_INPUT"
    answer = await client.call(line, headers={"host": "batuta.example:8080"})

    assert answer.status == 200
    name = answer.json["path"].removeprefix("workflow/input/").removesuffix(".json")
    assert answer.json["uri"] == f"http://batuta.example:8080/api/batuta/payload/{name}"
    assert "mine" not in answer.json["path"], "the name is ours"


async def test_two_locations_differ(client: Client) -> None:
    assert (await location(client)).json["path"] != (await location(client)).json["path"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"operation": "DELETE"}, "operation"),
        ({"operation": ""}, "operation"),
        ({"payloadType": "SECRETS"}, "payloadType"),
        ({"operation": "READ"}, "path"),
        ({"operation": "READ", "path": f"task/output/{'0' * 64}.json"}, "path"),
        ({"operation": "READ", "path": "../../etc/passwd"}, "path"),
    ],
)
async def test_what_cannot_be_located_is_a_400_that_names_the_parameter(
    client: Client, query: dict[str, str], field: str
) -> None:
    answer = await location(client, **query)

    assert answer.status == 400
    assert [fault["path"] for fault in answer.json["validationErrors"]] == [field]


async def test_an_uploaded_output_is_the_output_of_its_task(client: Client) -> None:
    workflow_id = await started(client)
    task = await polled(client)
    path = await uploaded(client, LARGE)

    result = report(task, externalOutputPayloadStoragePath=path, outputData=None)
    answer = await client.ask("POST /api/tasks", result)

    assert answer.status == 200, answer.body
    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert run["tasks"][0]["outputData"] == LARGE
    assert run["status"] == "COMPLETED"
    assert "externalOutputPayloadStoragePath" not in run["tasks"][0], "it is inline"


async def test_an_uploaded_output_may_be_named_in_update_v2(client: Client) -> None:
    workflow_id = await started(client, simple("a"), simple("b"))
    path = await uploaded(client, {"n": 1})

    result = report(await polled(client), externalOutputPayloadStoragePath=path)
    assert (await client.ask("POST /api/tasks/update-v2", result)).status == 204

    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert run["tasks"][0]["outputData"] == {"n": 1}


@pytest.mark.parametrize("line", ["POST /api/workflow", "POST /api/workflow/execute/w/1"])
async def test_an_uploaded_input_is_the_input_of_its_run(client: Client, line: str) -> None:
    definition = workflow({"name": "t", "taskReferenceName": "t", "type": "HUMAN"})
    await client.ask("PUT /api/metadata/workflow", [definition])
    path = await uploaded(client, LARGE, group="workflow", payloadType="WORKFLOW_INPUT")

    body = {"name": "w", "input": None, "externalInputPayloadStoragePath": path}
    answer = await client.ask(line, body)

    assert answer.status == 200, answer.body
    text = answer.body.decode()
    workflow_id = json.loads(text)["workflowId"] if text.startswith("{") else text
    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert run["input"] == LARGE


async def test_a_request_that_is_sent_again_finds_its_upload_again(client: Client) -> None:
    path = await uploaded(client, {"n": 1})
    await started(client)
    result = report(await polled(client), externalOutputPayloadStoragePath=path)

    answers = [await client.ask("POST /api/tasks", result) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]


@pytest.mark.parametrize("path", [*HOSTILE[1:], "workflow/input/../key.json"])
async def test_a_path_that_nothing_was_uploaded_to_is_a_400_that_names_the_field(
    client: Client, path: str
) -> None:
    workflow_id = await started(client)
    task = await polled(client)

    result = report(task, externalOutputPayloadStoragePath=path)
    of_task = await client.ask("POST /api/tasks", result)
    start = {"name": "w", "externalInputPayloadStoragePath": path}
    of_start = await client.ask("POST /api/workflow", start)

    for answer, field in (
        (of_task, "externalOutputPayloadStoragePath"),
        (of_start, "externalInputPayloadStoragePath"),
    ):
        assert answer.status == 400
        assert answer.json["validationErrors"][0]["path"] == field
    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert run["tasks"][0]["status"] == "IN_PROGRESS"


async def test_an_upload_is_downloaded_byte_for_byte(client: Client) -> None:
    path = await uploaded(client, {"a": "é"})

    found = (await location(client, operation="READ", path=path)).json
    answer = await client.ask(f"GET {urlsplit(found['uri']).path}")

    assert found["path"] == path
    assert (answer.status, answer.json) == (200, {"a": "é"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_a_name_that_was_not_given_out_has_nothing_and_gets_nothing(
    client: Client, engine: Engine, method: str, name: str
) -> None:
    await uploaded(client, {"a": 1})
    assert engine.uploads is not None
    folder = engine.uploads._folder
    before = _files(folder)
    encoded = name if "%" in name else quote(name, safe="")

    answer = await client.ask(f"{method} /api/batuta/payload/{encoded}", {"b": 2})

    assert 400 <= answer.status < 500
    assert _files(folder) == before


async def test_a_name_changed_by_one_digit_is_not_ours(client: Client) -> None:
    name = (await location(client)).json["uri"].rpartition("/")[2]
    changed = ("0" if name[0] != "0" else "1") + name[1:]

    assert (await client.ask(f"PUT /api/batuta/payload/{changed}", {})).status == 404
    assert (await client.ask(f"PUT /api/batuta/payload/{name}", {})).status == 200


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"1", b"{", b'{"a":1e400}', b'{"a":"\\u0000"}', b'{"a":1,"a":2}', b"\xff"]
)
async def test_what_is_no_object_of_json_is_not_kept(client: Client, raw: bytes) -> None:
    found = (await location(client)).json
    where = urlsplit(found["uri"]).path

    answer = await client.call(f"PUT {where}", raw=raw)

    assert answer.status == 400
    assert (await client.ask(f"GET {where}")).status == 404


@pytest.mark.parametrize("headers", [{"content-length": str(UPLOAD_BYTES_MAX + 1)}, {}])
async def test_an_upload_that_is_too_large_is_a_413(
    client: Client, headers: dict[str, str]
) -> None:
    where = urlsplit((await location(client)).json["uri"]).path
    raw = b'{"a":"' + b"x" * UPLOAD_BYTES_MAX + b'"}'

    answer = await client.call(f"PUT {where}", raw=raw, headers=headers)

    assert answer.status == 413
    assert (await client.ask(f"GET {where}")).status == 404


async def test_other_bodies_stay_as_small_as_before(client: Client) -> None:
    answer = await client.call("POST /api/workflow", raw=json.dumps(LARGE).encode())

    assert answer.status == 413


async def test_an_upload_that_is_sent_again_replaces_the_first(client: Client) -> None:
    where = urlsplit((await location(client)).json["uri"]).path

    for number in (1, 2):
        assert (await client.ask(f"PUT {where}", {"n": number})).status == 200

    assert (await client.ask(f"GET {where}")).json == {"n": 2}


async def test_a_server_without_a_folder_says_what_to_set(client: Client, engine: Engine) -> None:
    engine.uploads = None

    answer = await location(client)

    assert answer.status == 409
    assert "BATUTA_BLOB_FOLDER" in answer.json["message"]


async def test_uploads_are_swept_after_a_day_and_room_is_bounded(tmp_path: Path) -> None:
    ahead_ms = 0
    uploads = Uploads(tmp_path, wall_ms=lambda: wall_ms() + ahead_ms, total_bytes_max=100)
    names = [await uploads.issue() for _ in range(3)]
    assert await uploads.put(names[0], b"x" * 60)
    with pytest.raises(BusyError):
        await uploads.put(names[1], b"x" * 60)
    assert await uploads.sweep() == 0

    ahead_ms = UPLOAD_KEEP_MS + 60_000

    assert await uploads.sweep() == 1
    assert await uploads.get(names[0]) is None
    ahead_ms = 0
    assert await uploads.put(names[2], b"x" * 60)


async def test_servers_that_share_a_folder_share_its_names(tmp_path: Path) -> None:
    servers = [Uploads(tmp_path, wall_ms=wall_ms) for _ in range(3)]

    names = await asyncio.gather(*(server.issue() for server in servers))

    for number, name in enumerate(names):
        assert await servers[number - 1].put(name, b"{}")
        assert await servers[number - 2].get(name) == b"{}"


async def test_a_link_in_the_folder_is_not_followed(engine: Engine, tmp_path: Path) -> None:
    client = Client(create_app(engine, Settings()))
    found = (await location(client)).json
    name = found["uri"].rpartition("/")[2]
    assert engine.uploads is not None
    secret = tmp_path / "secret"
    secret.write_text('{"secret":1}')
    _link(engine.uploads._folder / name[:2] / name, secret)

    answer = await client.ask(f"GET /api/batuta/payload/{name}")

    assert answer.status == 500
    assert b"secret" not in answer.body.replace(name.encode(), b"")


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(target)


def _files(folder: Path) -> list[tuple[Path, bytes]]:
    return sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())
