"""The few calls that the command line makes to a server. Standard library: it has to start fast."""

import http.client
import json
import urllib.parse
from typing import Any

from batuta.cli.exit import UnreachableError
from batuta.model.error import (
    BatutaError,
    ConflictError,
    DeniedError,
    Fault,
    InvalidError,
    NotFoundError,
    StoreError,
)
from batuta.workers.address import api_base

MESSAGE_BYTES_MAX = 2_000  # of an error that is no JSON; more fits on no screen
ANSWER_S = 30.0  # a start is answered when it is on disk, on a busy disk too

_PROXY = frozenset({502, 503, 504})  # there is a server, and it cannot be reached now

_ERRORS: dict[int, type[BatutaError]] = {
    401: DeniedError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
}


class Client:
    """One connection to a server, opened again when it was closed between two calls."""

    def __init__(self, server: str, *, answer_s: float = ANSWER_S) -> None:
        self.base = api_base(server)
        try:
            address = urllib.parse.urlsplit(self.base)
            port = address.port
        except ValueError as error:  # a port or an address in brackets that is none
            raise InvalidError(f"server {server!r} is no address: {error}") from None
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InvalidError(f"server {server!r} is no http:// or https:// address")
        kind = (
            http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(address.hostname, port, timeout=answer_s)
        self._prefix = address.path

    def get(self, path: str) -> Any:
        """Read something. Raises the error that the answer says, or UnreachableError."""
        return self._call("GET", path, None)

    def get_beside(self, path: str) -> Any:
        """Read something that stands beside the API, as a front door's."""
        return self._call("GET", path, None, prefix=self._prefix.removesuffix("/api"))

    def post(self, path: str, body: Any) -> Any:
        """Ask for something to be done, once."""
        return self._call("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Store something; done twice it is the same."""
        return self._call("PUT", path, body)

    def delete(self, path: str) -> Any:
        """End or remove something."""
        return self._call("DELETE", path, None)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, path: str, body: Any, *, prefix: str | None = None) -> Any:
        prefix = self._prefix if prefix is None else prefix
        encoded = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "*/*"} | ({"Content-Type": "application/json"} if encoded else {})
        try:
            self._connection.request(method, prefix + path, encoded, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            cause = str(error) or type(error).__name__
            raise UnreachableError(
                f"no server answers at {self.base} ({cause}); start one with `batuta serve`, "
                "or name another with --server"
            ) from error
        kind = answer.headers.get("Content-Type", "")
        is_json = kind.startswith("application/json")
        if answer.status >= 300:
            if content and kind.startswith("text/html"):
                raise self._foreign(answer.status, f"{method} {path}")
            raise _error(answer.status, content, f"{method} {path}")
        if content and not is_json and method == "GET":
            raise self._strange(f"{path} gives {kind or 'no JSON'}")
        if not is_json:
            return content.decode("utf-8", "replace")
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise self._strange(f"{path} gives JSON that cannot be read: {error}") from error

    def _foreign(self, status: int, call: str) -> BatutaError:
        """Word a page for people: of a proxy that reaches no server, or of something else."""
        if status in _PROXY:
            return UnreachableError(
                f"no server answers at {self.base}: what stands before it says {status}"
            )
        return self._strange(f"it answers {call} with {status} and a page for people")

    def _strange(self, what: str) -> InvalidError:
        return InvalidError(f"what answers at {self.base} is no such server, {what}")


def quoted(segment: str) -> str:
    """Make one path segment of any text."""
    return urllib.parse.quote(segment, safe="")


def _error(status: int, content: bytes, call: str) -> BatutaError:
    text = content[:MESSAGE_BYTES_MAX].decode("utf-8", "replace")
    message = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    faults: list[Any] = []
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        message = str(body.get("message") or message)
        faults = body.get("validationErrors") or []
    details = "; ".join(f"{fault.get('path')}: {fault.get('message')}" for fault in faults)
    if details and details not in message:
        message = f"{message} {details}"
    message = message or f"the server answered {status} to {call}"
    kind = _ERRORS.get(status, InvalidError if status < 500 else StoreError)
    if kind is InvalidError:
        return InvalidError(
            message, [Fault(str(one.get("path")), str(one.get("message"))) for one in faults]
        )
    return kind(message)
