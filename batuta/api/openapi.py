"""The route table as an OpenAPI 3.1 document, and as a page of the reference.

Schemas come from the types in the table (`msgspec.json.schema_components`); a payload that is
carried undecoded is described as an object.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

import batuta
from batuta.api.request import (
    ErrorBody,
    EventStream,
    Parameter,
    Reply,
    Request,
    Route,
    json_reply,
)

_VARIABLE = re.compile(r"\{(\w+)\}")
_KINDS = {str: "string", int: "integer", bool: "boolean"}
_STATUS = {
    200: "Done",
    204: "Done, or nothing there; no body",
    206: "The part of it that was asked for",
    400: "The request breaks a rule; the message names the field",
    404: "No such thing",
    409: "The state does not allow it",
    416: "It has no such part",
    429: "Too much work at once; Retry-After says when to come back",
    503: "The server is starting or stopping",
}
# What an answer, or what was asked, names that the path of another call takes.
_OF_TASK = {
    "workflowId": "$response.body#/workflowInstanceId",
    "taskId": "$response.body#/taskId",
    "taskRefName": "$response.body#/referenceTaskName",
    "taskType": "$response.body#/taskType",
}
_NAMED: dict[str, dict[str, str]] = {
    "POST /api/workflow": {"workflowId": "$response.body", "name": "$request.body#/name"},
    "POST /api/workflow/{name}": {"workflowId": "$response.body", "name": "$request.path.name"},
    "POST /api/workflow/{workflowId}/rerun": {"workflowId": "$response.body"},
    "GET /api/workflow/{workflowId}": {
        "workflowId": "$response.body#/workflowId",
        "name": "$response.body#/workflowName",
        "version": "$response.body#/workflowVersion",
        "taskId": "$response.body#/tasks/0/taskId",
        "taskRefName": "$response.body#/tasks/0/referenceTaskName",
        "taskReferenceName": "$response.body#/tasks/0/referenceTaskName",
    },
    "GET /api/tasks/poll/{taskType}": _OF_TASK,
    "GET /api/tasks/{taskId}": _OF_TASK,
    "POST /api/metadata/workflow": {
        "name": "$request.body#/name",
        "version": "$request.body#/version",
    },
    "POST /api/metadata/taskdefs": {"taskType": "$request.body#/0/name"},
}
# A polled task is reported by its ids; the rest of a report is the worker's.
_REPORT = {
    "workflowInstanceId": "$response.body#/workflowInstanceId",
    "taskId": "$response.body#/taskId",
    "status": "COMPLETED",
}
_FREE = {"status", "version", "correlationId", "taskRefName"}  # of a path; any value will do
_PAGES: dict[Any, tuple[str, dict[str, str]]] = {
    bytes: ("text/html", {"type": "string"}),
    str: ("text/plain", {"type": "string"}),
    EventStream: ("text/event-stream", {"type": "string"}),
}


async def document(request: Request) -> Reply:
    """Describe the route table as OpenAPI 3.1."""
    return json_reply(describe(request.routes))


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a route table."""
    kinds = [ErrorBody, *_types(routes)]
    schemas, components = msgspec.json.schema_components(
        kinds, schema_hook=_schema_hook, ref_template="#/components/schemas/{name}"
    )
    by_type = {_key(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, by_type
        )
        if links := _links(route, routes):
            operation["responses"][str(route.status)]["links"] = links
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Batuta",
            "version": batuta.__version__,
            "description": "A durable workflow engine that speaks Conductor's REST API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name} for name in dict.fromkeys(route.group for route in routes)],
        "paths": paths,
        "components": {"schemas": components},
    }


def reference_page(routes: Sequence[Route]) -> str:
    """Return docs/reference/http-api.md: the route table for people."""
    lines = [
        "# HTTP API",
        "",
        "Conductor's REST API, as far as this version serves it, and what is ours: the pages,",
        "`/api-docs` and `/api/batuta`. A running server describes each type at `/docs`. Errors",
        "have Conductor's body: `status`, `message`, `retryable`, `code`, and `validationErrors`",
        "where fields are wrong. This page is written from the route table by",
        "`.venv/bin/python tests/api/test_reference.py`, and a test compares them.",
    ]
    for group in dict.fromkeys(route.group for route in routes):
        lines += ["", f"## {group.capitalize()}", "", "| call | what it does | query | status |"]
        lines += ["|---|---|---|---|"]
        lines += [_line(route) for route in routes if route.group == group]
    return "\n".join(lines) + "\n"


def _line(route: Route) -> str:
    query = ", ".join(f"`{parameter.name}`" for parameter in route.query)
    status = ", ".join(str(code) for code in _codes(route))
    return f"| `{route.method} {route.path}` | {route.summary} | {query} | {status} |"


def _codes(route: Route) -> list[int]:
    # 400: what no route accepts, such as a NUL in the URL.
    return sorted({route.status, 400, *route.also})


def _types(routes: Sequence[Route]) -> list[Any]:
    found = {
        _key(kind): kind
        for route in routes
        for kind in (route.request, route.answer)
        if kind is not None and kind not in _PAGES
    }
    return list(found.values())


def _key(kind: Any) -> str:
    return f"{kind.__module__}.{kind!r}" if isinstance(kind, type) else repr(kind)


def _schema_hook(kind: type) -> dict[str, Any]:
    if kind is msgspec.Raw:
        return {"type": "object"}
    raise NotImplementedError(f"no schema for {kind!r}")


def _operation(route: Route, by_type: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.group],
        "parameters": [
            *(_variable(name) for name in _VARIABLE.findall(route.path)),
            *(_parameter(parameter) for parameter in route.query),
        ],
        "responses": {str(code): _response(route, code, by_type) for code in _codes(route)},
    }
    if route.request is not None:
        media, schema = _content(route.request, by_type)
        operation["requestBody"] = {
            "required": True,
            "content": {"text/plain" if route.request is bytes else media: {"schema": schema}},
        }
    return operation


def _operation_id(route: Route) -> str:
    return re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_")


def _links(route: Route, routes: Sequence[Route]) -> dict[str, Any]:
    """Return what can be called with the ids and names that a call gives, by operation."""
    line = f"{route.method} {route.path}"
    named = _NAMED.get(line, {})
    links: dict[str, Any] = {}
    for other in routes:
        wanted = _VARIABLE.findall(other.path)
        given = {name: named[name] for name in wanted if name in named}
        if "name" in given and "workflow" not in other.path:
            continue  # the name of something else
        if given and not set(wanted) - set(given) - _FREE:
            target = _operation_id(other)
            links[target] = {"operationId": target, "parameters": given}
        elif named is _OF_TASK and (other.method, other.path) == ("POST", "/api/tasks"):
            target = _operation_id(other)
            links[target] = {"operationId": target, "requestBody": _REPORT}
    return links


def _variable(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _KINDS[parameter.kind]}
    if parameter.default is not None:
        schema["default"] = parameter.default
    described = {"description": parameter.note} if parameter.note else {}
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "schema": schema,
        **described,
    }


def _response(route: Route, code: int, by_type: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _STATUS[code]}
    if code >= 400:
        response["content"] = {"application/json": {"schema": by_type[_key(ErrorBody)]}}
    elif code == route.status and route.answer is not None:
        media, schema = _content(route.answer, by_type)
        response["content"] = {media: {"schema": schema}}
    return response


def _content(kind: Any, by_type: dict[str, Any]) -> tuple[str, Any]:
    return _PAGES.get(kind) or ("application/json", by_type[_key(kind)])
