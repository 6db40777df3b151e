"""apiCall nodes: an HTTP request whose failure is data, never the node's. Source: S1.3."""

import asyncio
import json
import urllib.parse
from typing import Any

import msgspec

from batuta.dialects.dag.mock import PREFIX, mock_answer
from batuta.dialects.dag.text import filled, rendered
from batuta.model.error import InvalidError
from batuta.workers.system.target import Targets

EXPECTED = (200, 201, 202, 204)
TIMEOUT_MS = 10_000
TIMEOUT_MS_MAX = 600_000  # of one call; longer work belongs into a worker of its own
# Where the bundled workflows call, whatever port this server has.
_ORIGINAL = ("http://localhost:3000", "http://127.0.0.1:3000")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whom nodes may call.

    ``api``: what stands in for localhost:3000, as http://host:port; "" leaves it, and the bundled
    mock service is then answered here.
    """

    targets: Targets
    api: str = ""

    async def call(self, config: dict[str, Any], payload: Any) -> dict[str, Any]:
        """Make the request of a node; return what its payload becomes.

        ``status`` is 0 where there was no answer; ``success`` says whether it was expected.
        """
        try:
            request = _request(config, payload)
        except InvalidError as fault:
            return _failed(fault.message)
        url, method = str(request["uri"]), str(request["method"])
        original = next((one for one in _ORIGINAL if url.startswith(f"{one}/")), None)
        if original is not None:
            path = url.removeprefix(original)
            if not self.api and path.startswith(PREFIX):
                status, body = mock_answer(method, path, request.get("body"))
                return _answered(config, status, "", body, {"content-type": "application/json"})
            request["uri"] = f"{self.api or original}{path}"
        return await self._over_http(config, request)

    async def _over_http(self, config: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
        # It takes aiohttp, 0.4 s and 14 MB, which a server without such nodes need not pay.
        from batuta.workers.system.answer import describe  # noqa: PLC0415
        from batuta.workers.system.connection import CallError, call  # noqa: PLC0415
        from batuta.workers.system.request import read_request  # noqa: PLC0415

        limit_ms = _timeout_ms(config)
        given = {**request, "connectionTimeOut": limit_ms, "readTimeOut": limit_ms}
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                answer = await call(read_request({"http_request": given}), self.targets)
        except TimeoutError:
            return _failed("Request timeout")
        except (CallError, InvalidError) as error:
            return _failed(str(error))
        told = describe(answer)
        headers = {key.lower(): ", ".join(found) for key, found in told["headers"].items()}
        return _answered(config, answer.status, told["reasonPhrase"], told["body"], headers)


def _request(config: dict[str, Any], payload: Any) -> dict[str, Any]:
    """Return the request of a node with its templates filled, as an HTTP task has it."""
    method = str(config.get("method") or "GET").upper()
    headers = {
        rendered(str(one.get("key")), payload): rendered(str(one.get("value") or ""), payload)
        for one in config.get("headers") or ()
        if isinstance(one, dict) and one.get("key") and one.get("enabled", True)
    }
    request: dict[str, Any] = {"uri": _url(config, payload), "method": method, "headers": headers}
    template = config.get("bodyTemplate")
    if method in {"GET", "HEAD"}:
        return request
    if isinstance(template, str) and template.strip():
        written = next((v for k, v in headers.items() if k.lower() == "content-type"), "json")
        # In JSON a value stands inside quotes: one of its own must not end them.
        shown = _in_json if "json" in written.lower() else str
        request["body"] = rendered(template, payload, shown)
    elif config.get("body"):
        request["body"] = filled(config["body"], payload)
    return request


def _url(config: dict[str, Any], payload: Any) -> str:
    template = config.get("url")
    if not isinstance(template, str) or not template.strip():
        raise InvalidError("the node has no url; say what to call")
    path, mark, query = template.strip().partition("?")
    url = rendered(path, payload) + mark + rendered(query, payload, _in_query)
    pairs = [
        (str(one["key"]), rendered(str(one.get("value") or ""), payload))
        for one in config.get("queryParams") or ()
        if isinstance(one, dict) and one.get("key") and one.get("enabled", True)
    ]
    if pairs:
        url += ("&" if mark else "?") + urllib.parse.urlencode(pairs)
    return url


def _in_query(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _timeout_ms(config: dict[str, Any]) -> float:
    given = config.get("timeoutMs")
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return min(max(given, 1), TIMEOUT_MS_MAX) if is_number and given else TIMEOUT_MS


def _answered(
    config: dict[str, Any], status: int, phrase: str, body: Any, headers: dict[str, str]
) -> dict[str, Any]:
    expected = config.get("expectedStatusCodes") or EXPECTED
    found = {
        "status": status,
        "statusText": phrase or ("OK" if status == EXPECTED[0] else ""),
        "data": body,
        "headers": headers,
        "success": status in expected,
    }
    return found if found["success"] else {**found, "error": f"HTTP {status} {phrase}".strip()}


def _failed(why: str) -> dict[str, Any]:
    return {
        "status": 0,
        "statusText": "",
        "data": None,
        "headers": {},
        "success": False,
        "error": why,
    }
