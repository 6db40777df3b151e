"""The routes of the graph engine, with its own status codes and error body. Source: S1.1."""

from hashlib import sha256
from typing import Any

import msgspec

from batuta.api.body import decode_whole
from batuta.api.dispatch.mount import Mount, PassOnError
from batuta.api.request import Reply, Request, Route, json_reply, read_body
from batuta.dialects.base import Dialect, Host
from batuta.dialects.dag.call import Caller
from batuta.dialects.dag.catalog import workflows
from batuta.dialects.dag.definition import read_workflow
from batuta.dialects.dag.lower import TASKS, lowered
from batuta.dialects.dag.mock import mock_answer, paths
from batuta.dialects.dag.node import node_function
from batuta.dialects.dag.template import TemplateRoutes
from batuta.dialects.dag.view import (
    decoded,
    logs_of,
    status_of,
    summary_of,
    sync_logs_of,
    word_of,
)
from batuta.dialects.nest import render
from batuta.model.command import TerminateWorkflow
from batuta.model.error import ConflictError, Fault, InvalidError, NotFoundError
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine
from batuta.runtime.search import SearchRequest
from batuta.runtime.view import RunView, StartRequest
from batuta.runtime.waiting import WAIT_S_MAX

NAME = "dag"
CREATED = 201
RUNS_LISTED_MAX = 100  # of one workflow, the newest
DEPENDENCIES = "workflow-dependencies"  # the original's second queue
_EMPTY = {"waiting": 0, "active": 0}
CANCELLED = "Workflow run cancelled"


async def open_dag(host: Host) -> Dialect:
    """Return the dialect."""
    front = _Front(host.engine)
    host.engine.committer.queues.announce(TASKS, DEPENDENCIES)
    caller = Caller(targets=host.targets, api=host.api)
    mount = Mount(name=NAME, routes=front.routes(), render=render)
    count = host.graph_tasks_max
    functions = (node_function(caller, concurrency=count),) if count else ()
    return Dialect(mount=mount, functions=functions)


class _Front:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._workflows = workflows(engine.catalog)
        self._templates = TemplateRoutes(engine)

    def routes(self) -> tuple[Route, ...]:
        """Return the rows of this dialect."""
        one, runs = "/workflows/{id}", "/workflows/{id}/runs"
        rows = (
            ("GET", "/workflows", self.list, "List the graphs"),
            ("POST", "/workflows", self.create, "Keep a graph"),
            ("GET", one, self.read, "Show a graph"),
            ("PUT", one, self.change, "Change a graph"),
            ("DELETE", one, self.remove, "Remove a graph"),
            ("POST", f"{one}/execute-async", self.start, "Start a run of a graph"),
            ("POST", f"{one}/trigger", self.trigger, "The same"),
            ("POST", f"{one}/execute", self.execute, "Run a graph and wait for its end"),
            ("GET", runs, self.runs, "List the runs of a graph"),
            ("GET", f"{runs}/{{runId}}", self.status, "Show a run of a graph"),
            ("GET", f"{runs}/{{runId}}/status", self.status, "The same"),
            ("GET", f"{runs}/{{runId}}/logs", self.logs, "Show the logs of a run"),
            ("POST", f"{runs}/{{runId}}/cancel", self.cancel, "Cancel a run of a graph"),
            ("GET", "/workflows/runs/{runId}/status", self.status, "Show a run of a graph"),
            ("GET", "/workflows/runs/{runId}/logs", self.logs, "Show the logs of a run"),
            ("POST", "/workflows/runs/{runId}/cancel", self.cancel, "Cancel a run of a graph"),
            ("GET", "/workflows/queues", self.queues, "Show the queues of graphs"),
            *self._templates.rows(),
            *((method, path, self.mock, "The mock service") for method, path in paths()),
        )
        return tuple(
            Route(method=method, path=path, handler=handler, summary=summary, group=NAME)
            for method, path, handler, summary in rows
        )

    async def list(self, _: Request) -> Reply:
        """GET /workflows."""
        found = await self._workflows.all()
        return json_reply(
            [{"id": one.id, "name": one.name, "updatedAt": one.updated_at} for one in found]
        )

    async def create(self, request: Request) -> Reply:
        """POST /workflows."""
        body = decode_whole(await read_body(request))
        made = read_workflow(body, self._engine.new_id(), now_ms=wall_ms(), before=None)
        lowered(made)  # whatever cannot run is not kept
        await self._workflows.put(made)
        return json_reply(made, CREATED)

    async def read(self, request: Request) -> Reply:
        """GET /workflows/{id}."""
        return json_reply(await self._workflows.find(request.values[0]))

    async def change(self, request: Request) -> Reply:
        """PUT /workflows/{id}."""
        body = decode_whole(await read_body(request))
        before = await self._workflows.find(request.values[0])
        changed = read_workflow(body, before.id, now_ms=wall_ms(), before=before)
        lowered(changed)
        await self._workflows.put(changed)
        return json_reply(changed)

    async def remove(self, request: Request) -> Reply:
        """DELETE /workflows/{id}: the same answer for one that is not there."""
        await self._workflows.remove(request.values[0])
        return json_reply({"deleted": True})

    async def start(self, request: Request) -> Reply:
        """POST /workflows/{id}/execute-async."""
        document = await self._workflows.document(request.values[0])
        given = _input(await read_body(request))
        return json_reply({"runId": await self._started(document, given)}, CREATED)

    async def trigger(self, request: Request) -> Reply:
        """POST /workflows/{id}/trigger: as execute-async; others may have this path too."""
        try:
            return await self.start(request)
        except NotFoundError as missing:
            raise PassOnError(missing) from None

    async def execute(self, request: Request) -> Reply:
        """POST /workflows/{id}/execute: the run's true end, WAIT_S_MAX later at the latest."""
        document = await self._workflows.document(request.values[0])
        given = _input(await read_body(request))
        waiting = self._engine.waiting
        with waiting.waiter() as waiter:
            run_id = await self._started(document, given)
            await waiting.until_blocked(waiter, run_id, wait_s=WAIT_S_MAX)
        run = await self._engine.get(run_id)
        shown = {"runId": run_id, "status": word_of(run), "logs": sync_logs_of(run)}
        return json_reply(shown, CREATED)

    async def runs(self, request: Request) -> Reply:
        """GET /workflows/{id}/runs: the newest first."""
        workflow = await self._workflows.find(request.values[0])
        wanted = SearchRequest(
            query=f"correlationId = '{workflow.id}'",
            sort="startTime:DESC",
            size=RUNS_LISTED_MAX,
        )
        page = await self._engine.searches.runs(wanted)
        return json_reply([summary_of(run) for run in page.items])

    async def status(self, request: Request) -> Reply:
        """GET /workflows/runs/{runId}/status."""
        return json_reply(status_of(await self._run(request)))

    async def logs(self, request: Request) -> Reply:
        """GET /workflows/runs/{runId}/logs."""
        return json_reply({"logs": logs_of(await self._run(request))})

    async def cancel(self, request: Request) -> Reply:
        """POST /workflows/runs/{runId}/cancel."""
        run = await self._run(request)
        if run.workflow.status.is_terminal:
            raise ConflictError(f"Cannot cancel run in status: {word_of(run)}")
        workflow_id = run.workflow.workflow_id
        await self._engine.control(TerminateWorkflow(workflow_id=workflow_id, reason=CANCELLED))
        return json_reply({"cancelled": True}, CREATED)

    async def queues(self, _: Request) -> Reply:
        """GET /workflows/queues: what waits, and what is in workers' hands.

        The second queue is always empty: what runs next is decided in the commit that ends a node.
        """
        found = {one.queue: one for one in (await self._engine.status()).queues}
        tasks = found.get(TASKS)
        counts = {"waiting": tasks.ready, "active": tasks.leased} if tasks else _EMPTY
        return json_reply([{"name": TASKS, **counts}, {"name": DEPENDENCIES, **_EMPTY}])

    async def mock(self, request: Request) -> Reply:
        """The bundled mock service."""
        scope = request.scope
        query = scope.get("query_string", b"").decode("latin-1")
        body = await read_body(request)
        status, document = mock_answer(scope["method"], f"{scope['path']}?{query}", body)
        return json_reply(document, status)

    async def _started(self, document: bytes, given: Any) -> str:
        workflow = self._workflows.read(document)
        pinned = await self._engine.definitions.pin_made(
            f"{NAME} {sha256(document).hexdigest()}", lambda: lowered(workflow)
        )
        return await self._engine.start(
            StartRequest(
                name=workflow.name,
                pinned=pinned,
                input=Payload.of({"workflowId": workflow.id, "input": given}),
                correlation_id=workflow.id,
                dialect=NAME,
            )
        )

    async def _run(self, request: Request) -> RunView:
        """Return the run of a path, which may name its workflow too."""
        *workflow_ids, run_id = request.values
        missing = NotFoundError("Workflow run not found")
        try:
            run = await self._engine.get(run_id)
        except NotFoundError:
            raise missing from None
        of = decoded(run.input).get("workflowId")
        if run.workflow.dialect != NAME or any(one != of for one in workflow_ids):
            raise missing
        return run


def _input(body: bytes) -> dict[str, Any]:
    """Read the body of a start: nothing, or an object with an input that is an object."""
    given = decode_whole(body) if body.strip() else {}
    if not isinstance(given, dict):
        raise _invalid([Fault("the body", "must be an object")])
    faults = [Fault(f"property {name}", "should not exist") for name in given if name != "input"]
    found = given.get("input")
    if found is None:
        found = {}
    if not isinstance(found, dict):
        faults.append(Fault("input", "must be an object"))
    if faults:
        raise _invalid(faults)
    return msgspec.convert(found, dict[str, Any])


def _invalid(faults: list[Fault]) -> InvalidError:
    return InvalidError("; ".join(f"{one.path} {one.message}" for one in faults), faults)
