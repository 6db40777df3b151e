"""Two hundred and more hostile bodies to a real server: never a 5xx, a hang or half a run."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from bench.load.client import Connection, expect
from tests.engine.definitions import chain, task_def
from tests.faults.scan import scan
from tests.faults.serving import Server

HANG_S = 2.0

pytestmark = [pytest.mark.slow]

DEEP = "[" * 20_000 + "]" * 20_000
UNSOUND: dict[str, bytes] = {
    "nothing": b"",
    "blank": b" \n\t",
    "a NUL byte": b"\0",
    "oops": b"{oops",
    "a comma at the end": b'{"name":"w",}',
    "a comment": b'{"name":"w"/*x*/}',
    "single quotes": b"{'name':'w'}",
    "NaN": b'{"name":NaN}',
    "infinity": b'{"input":Infinity}',
    "1e400": b'{"input":{"x":1e400}}',
    "hexadecimal": b'{"priority":0x10}',
    "a plus sign": b'{"priority":+1}',
    "leading zeros": b'{"priority":0001}',
    "100,000 digits": b'{"priority":' + b"9" * 100_000 + b"}",
    "a fraction of 100,000 digits": b'{"priority":0.' + b"1" * 100_000 + b"}",
    "not UTF-8": b'{"name":"\xff\xfe"}',
    "UTF-16": '{"name":"w"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name":"w"}',
    "overlong UTF-8": b'{"name":"\xc0\xaf"}',
    "half of a pair": b'{"name":"\\ud800"}',
    "an escaped NUL": b'{"name":"\\u0000"}',
    "a bad escape": b'{"name":"\\x41"}',
    "a line break in a string": b'{"name":"a\nb"}',
    "a key twice": b'{"name":"w","name":"v"}',
    "deep lists": DEEP.encode(),
    "deep lists in an input": b'{"name":"w","input":{"x":' + DEEP.encode() + b"}}",
    "deep and broken off": b'{"x":' * 20_000,
    "two documents": b'{"name":"w"}{"name":"w"}',
    "100,000 keys": json.dumps({f"k{n}": n for n in range(100_000)}).encode(),
    "a string of 1 MB": b'"' + b"x" * 1_000_000 + b'"',
    "100,000 empty lists": b"[" + b"[]," * 99_999 + b"[]]",
    "YAML": b"name: w\ntasks: []\n",
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "a form": b"name=w&version=1",
}
ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 7,
    "a text": "w",
    "a list": [],
    "a list of null": [None],
    "a list of lists": [[[]]],
    "an empty object": {},
    "an empty key": {"": ""},
    "prototype": {"__proto__": {"x": 1}, "constructor": {"prototype": {}}},
    "a class": {"__class__": "os.system", "py/object": "os.system"},
}
HOT = {
    "start by name": "POST /api/workflow/hostile",
    "start": "POST /api/workflow",
    "report": "POST /api/tasks",
    "report and poll": "POST /api/tasks/update-v2",
    "define workflows": "PUT /api/metadata/workflow",
    "define a workflow": "POST /api/metadata/workflow",
    "define tasks": "POST /api/metadata/taskdefs",
}
TASK_FIELDS: dict[str, list[Any]] = {
    "type": ["ODD", "", None, 3, "SIMPLE\u0000"],
    "taskReferenceName": ["", None, 5, "x" * 10_000, "a.b", "${workflow.input.x}", "a b"],
    "name": ["", None, [], "x" * 10_000, "a:b:c"],
    "inputParameters": [[], "x", {"x": "${a.output.x" * 500}, {"x": "${" * 5_000}, {"": None}],
    "loopCondition": ["while(true){}", "$.a[", "(" * 5_000, 1],
    "decisionCases": [[], {"a": None}, {"a": [{}]}, {"": []}],
    "forkTasks": [[[]], [None], [[{}]], {}],
    "joinOn": ["a", [None], ["nobody"], {}],
    "startDelay": [-1, 2**63, 1e300, "x"],
    "subWorkflowParam": [None, "x", {}, {"name": "hostile"}, {"name": "${x"}],
    "retryCount": [-1, 2**40, "x"],
    "optional": ["x", None, 2],
}
REPORT_FIELDS: dict[str, list[Any]] = {
    "status": ["ODD", "", None, 1, "completed", "IN_PROGRESS "],
    "taskId": ["", None, 1, "../..", "x" * 100_000, "0" * 36],
    "workflowInstanceId": ["", None, 1, "' OR 1=1 --", "0" * 36],
    "outputData": [[], "x", 1, {"a": 2**70}, {"a": {"b": "\u2028"}}],
    "callbackAfterSeconds": [-1, 2**63, 1e300, "x", None],
    "logs": [None, "x", [None], [{"log": None}], [{"createdTime": 2**70, "log": "x"}], [[]]],
    "reasonForIncompletion": [1, [], "x" * 200_000],
    "extendLease": ["x", None, 1],
    "workerId": [1, "x" * 10_000, "\u202e"],
}
START_FIELDS: dict[str, list[Any]] = {
    "name": ["", None, 1, "nobody", "../hostile", "x" * 100_000],
    "version": [-1, 0, 2**31, 1.5, "x", None],
    "input": [[], "x", 1, None, {"x": "${workflow.input.x}"}],
    "correlationId": [1, [], "x" * 10_000],
    "taskToDomain": [[], {"*": None}, {"": ""}, {"a": 1}],
    "priority": [-1, 100, 2**63, "x", None],
    "workflowDef": [[], "x", {}, {"name": "x"}, {"name": "x", "tasks": [None]}],
    "externalInputPayloadStoragePath": [1, "../../etc/passwd", "http://169.254.169.254/"],
    "idempotencyKey": [1, [], "x" * 10_000],
}


def _task(**fields: Any) -> dict[str, Any]:
    return {"name": "step", "taskReferenceName": "a", "type": "SIMPLE", **fields}


def _cases() -> dict[str, tuple[str, bytes]]:
    """Return all cases: what it is, where it goes, its body."""
    found = {
        f"{where}: {what}": (line, body)
        for where, line in HOT.items()
        for what, body in (
            *UNSOUND.items(),
            *((name, json.dumps(odd).encode()) for name, odd in ODD.items()),
        )
    }
    for field, values in TASK_FIELDS.items():
        for number, value in enumerate(values):
            kinds = {"loopCondition": "DO_WHILE", "decisionCases": "SWITCH", "joinOn": "JOIN"}
            kinds |= {"forkTasks": "FORK_JOIN", "subWorkflowParam": "SUB_WORKFLOW"}
            task = _task(**{"type": kinds.get(field, "SIMPLE"), field: value})
            body = json.dumps([{"name": "odd", "version": 1, "tasks": [task]}]).encode()
            found[f"task {field} {number}"] = (HOT["define workflows"], body)
            start = {"name": "odd", "workflowDef": {"name": "odd", "version": 1, "tasks": [task]}}
            found[f"start with task {field} {number}"] = (
                HOT["start"],
                json.dumps(start).encode(),
            )
    for where, fields in (("report", REPORT_FIELDS), ("start", START_FIELDS)):
        base = {"name": "hostile"} if where == "start" else {"workflowInstanceId": "RUN"}
        base |= {} if where == "start" else {"taskId": "TASK", "status": "IN_PROGRESS"}
        for field, values in fields.items():
            for number, value in enumerate(values):
                body = json.dumps(base | {field: value}).encode()
                found[f"{where} {field} {number}"] = (HOT[where], body)
    return found


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Give a server of its own process."""
    server = Server(tmp_path)
    await server.start()
    yield server
    server.end()


async def _of_a_run(connection: Connection, body: bytes) -> bytes:
    """Fill in a new run and its task, where a body names them."""
    if b'"RUN"' not in body and b'"TASK"' not in body:
        return body
    run = (await expect(connection, "POST", "/api/workflow/hostile", b"{}")).decode()
    tree = json.loads(await expect(connection, "GET", f"/api/workflow/{run}"))
    task = tree["tasks"][0]["taskId"]
    return body.replace(b'"RUN"', f'"{run}"'.encode()).replace(b'"TASK"', f'"{task}"'.encode())


async def _answer(port: int, line: str, body: bytes) -> tuple[int, bytes, float]:
    connection = await Connection.open("127.0.0.1", port)
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(4 * HANG_S):
            status, answer = await connection.request(*line.split(" "), body)
    finally:
        connection.close()
    return status, answer, asyncio.get_running_loop().time() - begun


async def test_no_hostile_body_is_our_fault(server: Server, report: Callable[..., None]) -> None:
    connection = await Connection.open("127.0.0.1", server.port)
    tasks = json.dumps([task_def("step")]).encode()
    await expect(connection, "POST", "/api/metadata/taskdefs", tasks)
    define = json.dumps([chain("hostile", 1)]).encode()
    await expect(connection, "PUT", "/api/metadata/workflow", define)
    cases = _cases()
    statuses: dict[int, int] = {}
    wrong, slowest = [], (0.0, "")

    for what, (line, given) in cases.items():
        body = await _of_a_run(connection, given)
        status, answer, took_s = await _answer(server.port, line, body)
        statuses[status] = statuses.get(status, 0) + 1
        slowest = max(slowest, (took_s, what))
        if status >= 500 or took_s > HANG_S:
            wrong.append((what, status, round(took_s, 1), answer[:200]))

    # Whatever was started can be read, and what was refused has left nothing.
    counts = json.loads(await expect(connection, "GET", "/api/batuta/status"))["counts"]
    unread = await _unread(connection, server.database)
    connection.close()
    server.terminate()
    await server.wait()

    report(
        oracle="each answer and its time; every run on disk is read back; scan of the file",
        rule=f"0 answers of 5xx, none after {HANG_S:g} s, no run half written",
        bodies=len(cases),
        statuses=statuses,
        slowest_ms=round(slowest[0] * 1_000),
        slowest=slowest[1],
        runs=counts,
    )
    assert len(cases) >= 200
    assert wrong == []
    assert unread == []
    assert scan(server.database) == []


async def _unread(connection: Connection, database: Path) -> list[Any]:
    """Return the runs on disk that the API cannot show."""
    with closing(apsw.Connection(str(database))) as found:
        runs = [str(run) for [run] in found.execute("SELECT lower(hex(id)) FROM workflow")]
    unread = []
    for run in runs:
        name = f"{run[:8]}-{run[8:12]}-{run[12:16]}-{run[16:20]}-{run[20:]}"
        status, answer = await connection.request("GET", f"/api/workflow/{name}")
        if status != 200:
            unread.append((name, status, answer[:200]))
    return unread
