"""A server in which every call of the API has something to work on, and a valid call of each."""

import re
from collections.abc import Sequence
from typing import Any

from batuta.api.request import Route
from tests.api.client import Client
from tests.api.conftest import FILE, polled, report, simple, workflow

PLACES = re.compile(r"\{(\w+)\}")
WAIT = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT"}
BULK = "/api/workflow/bulk/"
# What a call does needs a run of that kind; all others take one that runs.
_KINDS = {
    "/retry": "failed",
    "/restart": "failed",
    "/rerun": "failed",
    "/remove": "failed",
    "/resume": "paused",
    "/sync": "waiting",
    "/signal": "waiting",
}
_VALUES = {"path": "a.json", "operation": "WRITE", "payloadType": "WORKFLOW_INPUT"}


class Example:
    """Runs of each kind by name, and a task in a worker's hands."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.runs: dict[str, str] = {}
        self.held: dict[str, Any] = {}
        self.waiting_id = ""
        self.upload = ""

    async def fill(self) -> "Example":
        """Register definitions and start the runs."""
        client = self.client
        await client.ask("POST /api/metadata/taskdefs", [{"name": "a"}])
        await client.ask(
            "PUT /api/metadata/workflow",
            [workflow(simple("a"), simple("b")), workflow(WAIT, name="waiting")],
        )
        await self._start("failed")
        task = await polled(client)
        await client.ask("POST /api/tasks", report(task, "FAILED_WITH_TERMINAL_ERROR"))
        await self._start("held")
        self.held = await polled(client)
        await client.ask(f"POST /api/tasks/{self.held['taskId']}/log", raw=b"line")
        await self._start("running")
        await self._start("paused")
        await client.ask(f"PUT /api/workflow/{self.runs['paused']}/pause")
        await self._start("waiting", "waiting")
        run = (await client.ask(f"GET /api/workflow/{self.runs['waiting']}")).json
        self.waiting_id = run["tasks"][0]["taskId"]
        line = "GET /api/tasks/externalstoragelocation?operation=WRITE&payloadType=TASK_OUTPUT"
        self.upload = (await client.ask(line)).json["uri"].rpartition("/")[2]
        await client.ask(f"PUT /api/batuta/payload/{self.upload}", {"a": 1})
        return self

    async def _start(self, kind: str, name: str = "w") -> None:
        body = {"name": name, "correlationId": "c"}
        self.runs[kind] = (await self.client.ask("POST /api/workflow", body)).body.decode()

    def line(self, method: str, path: str, required: Sequence[str] = ()) -> str:
        """Give a valid request line; ``required``: query parameters that must be there."""
        places = {
            "name": "waiting" if "/execute/" in path else "w",
            "version": "1",
            "workflowid": self._run(path),
            "tasktype": "a",
            "taskid": self.waiting_id if "/queue/" in path else self.held["taskId"],
            "taskrefname": "hold",
            "taskreferencename": "b",
            "status": "COMPLETED",
            "correlationid": "c",
        }
        if "/payload/" in path:
            places["name"] = self.upload
        if path.startswith("/assets"):
            places["name"] = "page.css"
        if path.startswith("/files"):
            places["name"] = FILE
        filled = PLACES.sub(lambda found: places[found[1].lower()], path)
        query = "&".join(f"{name}={_VALUES.get(name, 'a')}" for name in required)
        return f"{method} {filled}" + (f"?{query}" if query else "")

    def body(self, method: str, path: str) -> Any:
        """Give a valid body; None where there is none."""
        if path in {"/api/tasks", "/api/tasks/update-v2"}:
            return report(self.held)
        if path.startswith(BULK):
            return [self._run(path)]
        if path.startswith("/api/metadata/workflow"):
            one = workflow(simple("a"), name="v")
            return [one] if method == "PUT" else one
        if path == "/api/metadata/taskdefs":
            return {"name": "a"} if method == "PUT" else [{"name": "a"}]
        if path.endswith("/correlated"):
            return ["c"]
        if path == "/api/workflow":
            return {"name": "w"}
        if path == "/api/workflow/test":
            return {"name": "w", "taskRefToMockOutput": {"a": [{}], "b": [{}]}}
        return {} if method == "POST" or "/payload/" in path else None

    def of_row(self, row: Route) -> str:
        """Give a valid request line of a row of our table."""
        required = [one.name for one in row.query if one.is_required]
        return self.line(row.method, row.path, required)

    def _run(self, path: str) -> str:
        if path.startswith(("/api/queue/", "/api/tasks/{workflowId}/{taskRefName}")):
            return self.runs["waiting"]
        kind = next((kind for end, kind in _KINDS.items() if path.endswith(end)), "running")
        return self.runs[kind]
