"""An output of 5 MB on a real server: beside the database, whole after a kill, then removed."""

import json
from pathlib import Path
from typing import Any

import apsw

from bench.load.client import Connection
from tests.faults.scan import scan
from tests.faults.serving import Server

OUTPUT = {"text": "é" * 2_500_000, "n": [1, 2.5, None]}
DEFINITION = {
    "name": "large",
    "tasks": [
        {"name": "make", "taskReferenceName": "make", "type": "SIMPLE"},
        {
            "name": "use",
            "taskReferenceName": "use",
            "type": "SIMPLE",
            "inputParameters": {"n": "${make.output.n}"},
        },
    ],
}


async def ask(server: Server, method: str, path: str, body: Any = None) -> Any:
    """Ask the server; the answer must be a good one."""
    connection = await Connection.open("127.0.0.1", server.port)
    raw = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    status, answer = await connection.request(method, path, raw)
    connection.close()
    assert status in {200, 204}, (status, answer[:500])
    return answer


def inline_bytes_max(database: Path) -> int:
    """Return the size of the largest payload that the database itself holds."""
    with apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE) as connection:
        found = connection.execute(
            "SELECT max(n) FROM (SELECT max(length(output)) AS n FROM task UNION ALL"
            " SELECT max(length(data)) FROM payload)"
        ).get
    return int(str(found))


def blobs(server: Server) -> list[Path]:
    """Return the files of large payloads."""
    folder = server.database.with_name(server.database.name + "-blobs")
    return [path for path in folder.rglob("*-output-*") if path.is_file()]


async def test_an_output_of_5_mb_survives_a_kill_and_goes_with_its_run(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    try:
        await ask(server, "POST", "/api/metadata/workflow", DEFINITION)
        workflow_id = (await ask(server, "POST", "/api/workflow/large", {})).decode()
        task = json.loads(await ask(server, "GET", "/api/tasks/poll/make"))
        report = {
            "workflowInstanceId": workflow_id,
            "taskId": task["taskId"],
            "status": "COMPLETED",
            "outputData": OUTPUT,
        }
        await ask(server, "POST", "/api/tasks", report)

        server.kill()
        assert scan(server.database) == []
        assert inline_bytes_max(server.database) < 1_000
        await server.start()

        run = json.loads(await ask(server, "GET", f"/api/workflow/{workflow_id}"))
        assert run["tasks"][0]["outputData"] == OUTPUT
        following = json.loads(await ask(server, "GET", "/api/tasks/poll/use"))
        assert following["inputData"] == {"n": OUTPUT["n"]}
        assert len(blobs(server)) == 1

        await ask(server, "DELETE", f"/api/workflow/{workflow_id}/remove?archiveWorkflow=false")
        assert blobs(server) == []
        server.terminate()
        assert await server.wait() == 0
    finally:
        server.end()
