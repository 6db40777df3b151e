"""The routes of the flow builder, with its own words and its error body. Source: S0.1."""

from typing import Any

from batuta.api.body import decode_whole
from batuta.api.dispatch.mount import Mount
from batuta.api.request import Reply, Request, Route, json_reply, read_body
from batuta.api.resource.page import health
from batuta.dialects.base import Dialect, Host
from batuta.dialects.flow.callback import NAME as CALLBACK
from batuta.dialects.flow.callback import callback_function, wrapped
from batuta.dialects.flow.catalog import Flows, read_flow
from batuta.dialects.flow.definition import Node, read_callback, read_name, read_nodes, refuse
from batuta.dialects.flow.history import history
from batuta.dialects.flow.lower import lowered, missing_types, task_defs
from batuta.dialects.flow.template import line_of, templates
from batuta.dialects.flow.view import results_of, status_of, word_of
from batuta.model.command import TerminateWorkflow
from batuta.model.definition import WorkflowDef
from batuta.model.error import (
    BatutaError,
    ConflictError,
    Fault,
    InvalidError,
    NotFoundError,
    StoreError,
)
from batuta.model.execution import WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.runtime.definitions import MADE
from batuta.runtime.view import RunView, StartRequest
from batuta.workers.function import TaskFunction
from batuta.workers.media.ai import Services
from batuta.workers.media.worker import media_functions

NAME = "flow"
CREATED = 201
QUEUED = "Workflow queued for execution"
CANCELLED = "Workflow cancelled"
NO_HISTORY = "Failed to read history"
NO_STATUS, NO_RESULTS = "Workflow execution not found", "Workflow not found"
POLLED_MS = 60_000  # a worker that has not asked for so long is not there
REASON_CHARACTERS_MAX = 1_000


async def open_flow(host: Host) -> Dialect:
    """Return the dialect, with the workers of its node types."""
    nodes: tuple[TaskFunction, ...] = ()
    if host.node_tasks_max:
        services = Services(ai=host.ai, media=host.media, targets=host.targets)
        nodes = media_functions(services, concurrency=host.node_tasks_max)
    front = _Front(host, frozenset(one.task_type for one in nodes))
    mount = Mount(name=NAME, routes=front.routes(), render=_render)
    return Dialect(mount=mount, functions=(callback_function(host), *nodes))


def _render(status: int, error: BatutaError) -> Reply:
    """Word an error as `{error}`."""
    reply = json_reply({"error": error.message}, status)
    return Reply(reply.status, reply.body, reply.media, getattr(error, "headers", ()))


class _Front:
    """The handlers.

    Args:
        types: The node types that workers inside this server do.
    """

    def __init__(self, host: Host, types: frozenset[str]) -> None:
        self._engine = host.engine
        self._types = types
        self._has_secret = bool(host.flow_callback_secret)
        self._flows = Flows(host.engine.catalog)
        self._templates = templates()

    def routes(self) -> tuple[Route, ...]:
        """Return the rows of this dialect; those without a variable win."""
        flows, templated, one = "/workflow/flows", "/workflow/templates", "/workflow/flows/{id}"
        rows = (
            ("GET", "/health", health, "Say whether the server takes work"),
            ("POST", "/workflow/run", self.run, "Run nodes in the order of their list"),
            ("GET", "/workflow/history", self.history, "List the flows that ended last"),
            ("GET", "/workflow/{id}/status", self.status, "Show a run of a flow"),
            ("GET", "/workflow/{id}/results", self.results, "Show what came of each node"),
            ("POST", "/workflow/{id}/cancel", self.cancel, "Cancel a run of a flow"),
            ("GET", flows, self.list_flows, "List the saved flows"),
            ("POST", flows, self.save_flow, "Save a flow"),
            ("GET", one, self.read_flow, "Show a saved flow, or its version `?version=`"),
            ("PUT", one, self.change_flow, "Save a flow's next version"),
            ("DELETE", one, self.remove_flow, "Remove a flow and its versions"),
            ("GET", f"{one}/versions", self.list_versions, "List the versions of a flow"),
            ("POST", f"{one}/run", self.run_flow, "Run a saved flow"),
            ("GET", templated, self.list_templates, "List the flows to begin with"),
            ("GET", f"{templated}/{{name}}", self.read_template, "Show a flow to begin with"),
        )
        return tuple(
            Route(method=method, path=path, handler=handler, summary=summary, group=NAME)
            for method, path, handler, summary in rows
        )

    async def run(self, request: Request) -> Reply:
        """POST /workflow/run."""
        body = await _body(request)
        return await self._started(body, read_nodes(body), read_name(body))

    async def history(self, _: Request) -> Reply:
        """GET /workflow/history."""
        try:
            return json_reply(await history(self._engine, NAME))
        except StoreError as error:
            raise StoreError(NO_HISTORY) from error

    async def status(self, request: Request) -> Reply:
        """GET /workflow/{id}/status."""
        return json_reply(status_of(await self._run(request, NO_STATUS)))

    async def results(self, request: Request) -> Reply:
        """GET /workflow/{id}/results."""
        return json_reply(results_of(await self._run(request, NO_RESULTS)))

    async def cancel(self, request: Request) -> Reply:
        """POST /workflow/{id}/cancel; once more is the same."""
        body = await _body(request)
        reason = body.get("reason") or CANCELLED
        if not isinstance(reason, str) or len(reason) > REASON_CHARACTERS_MAX:
            message = f"must be a string of {REASON_CHARACTERS_MAX:,} characters at most"
            refuse([Fault("reason", message)])
        run = await self._run(request, NO_STATUS)
        if not run.workflow.status.is_terminal:
            workflow_id = run.workflow.workflow_id
            await self._engine.control(TerminateWorkflow(workflow_id=workflow_id, reason=reason))
        elif run.workflow.status is not WorkflowStatus.TERMINATED:
            raise ConflictError(f"Workflow has ended: {word_of(run)}")
        return json_reply({"success": True})

    async def list_flows(self, _: Request) -> Reply:
        """GET /workflow/flows."""
        return json_reply(await self._flows.all())

    async def save_flow(self, request: Request) -> Reply:
        """POST /workflow/flows."""
        made = read_flow(await _body(request), self._engine.new_id(), 1, "")
        await self._flows.add(made)
        return json_reply(made, CREATED)

    async def read_flow(self, request: Request) -> Reply:
        """GET /workflow/flows/{id}."""
        version = request.integer("version", 0)
        return json_reply(await self._flows.find(request.values[0], version))

    async def change_flow(self, request: Request) -> Reply:
        """PUT /workflow/flows/{id}."""
        return json_reply(await self._flows.change(request.values[0], await _body(request)))

    async def remove_flow(self, request: Request) -> Reply:
        """DELETE /workflow/flows/{id}."""
        await self._flows.remove(request.values[0])
        return json_reply({"success": True})

    async def list_versions(self, request: Request) -> Reply:
        """GET /workflow/flows/{id}/versions."""
        return json_reply(await self._flows.versions(request.values[0]))

    async def run_flow(self, request: Request) -> Reply:
        """POST /workflow/flows/{id}/run: its last version, or the one that the body names."""
        body = await _body(request)
        version = body.get("version") or 0
        if not isinstance(version, int) or isinstance(version, bool) or version < 0:
            refuse([Fault("version", "must be a whole number")])
        flow = await self._flows.find(request.values[0], version)
        nodes = read_nodes({"nodes": decode_whole(bytes(flow.nodes))})
        named = body if body.get("workflowName") else {"workflowName": flow.name}
        return await self._started(body, nodes, read_name(named))

    async def list_templates(self, _: Request) -> Reply:
        """GET /workflow/templates."""
        return json_reply([line_of(one) for one in self._templates.values()])

    async def read_template(self, request: Request) -> Reply:
        """GET /workflow/templates/{name}."""
        found = self._templates.get(request.values[0])
        if found is None:
            raise NotFoundError("Template not found")
        return json_reply(found)

    async def _started(self, body: dict[str, Any], nodes: list[Node], name: str) -> Reply:
        """Start nodes, and what tells their end if the body wants that."""
        url = read_callback(body)
        if url and not self._has_secret:
            refuse([Fault("callbackUrl", "needs the setting flow_callback_secret, to be signed")])
        await self._check_types(nodes)
        made = lowered(nodes, self._types)
        given = made.input(name)
        if not url:
            workflow_id = await self._start(made.definition, nodes, given, is_told=False)
        else:
            given["callbackUrl"] = url
            around = await self._start(made.definition, nodes, given, is_told=True)
            workflow_id = await self._inner(around)
        return json_reply({"success": True, "workflowId": workflow_id, "message": QUEUED})

    async def _start(
        self, flow: WorkflowDef, nodes: list[Node], given: dict[str, Any], *, is_told: bool
    ) -> str:
        """Start a flow; one whose like was started shortly before is not made ready again."""
        definitions = self._engine.definitions
        name = CALLBACK if is_told else flow.name
        key = f"{NAME} {name} {flow.name}"
        pinned = definitions.pinned(key, MADE)
        if pinned is None:
            await self._register(nodes)
            pinned = await definitions.pin_made(key, lambda: wrapped(flow) if is_told else flow)
        request = StartRequest(
            name=name,
            pinned=pinned,
            input=Payload.of(given),
            correlation_id=given["workflowName"],
            dialect=NAME,
        )
        return await self._engine.start(request)

    async def _inner(self, around_id: str) -> str:
        """Return the run inside one that tells its end: both are one commit."""
        [view, *_] = (await self._engine.get(around_id)).tasks
        assert view.task.child_id is not None, "the commit of a run has its first sub-workflow"
        return view.task.child_id

    async def _register(self, nodes: list[Node]) -> None:
        """Register a task definition for each node type that has none."""
        definitions = self._engine.definitions
        types = list(dict.fromkeys(node.type for node in nodes))
        missing = missing_types(nodes, await definitions.task_defs_of(types))
        if missing:
            await definitions.put_task_defs(task_defs(missing))

    async def _check_types(self, nodes: list[Node]) -> None:
        """Refuse node types that nobody does: their nodes would wait for ever."""
        since_ms = wall_ms() - POLLED_MS
        types = dict.fromkeys(node.type for node in nodes)
        absent = {
            one for one in types if one not in self._types and not self._is_polled(one, since_ms)
        }
        if absent:  # a worker whose hands are full does not poll
            queues = (await self._engine.status()).queues
            absent -= {queue.queue.rpartition(":")[2] for queue in queues if queue.leased}
        refuse(
            [
                Fault(f"nodes[{place}].type", f"is unknown: {node.type!r}; no worker polls for it")
                for place, node in enumerate(nodes)
                if node.type in absent
            ]
        )

    def _is_polled(self, node_type: str, since_ms: int) -> bool:
        polls = self._engine.poll_data(node_type)
        return any(one.last_poll_at_ms >= since_ms for one in polls)

    async def _run(self, request: Request, missing: str) -> RunView:
        """Return the run of a path."""
        try:
            run = await self._engine.get(request.values[0])
        except (NotFoundError, InvalidError):
            raise NotFoundError(missing) from None
        if run.workflow.dialect != NAME or not run.graph.definition.tasks[0].metadata:
            raise NotFoundError(missing)  # of another front door, or around one of ours
        return run


async def _body(request: Request) -> dict[str, Any]:
    """Read a request's object; nothing is an empty one, as is what is no object."""
    body = await read_body(request)
    found = decode_whole(body) if body.strip() else {}
    return found if isinstance(found, dict) else {}
