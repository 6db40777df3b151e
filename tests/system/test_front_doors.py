"""Further ports of a real server, and what is mounted beside the API there."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.server import Server, eventually


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Send a request and return status, document and headers; a body makes it a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None, dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), dict(error.headers)


@pytest.mark.slow
def test_a_front_door_has_a_port_of_its_own_and_workers_inside(tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(
        "import batuta\n@batuta.function('double')\ndef double(given):\n"
        "    return {'n': given['n'] * 2}\n",
        "utf-8",
    )
    alias, other = free_port(), free_port()
    server = Server(tmp_path)
    flags = ("--listen", f"{alias}=steps", "--listen", f"{other}=flow")
    server.start(*flags, "--workers", str(tmp_path / "doubling.py"))
    door, home = f"http://127.0.0.1:{alias}", server.api_url.removesuffix("/api")
    try:
        definition = {"name": "d", "startAt": "a", "steps": {"a": {"functionName": "double"}}}
        assert ask(f"{door}/workflows/definitions", definition)[0] == 201
        status, instance, _ = ask(f"{home}/workflows/d/trigger", {"payload": {"n": 21}})
        assert status == 202
        where = f"{door}/workflows/instances/{instance['instanceId']}"

        def look() -> Any:
            found = ask(where)[1]
            return found if found["status"] == "COMPLETED" else None

        assert eventually(look, "the instance completes")["currentPayload"] == {"n": 42}
        assert ask(f"{door}/api/health")[0] == 200
        assert ask(f"http://127.0.0.1:{other}/workflow/history")[:2] == (200, [])
        assert ask(f"http://127.0.0.1:{other}/workflows/definitions")[0] == 404
        own = ask(where, Origin="http://localhost:5173")
        assert own[2]["access-control-allow-origin"] == "http://localhost:5173"
        assert ask(where, Origin="https://evil.example")[0] == 403
    finally:
        server.stop()
