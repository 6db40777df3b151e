"""The door of firmware pipelines: GitHub's webhook. Its errors are plain text. Source: S2.4."""

from typing import Any

from msgspec.structs import replace

from batuta.api.dispatch.mount import Mount
from batuta.api.request import HttpError, Reply, Request, Route, json_reply, read_body, text_reply
from batuta.dialects.base import Dialect, Host
from batuta.dialects.firmware.push import Push, is_signed, read_push, run_id
from batuta.model.error import BatutaError, BusyError, NotFoundError
from batuta.model.payload import Payload
from batuta.runtime.view import StartRequest

NAME = "firmware"
PIPELINE, VERSION = "firmware-ci-cd-pipeline", 1
ENVIRONMENT = "esp32-s3-devkitc-1"  # of PlatformIO, for which a push is built
DELIVERY_CHARACTERS_MAX = 200  # GitHub's are 36
RETRY_S = 30  # after which somebody who repeats by himself should

_OK = text_reply("OK")
_REFUSED = replace(text_reply("Invalid signature"), status=401)


async def open_firmware(host: Host) -> Dialect:
    """Return the dialect."""
    front = _Front(host)
    rows = (
        ("/webhook/github/push", "Take a push from GitHub and start the firmware pipeline"),
        ("/api/webhook/{id}", "The same; the id is yours to choose"),
    )
    routes = tuple(
        Route(method="POST", path=path, handler=front.push, summary=summary, group=NAME)
        for path, summary in rows
    )
    return Dialect(mount=Mount(name=NAME, routes=routes, render=_render))


class _Front:
    """The handler."""

    def __init__(self, host: Host) -> None:
        self._engine = host.engine
        self._secret = host.github_secret
        self._branches = frozenset(host.github_branches)

    async def push(self, request: Request) -> Reply:
        """POST /webhook/github/push: one run for each delivery of a push to a branch of ours.

        Nothing is read of a body that is not signed. GitHub repeats nothing by itself; an answer
        of 5xx is what its page of deliveries shows, with a button to send it again.
        """
        if not self._secret:
            raise HttpError(
                503, "NO_SECRET", "no webhook is taken before GITHUB_WEBHOOK_SECRET is set"
            )
        body = await read_body(request)
        headers: dict[bytes, bytes] = dict(request.scope["headers"])
        if not is_signed(self._secret, body, headers.get(b"x-hub-signature-256", b"")):
            return _REFUSED
        if headers.get(b"x-github-event", b"push") != b"push":
            return _OK
        found = read_push(body, headers.get(b"content-type", b""), self._branches)
        if found is None:
            return _OK
        delivery = headers.get(b"x-github-delivery", b"").decode("latin-1")
        return json_reply({"workflowId": await self._start(found, delivery)})

    async def _start(self, push: Push, delivery: str) -> str:
        delivery = delivery[:DELIVERY_CHARACTERS_MAX]
        given: dict[str, Any] = {
            "repo": push.repo,
            "branch": push.branch,
            "commit_sha": push.commit_sha,
            "environment": ENVIRONMENT,
        }
        request = StartRequest(
            name=PIPELINE,
            version=VERSION,
            input=Payload.of(given),
            correlation_id=delivery or None,
            dialect=NAME,
            workflow_id=run_id(delivery) if delivery else "",
        )
        try:
            return await self._engine.start(request, actor=NAME)
        except (NotFoundError, BusyError) as error:
            retry = (b"retry-after", str(RETRY_S).encode())
            raise HttpError(503, error.code, error.message, (retry,)) from error


def _render(status: int, error: BatutaError) -> Reply:
    """Word an error as text, which GitHub shows beside the delivery."""
    headers = error.headers if isinstance(error, HttpError) else ()
    return replace(text_reply(error.message), status=status, headers=headers)
