"""The routes of the step orchestrator, with its own status codes and error body. Source: S3.1."""

from hashlib import sha256
from typing import Any

import msgspec

from batuta.api.body import decode_whole
from batuta.api.dispatch.mount import Mount, PassOnError
from batuta.api.request import Reply, Request, Route, json_reply, read_body
from batuta.dialects.base import Dialect, Host
from batuta.dialects.nest import moment, render
from batuta.dialects.steps.catalog import SAMPLE, SAMPLE_ID, Definitions, shown
from batuta.dialects.steps.definition import Definition, read_definition
from batuta.dialects.steps.events import document, tell
from batuta.dialects.steps.function import Functions
from batuta.dialects.steps.lower import NAME, lowered
from batuta.dialects.steps.runner import step_function
from batuta.dialects.steps.stream import Streams
from batuta.dialects.steps.view import instance
from batuta.model.error import ConflictError, Fault, InvalidError, NotFoundError
from batuta.model.payload import Payload
from batuta.runtime.engine import Engine
from batuta.runtime.view import RunView, StartRequest

CREATED, ACCEPTED, NO_CONTENT = 201, 202, 204


async def open_steps(host: Host) -> Dialect:
    """Return the dialect, its sample loaded."""
    front = _Front(host.engine)
    await front.load_sample()
    functions = Functions(host.functions, host.targets, delay_percent=host.delay_percent)
    mount = Mount(name=NAME, routes=front.routes(), render=render)
    worker = step_function(functions)
    return Dialect(mount=mount, functions=(worker,), tell=tell, document=document)


class _Front:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._definitions = Definitions(engine.catalog)
        self._streams = Streams(engine)

    def routes(self) -> tuple[Route, ...]:
        """Return the rows of this dialect."""
        definitions = "/workflows/definitions"
        rows = (
            ("POST", definitions, self.create, "Keep a definition of steps"),
            ("GET", definitions, self.list, "List the definitions of steps"),
            ("GET", f"{definitions}/{{id}}", self.read, "Show a definition of steps"),
            ("PUT", f"{definitions}/{{id}}", self.change, "Change fields of a definition of steps"),
            ("DELETE", f"{definitions}/{{id}}", self.remove, "Remove a definition of steps"),
            ("POST", "/workflows/{idOrName}/trigger", self.trigger, "Start an instance"),
            ("GET", "/workflows/instances/{id}", self.show, "Show an instance and its history"),
            (
                *("GET", "/workflows/instances/{id}/events", self.events),
                "Tell an instance's events, as server-sent events",
            ),
            (
                *("GET", "/workflows/events", self.all_events),
                "Tell the events of all instances, as server-sent events",
            ),
        )
        return tuple(
            Route(method=method, path=path, handler=handler, summary=summary, group=NAME)
            for method, path, handler, summary in rows
        )

    async def load_sample(self) -> None:
        """Keep the sample, unless a definition has its name already."""
        try:
            await self._definitions.add(read_definition(SAMPLE, SAMPLE_ID))
        except ConflictError:
            return

    async def create(self, request: Request) -> Reply:
        """POST /workflows/definitions."""
        body = decode_whole(await read_body(request))
        definition = read_definition(body, self._engine.new_id())
        await self._definitions.add(definition)
        return json_reply(shown(definition), CREATED)

    async def list(self, _: Request) -> Reply:
        """GET /workflows/definitions."""
        return json_reply([shown(one) for one in await self._definitions.all()])

    async def read(self, request: Request) -> Reply:
        """GET /workflows/definitions/{id}."""
        return json_reply(shown(await self._found(request.values[0])))

    async def change(self, request: Request) -> Reply:
        """PUT /workflows/definitions/{id}: the fields given are laid over those there are."""
        body = decode_whole(await read_body(request))
        before = await self._found(request.values[0])
        if not isinstance(body, dict):
            raise _invalid("the fields to change", "must be an object")
        document = {k: v for k, v in shown(before).items() if k != "id"}
        given = {k: v for k, v in body.items() if k != "id" or v != before.id}
        definition = read_definition({**document, **given}, before.id)
        await self._definitions.change(definition)
        return json_reply(shown(definition))

    async def remove(self, request: Request) -> Reply:
        """DELETE /workflows/definitions/{id}."""
        definition_id = request.values[0]
        if not await self._definitions.remove(definition_id):
            message = f'Workflow definition with ID "{definition_id}" not found for deletion.'
            raise NotFoundError(message)
        return Reply(NO_CONTENT)

    async def trigger(self, request: Request) -> Reply:
        """POST /workflows/{idOrName}/trigger: the instance, before any step has run."""
        wanted = request.values[0]
        definition = await self._definitions.by_either(wanted)
        if definition is None:
            message = f'Workflow definition with ID or Name "{wanted}" not found.'
            raise PassOnError(NotFoundError(message))
        payload = _payload(await read_body(request))
        key = sha256(msgspec.json.encode(definition)).hexdigest()
        pinned = await self._engine.definitions.pin_made(
            f"{NAME} {key}", lambda: lowered(definition)
        )
        started = await self._engine.start(
            StartRequest(
                name=definition.name,
                pinned=pinned,
                input=Payload.of({"definitionId": definition.id, "payload": payload}),
                dialect=NAME,
            )
        )
        created_at_ms = (await self._engine.get(started, with_tasks=False)).workflow.created_at_ms
        return json_reply(
            {
                "instanceId": started,
                "workflowDefinitionId": definition.id,
                "workflowDefinitionName": definition.name,
                "status": "PENDING",
                "initialPayload": payload,
                "currentPayload": payload,
                "currentStepId": definition.start_at,
                "history": [],
                "startedAt": moment(created_at_ms),
            },
            ACCEPTED,
        )

    async def show(self, request: Request) -> Reply:
        """GET /workflows/instances/{id}."""
        return json_reply(instance(await self._instance(request.values[0])))

    async def events(self, request: Request) -> Reply:
        """GET /workflows/instances/{id}/events."""
        run = await self._instance(request.values[0], with_tasks=False)
        return await self._streams.of_instance(request, run.workflow)

    async def all_events(self, request: Request) -> Reply:
        """GET /workflows/events."""
        return await self._streams.of_all(request)

    async def _instance(self, instance_id: str, *, with_tasks: bool = True) -> RunView:
        missing = NotFoundError(f'Workflow instance with ID "{instance_id}" not found.')
        try:
            run = await self._engine.get(instance_id, with_tasks=with_tasks)
        except NotFoundError:
            raise missing from None
        if run.workflow.dialect != NAME:
            raise missing
        return run

    async def _found(self, definition_id: str) -> Definition:
        found = await self._definitions.by_id(definition_id)
        if found is None:
            raise NotFoundError(f'Workflow definition with ID "{definition_id}" not found.')
        return found


def _payload(body: bytes) -> Any:
    """Read the trigger's body: nothing, or an object with a payload that is an object."""
    given = decode_whole(body) if body.strip() else {}
    if not isinstance(given, dict):
        raise _invalid("the body", "must be an object")
    faults = [Fault(f"property {name}", "should not exist") for name in given if name != "payload"]
    payload = given.get("payload", {})
    if not isinstance(payload, dict):
        faults.append(Fault("payload", "must be an object"))
    if faults:
        raise InvalidError("the body cannot be used", faults)
    return payload


def _invalid(path: str, message: str) -> InvalidError:
    return InvalidError(f"{path} {message}", [Fault(path, message)])
