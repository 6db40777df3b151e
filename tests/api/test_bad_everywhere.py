"""Bad input on every row of the route table: a 4xx that names the field, and nothing has changed.

What the door lets through, a store must be able to keep, so that this is tried on SQLite and
PostgreSQL, whose columns hold less than Python's numbers and texts.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from msgspec import inspect

from batuta.api import create_app, request
from batuta.api.request import PLACE_CHARACTERS_MAX, Parameter, Route
from batuta.api.routes import ROUTES
from batuta.model.definition import NAME_CHARACTERS_MAX, WorkflowTask
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.store.blob.upload import Uploads
from batuta.store.postgres import PostgresStore, migrate
from batuta.store.sqlite import SqliteStore
from tests.api.client import Answer, Client
from tests.api.conftest import NoScripts, Settings, simple, workflow
from tests.api.example import PLACES, Example
from tests.contract.postgres_server import fresh_schema, postgres

UNSOUND = {
    "nothing that is JSON": b"{oops",
    "broken off": b'{"name":',
    "two documents": b"{} {}",
    "no quotes": b"{'name':'w'}",
    "not a number": b'{"name":NaN}',
    "infinity": b'{"name":-Infinity}',
    "not UTF-8": b'{"name":"\xff"}',
    "a NUL byte": b'{"name":"\x00"}',
    "an escaped NUL": b'{"name":{"x":["\\u0000"]}}',
    "a NUL in a key": b'{"\\u0000":1}',
    "half of a surrogate pair": b'{"name":"\\ud800"}',
    "the other half": b'{"name":["\\udc00x"]}',
    "halves in the wrong order": b'{"name":"\\udc00\\ud800"}',
    "an encoded surrogate": b'{"name":"\xed\xa0\x80"}',
    "1e400": b'{"name":{"x":1e400}}',
    "-1e400": b"[-1e400]",
    "5,000 digits": b'{"name":' + b"9" * 5_000 + b"}",
    "lists 10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "objects 10,000 deep": b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
    "deep and broken off": b"[" * 10_000,
    "a key twice": b'{"name":"w","name":"v"}',
    "a key twice, escaped": b'{"name":"w","n\\u0061me":"v"}',
    "a key twice, deep down": b'{"name":{"x":[{"y":1,"y":2}]}}',
}
# One of each kind, and what is hard about each kind.
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    2**31,
    2**63,
    2**64,
    -(2**70),
    10**300,
    "",
    "x",
    "None",
    "-1",
    "\u2028\U0001f600",
    "${workflow.input.x}",
    "x" * 100_000,
    [],
    [None],
    [[]],
    ["x"],
    {},
    {"x": None},
    {"": [{}]},
    {"x": 2**70},
]
PLACE_VALUES = [
    "%00",
    "%FF",
    "%ED%A0%80",
    "x" * (PLACE_CHARACTERS_MAX + 1),
    "%C3%A9" * (PLACE_CHARACTERS_MAX + 1),
    "x" * PLACE_CHARACTERS_MAX,
    "..%2F..%2Fetc",
    "%F0%9F%98%80",
    "-1",
    "1e400",
    "9" * 30,
    "%27%3B%20DROP%20TABLE%20workflow--",
    "%25s",
    "%20",
]
REFUSED_PLACES = PLACE_VALUES[:5]
QUERY_VALUES = ["wrong", "1e400", "1.5", "9" * 25, "-" + "9" * 25, "NaN", "[]", "0x10", "%20"]
GIGABYTE = {"content-length": "1000000000"}

JSON_ROWS = [row for row in ROUTES if row.request not in {None, bytes}]
PLACED_ROWS = [row for row in ROUTES if "{" in row.path]
QUERY_ROWS = [row for row in ROUTES if row.query]


def _id(row: Route) -> str:
    return f"{row.method} {row.path}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server, or skip, saying why."""
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[SqliteStore | PostgresStore]:
    """Give a store of each kind that holds less than Python's numbers and texts."""
    if request.param == "sqlite":
        file = await SqliteStore.open(str(tmp_path / "batuta.db"), now_wall_ms=wall_ms)
        yield file
        await file.close()
        return
    async with fresh_schema(request.getfixturevalue("postgres_server")) as url:
        await migrate(url)
        found = await PostgresStore.open(url)
        yield found
        await found.close()


@pytest.fixture
async def example(store: SqliteStore | PostgresStore, tmp_path: Path) -> AsyncIterator[Example]:
    engine = Engine(store, now_ms=wall_ms, scripts=NoScripts(), node="node-1", version="1.2.3")
    engine.start_loops()
    engine.uploads = Uploads(tmp_path / "uploads", wall_ms=wall_ms)
    yield await Example(Client(create_app(engine, Settings()))).fill()
    await engine.stop()


@pytest.fixture
async def refusing(client: Client) -> Example:
    """Give a server in memory, for what must not come as far as a store."""
    return await Example(client).fill()


async def _everything(example: Example) -> list[Any]:
    """Give all that a call could have written."""
    ask = example.client.ask
    answers = [await ask(f"GET /api/workflow/{run}") for run in example.runs.values()]
    answers.append(await ask("GET /api/metadata/workflow"))
    answers.append(await ask("GET /api/metadata/taskdefs"))
    assert {answer.status for answer in answers} == {200}
    counts = (await ask("GET /api/batuta/status")).json["counts"]
    return [answer.json for answer in answers] + [counts]


def _is_refused(answer: Answer) -> bool:
    """Say whether this is Conductor's error body, with a field that is wrong."""
    body = answer.json
    assert body["status"] == answer.status
    return answer.status == 400 and bool(body["validationErrors"][0]["path"])


@pytest.mark.parametrize("row", JSON_ROWS, ids=_id)
async def test_a_body_that_is_not_sound_is_refused_and_writes_nothing(
    refusing: Example, row: Route
) -> None:
    before = await _everything(refusing)

    for what, body in UNSOUND.items():
        answer = await refusing.client.ask(refusing.of_row(row), raw=body)
        assert _is_refused(answer), (what, answer.body[:200])

    assert await _everything(refusing) == before


def _structs(row: Route) -> type[msgspec.Struct] | None:
    """Give the struct of a row's body, or of each item of it."""
    kind = get_args(row.request)[0] if get_origin(row.request) is list else row.request
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return kind if is_struct else None


STRUCT_ROWS = [row for row in JSON_ROWS if _structs(row)]


def _fields(row: Route) -> list[inspect.Field]:
    info = inspect.type_info(_structs(row))
    assert isinstance(info, inspect.StructType)
    return list(info.fields)


def _with(example: Example, row: Route, name: str, value: Any) -> Any:
    """Give a valid body of a row with one field of another value."""
    body = example.body(row.method, row.path)
    one = {**((body[0] if isinstance(body, list) else body) or {}), name: value}
    return [one] if isinstance(body, list) else one


def _wrong(kind: inspect.Type) -> list[Any]:
    """Give values that no reading of a type takes."""
    kinds = {type(one) for one in getattr(kind, "types", (kind,))}
    if inspect.AnyType in kinds:
        return []
    wrong: list[Any] = []
    if inspect.ListType not in kinds and inspect.VarTupleType not in kinds:
        wrong.append([1])
    has_object = kinds & {inspect.DictType, inspect.StructType, inspect.RawType}
    if not has_object:
        wrong.append({"x": 1})
    if not kinds & {inspect.StrType, inspect.EnumType}:
        wrong.append("wrong")
    if inspect.IntType in kinds and inspect.FloatType not in kinds:
        wrong.append(1.5)
    return wrong


@pytest.mark.parametrize("row", STRUCT_ROWS, ids=_id)
async def test_a_field_of_the_wrong_type_is_named_and_writes_nothing(
    refusing: Example, row: Route
) -> None:
    before = await _everything(refusing)
    tried = 0

    for field in _fields(row):
        for value in _wrong(field.type):
            body = _with(refusing, row, field.encode_name, value)
            answer = await refusing.client.ask(refusing.of_row(row), body)
            assert answer.status == 400, (field.encode_name, value, answer.body)
            paths = [fault["path"] for fault in answer.json["validationErrors"]]
            assert any(field.encode_name in path for path in paths), (field.encode_name, paths)
            tried += 1

    assert tried > 1
    assert await _everything(refusing) == before


@pytest.mark.parametrize("row", STRUCT_ROWS, ids=_id)
async def test_no_value_of_a_field_is_our_fault(example: Example, row: Route) -> None:
    """Whatever is taken can be kept and shown again; whatever is refused names a field."""
    for field in _fields(row):
        for value in VALUES:
            body = _with(example, row, field.encode_name, value)
            answer = await example.client.ask(example.of_row(row), body)
            assert answer.status < 500, (field.encode_name, value, answer.body[:200])

    await _everything(example)


@pytest.mark.parametrize("row", [row for row in JSON_ROWS if row not in STRUCT_ROWS], ids=_id)
async def test_no_body_of_another_kind_is_our_fault(example: Example, row: Route) -> None:
    for value in VALUES:
        answer = await example.client.ask(example.of_row(row), raw=json.dumps(value).encode())
        assert answer.status < 500, (value, answer.body[:200])

    await _everything(example)


@pytest.mark.parametrize("row", PLACED_ROWS, ids=_id)
async def test_no_text_in_a_path_is_our_fault(example: Example, row: Route) -> None:
    body = example.body(row.method, row.path)
    for name in PLACES.findall(row.path):
        for value in PLACE_VALUES:
            path = row.path.replace(f"{{{name}}}", value)
            required = [one.name for one in row.query if one.is_required]
            answer = await example.client.ask(example.line(row.method, path, required), body)
            assert answer.status < 500, (value[:20], answer.body[:200])
            if value in REFUSED_PLACES:
                assert answer.status == 400, (value[:20], answer.body[:200])

    await _everything(example)


async def _asked(example: Example, row: Route, parameter: Parameter, value: str) -> Answer:
    line = example.of_row(row)
    joint = "&" if "?" in line else "?"
    line = line.replace(f"{parameter.name}=a", "")
    return await example.client.ask(
        f"{line}{joint}{parameter.name}={value}", example.body(row.method, row.path)
    )


@pytest.mark.parametrize("row", QUERY_ROWS, ids=_id)
async def test_a_wrong_query_is_refused_by_its_name(example: Example, row: Route) -> None:
    for parameter in row.query:
        for value in QUERY_VALUES:
            answer = await _asked(example, row, parameter, value)
            assert answer.status < 500, (parameter.name, value, answer.body[:200])
            if parameter.kind is not str:
                path = answer.json["validationErrors"][0]["path"]
                assert (answer.status, path) == (400, parameter.name)

        for value in ("%00", "%FF", "x" * 20_000):
            answer = await _asked(example, row, parameter, value)
            assert answer.status == 400, (parameter.name, value[:9], answer.body[:200])


async def test_a_body_that_is_declared_too_large_is_refused_before_it_comes(
    refusing: Example,
) -> None:
    before = await _everything(refusing)

    for row in ROUTES:
        async with asyncio.timeout(5):
            answer = await refusing.client.ask(refusing.of_row(row), raw=[], headers=GIGABYTE)
        assert (answer.status, answer.json["code"]) == (413, "TOO_LARGE"), _id(row)

    assert await _everything(refusing) == before


async def test_a_body_that_comes_too_slowly_is_given_up(
    refusing: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that dribbles, or says nothing at all, does not keep its place for ever."""
    before = await _everything(refusing)
    monkeypatch.setattr(request, "BODY_WAIT_S", 0.01)

    for row in JSON_ROWS:
        async with asyncio.timeout(5):
            answer = await refusing.client.ask(refusing.of_row(row), raw=[])
        assert (answer.status, answer.json["code"]) == (408, "TOO_SLOW"), _id(row)
        assert answer.headers["connection"] == "close"

    assert await _everything(refusing) == before


@pytest.mark.parametrize("line", ["POST /api/metadata/workflow", "POST /api/workflow"])
async def test_a_field_of_a_task_of_the_wrong_type_is_named(refusing: Example, line: str) -> None:
    """In a definition that is registered, and in one that comes with a start."""
    before = await _everything(refusing)
    info = inspect.type_info(WorkflowTask)
    assert isinstance(info, inspect.StructType)
    tried = 0

    for field in info.fields:
        for value in _wrong(field.type):
            task = {**simple("a"), field.encode_name: value}
            body = workflow(task, name="v")
            is_start = line.endswith("/workflow") and "metadata" not in line
            answer = await refusing.client.ask(
                line, {"name": "v", "workflowDef": body} if is_start else body
            )
            assert answer.status == 400, (field.encode_name, value, answer.body)
            paths = [fault["path"] for fault in answer.json["validationErrors"]]
            where = f"{'workflowDef.' if is_start else ''}tasks[0].{field.encode_name}"
            assert any(path.startswith(where) for path in paths), (where, value, paths)
            tried += 1

    assert tried > 30
    assert await _everything(refusing) == before


LONG = "x" * (NAME_CHARACTERS_MAX + 1)


@pytest.mark.parametrize(
    ("line", "body", "field"),
    [
        ("POST /api/workflow", {"name": LONG}, "name"),
        ("POST /api/workflow", {"name": "w", "correlationId": LONG}, "correlationId"),
        ("POST /api/workflow", {"name": "w", "taskToDomain": {LONG: "d"}}, "taskToDomain"),
        ("POST /api/workflow", {"name": "w", "taskToDomain": {"a": f"d,{LONG}"}}, "taskToDomain"),
        (f"POST /api/workflow/w?correlationId={LONG}", {}, "correlationId"),
        (f"GET /api/tasks/poll/a?domain={LONG}", None, "domain"),
        (f"GET /api/tasks/poll/batch/a?workerid={LONG}", None, "workerid"),
        ("POST /api/workflow", {"name": "w", "version": 2**31}, "version"),
        ("POST /api/metadata/taskdefs", [{"name": LONG}], "name"),
        ("PUT /api/metadata/workflow", [workflow(simple("a"), name=LONG)], "name"),
        ("PUT /api/metadata/workflow", [workflow(simple(LONG))], "tasks[0].name"),
    ],
)
async def test_a_word_that_an_index_could_not_hold_is_refused_by_its_name(
    example: Example, line: str, body: Any, field: str
) -> None:
    before = await _everything(example)

    answer = await example.client.ask(line, body)

    assert (answer.status, answer.json["validationErrors"][0]["path"]) == (400, field)
    assert len(answer.body) < 2_000
    assert await _everything(example) == before


@pytest.mark.parametrize(
    "task",
    [
        {"type": "DYNAMIC", "dynamicTaskNameParam": "n", "inputParameters": {"n": LONG}},
        {"type": "FORK_JOIN_DYNAMIC", "inputParameters": {"forkTaskInputs": [{}]}},
        {
            "type": "FORK_JOIN_DYNAMIC",
            "dynamicForkTasksParam": "n",
            "dynamicForkTasksInputParamName": "i",
            "inputParameters": {"n": [simple(LONG)], "i": {}},
        },
    ],
    ids=["dynamic", "items", "tasks"],
)
async def test_a_name_that_a_run_makes_up_fails_it_where_no_index_could_hold_it(
    example: Example, task: dict[str, Any]
) -> None:
    """Otherwise the commit would fail, again and again."""
    made = {**task, "name": "made", "taskReferenceName": "made"}
    given = made["inputParameters"]
    if "forkTaskInputs" in given:
        given = {**given, "forkTaskName": LONG}
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": []}
    tasks = [{**made, "inputParameters": given}, *([join] if "FORK" in made["type"] else [])]
    ask = example.client.ask
    assert (await ask("PUT /api/metadata/workflow", [workflow(*tasks, name="v")])).status == 200

    started = await ask("POST /api/workflow", {"name": "v"})

    run = (await ask(f"GET /api/workflow/{started.body.decode()}")).json
    assert run["status"] == "FAILED"
    assert run["reasonForIncompletion"]
