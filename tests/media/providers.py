"""A server that behaves as OpenAI's and fal's APIs, a content service, and a shop of files."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from batuta.workers.media.provider import fake

OPENAI_KEY = "sk-proj-hunter2hunter2"
FAL_KEY = "0c9f-hunter2:1f2e3d-hunter2"
PICTURE = fake._png(b"p" * 32, 64, 36)
SOUND = fake._wav(b"s" * 32, 0.5)
FILM = fake._SAMPLE
LIMIT_BYTES = 100_000_000


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: Any = None
    fields: dict[str, Any] = {}


class Providers:
    """What was asked, oldest first, and what is answered next instead of the usual."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Said] = []
        self.next: dict[str, list[web.Response]] = {}
        self.silent: set[str] = set()
        self.waits = 2  # questions until a queued request is done
        self.queued: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        self.text = "A robot cooks an egg. It is proud."
        self.picture: Mapping[str, Any] = {"b64_json": base64.b64encode(PICTURE).decode()}
        self.results: dict[str, Any] = {}
        self.output: Any = {"output": {"imageUrl": "https://service.example/a.png"}}

    def instead(self, line: str, *answers: web.Response) -> None:
        """Answer the next requests of a line with these."""
        self.next.setdefault(line, []).extend(answers)

    def lines(self, part: str = "") -> list[str]:
        """Return the request lines that have a part."""
        return [said.line for said in self.seen if part in said.line]

    def said(self, part: str) -> Said:
        """Return the only request whose line has a part."""
        [found] = [said for said in self.seen if part in said.line]
        return found

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as the real ones do, and keep what was asked."""
        line = f"{request.method} {request.path}"
        self.seen.append(await _said(request, line))
        if line in self.silent:
            await asyncio.Event().wait()
        if self.next.get(line):
            return self.next[line].pop(0)
        if request.path.startswith("/v1/"):
            return self._openai(request)
        if request.path.startswith("/queue/"):
            return self._queue(request)
        if request.path.startswith("/run/"):
            return web.json_response(self._result(request.path.removeprefix("/run/")))
        if request.path.startswith("/content/"):
            return web.json_response(self.output)
        return _file(request)

    def _openai(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {OPENAI_KEY}":
            message = f"Incorrect API key provided: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": message}}, status=401)
        match request.path:
            case "/v1/chat/completions":
                message = {"role": "assistant", "content": self.text}
                return web.json_response({"choices": [{"index": 0, "message": message}]})
            case "/v1/images/generations" | "/v1/images/edits":
                return web.json_response({"created": 1, "data": [dict(self.picture)]})
            case "/v1/audio/speech":
                return web.Response(body=SOUND, content_type="audio/mpeg")
        return web.json_response({"error": {"message": "no such path"}}, status=404)

    def _queue(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Key {FAL_KEY}":
            return web.json_response({"detail": "Cannot access application"}, status=401)
        path = request.path.removeprefix("/queue/")
        if request.method == "POST":
            request_id = f"request-{len(self.queued)}"
            self.queued[request_id] = path
            own = f"{self.url}/queue/{'/'.join(path.split('/')[:2])}/requests/{request_id}"
            return web.json_response(
                {
                    "status": "IN_QUEUE",
                    "request_id": request_id,
                    "status_url": f"{own}/status",
                    "response_url": own,
                    "queue_position": 0,
                }
            )
        parts = path.split("/")
        request_id = parts[3]
        if parts[-1] == "status":
            asked = self.asked[request_id] = self.asked.get(request_id, 0) + 1
            status = "COMPLETED" if asked > self.waits else ("IN_QUEUE", "IN_PROGRESS")[asked % 2]
            return web.json_response(
                {"status": status, "request_id": request_id},
                status=200 if status == "COMPLETED" else 202,
            )
        return web.json_response(self._result(self.queued[request_id]))

    def _result(self, model: str) -> Any:
        if model in self.results:
            return self.results[model]
        if "audio" in model or "tts" in model:
            return {"audio": {"url": f"{self.url}/files-of-others/a.wav"}, "seed": 1}
        if "ltxv" in model:
            return {"video": {"url": f"{self.url}/files-of-others/a.mp4"}}
        return {"images": [{"url": f"{self.url}/files-of-others/a.png", "width": 64}]}


def refusal(status: int, **headers: str) -> web.Response:
    """Make an answer that refuses; headers by their names, with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"error": {"message": "not now"}}, status=status, headers=named)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Providers]:
    """Serve on a free port of this machine."""
    providers = Providers()
    app = web.Application(client_max_size=LIMIT_BYTES)
    app.router.add_route("*", "/{rest:.*}", providers.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    providers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield providers
    finally:
        await runner.cleanup()


async def _said(request: web.Request, line: str) -> Said:
    fields: dict[str, Any] = {}
    body: Any = None
    if request.content_type.startswith("multipart/"):
        for name, value in (await request.post()).items():
            fields[name] = value.file.read() if isinstance(value, web.FileField) else value
    elif raw := await request.read():
        body = json.loads(raw)
    return Said(line=line, headers=dict(request.headers), body=body, fields=fields)


def _file(request: web.Request) -> web.Response:
    name = request.path.rpartition("/")[2]
    bodies = {
        "a.png": (PICTURE, "image/png"),
        "a.wav": (SOUND, "audio/wav"),
        "a.mp4": (FILM, "video/mp4"),
        "bare": (PICTURE, "application/octet-stream"),
        "page.html": (b"<html>", "text/html"),
        "list.m3u8": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "video/mp4"),
        "concat.mp4": (b"ffconcat version 1.0\nfile in0\n", "video/mp4"),
        "noise.mp4": (b"\0" * 5_000, "video/mp4"),
        "big.png": (b"\0" * 3_000_000, "image/png"),
    }
    if name == "metadata":
        where = "http://169.254.169.254/latest/meta-data/"
        return web.Response(status=302, headers={"Location": where})
    if name not in bodies:
        return web.Response(status=404, text="no such file")
    raw, media_type = bodies[name]
    return web.Response(body=raw, content_type=media_type)
