"""A device that pretends, over HTTP and espota; what it is told can be changed while it runs.

    python -m examples.firmware_ci.suite.simulator --http-port 8180 --ota-port 3232

GET /api/device/info and /api/device/performance, POST /api/pattern/activate {pattern}: as the
documents say, or with --form field as firmware in the field does. GET /simulator says how it is,
POST /simulator changes it: {"is_offline": true}, {"free_heap": 40000}, {"fps": 25},
{"wrong_sha": true}, {"form": "field"}. GET /audio/clicks.wav?bpm=120 is something to analyse.
Firmware that arrives over the air is checked, started, and forgotten when the simulator ends.
"""

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from examples.firmware_ci.suite.firmware.pio import MARK
from examples.firmware_ci.suite.over_air.espota import AUTH, response_to
from examples.firmware_ci.suite.sound.make import clicks

BODY_BYTES_MAX = 10_000
PIECE_BYTES = 4_096
CONNECT_S = 5.0
SIGNATURE_BYTES_MAX = 100
FORMS = ("documented", "field")


class Device:
    """What the device is and runs, behind one lock."""

    def __init__(self, *, password: str = "", form: str = FORMS[0]) -> None:
        self.lock = threading.Lock()
        self.password = password
        self.firmware = b""
        self.signature = "factory"
        self.boots = 1
        self.started_s = time.monotonic()
        self.pattern = "none"
        self.patterns_shown: list[str] = []
        self.switches: dict[str, Any] = {
            "is_offline": False,
            "wrong_sha": False,
            "lose_uploads": 0,
            "free_heap": 150_000,
            "fps": 60.0,
            "form": form,
        }

    def start(self, firmware: bytes) -> None:
        """Take firmware and start it."""
        begin = firmware.find(MARK)
        end = firmware.find(b"\0", begin)
        with self.lock:
            self.firmware = firmware
            if begin < 0 or end < 0 or end - begin > SIGNATURE_BYTES_MAX:
                self.signature = f"unknown-{hashlib.sha256(firmware).hexdigest()[:12]}"
            else:
                self.signature = firmware[begin + len(MARK) : end].decode("latin-1")
            self.boots += 1
            self.started_s = time.monotonic()

    def info(self) -> dict[str, Any]:
        """Say who it is."""
        signature = "k1-another-0000000" if self.switches["wrong_sha"] else self.signature
        uptime_s = time.monotonic() - self.started_s
        if self.switches["form"] == "field":
            return {
                "device": "K1.node1",
                "uptime_ms": int(uptime_s * 1_000),
                "ip": "127.0.0.1",
                "build": {"signature": signature, "chip": "esp32-s3"},
            }
        return {
            "build_signature": signature,
            "platform": "esp32-s3",
            "framework_version": "arduino",
            "free_heap": self.switches["free_heap"],
            "uptime_seconds": int(uptime_s),
            "ip_address": "127.0.0.1",
        }

    def performance(self) -> dict[str, Any]:
        """Say how it is doing: fewer frames take longer each."""
        fps, heap = float(self.switches["fps"]), int(self.switches["free_heap"])
        render_ms = 480.0 / max(fps, 1.0)
        if self.switches["form"] == "field":
            return {
                "fps": fps,
                "frame_time_us": 1e6 / max(fps, 1.0),
                "render_avg_us": render_ms * 1_000,
                "cpu_percent": 40,
                "memory_free_kb": heap // 1_024,
            }
        return {
            "fps": fps,
            "avg_render_time_ms": round(render_ms, 3),
            "max_render_time_ms": round(render_ms * 15 / 8, 3),
            "audio_latency_ms": 20.0,
            "free_heap": heap,
        }

    def state(self) -> dict[str, Any]:
        """Say how the simulator is."""
        return {
            **self.switches,
            "signature": self.signature,
            "sha256": hashlib.sha256(self.firmware).hexdigest(),
            "boots": self.boots,
            "patterns_shown": self.patterns_shown,
        }


class Server(ThreadingHTTPServer):
    """The device's HTTP."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, device: Device) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.device = device


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer what it is, and how it is doing."""
        device, parts = self.server.device, urlsplit(self.path)
        if parts.path == "/simulator":
            self._answer(200, device.state())
        elif parts.path == "/audio/clicks.wav":
            bpm = float(parse_qs(parts.query).get("bpm", ["120"])[0])
            self._send(200, clicks(bpm), "audio/wav")
        elif device.switches["is_offline"]:
            self.close_connection = True  # as a device that has no power: not a word
        elif parts.path == "/api/device/info":
            self._answer(200, device.info())
        elif parts.path == "/api/device/performance":
            self._answer(200, device.performance())
        else:
            self._answer(404, {"error": f"there is no {parts.path}"})

    def do_POST(self) -> None:
        """Show a pattern, or be changed."""
        device = self.server.device
        length = min(int(self.headers.get("Content-Length", "0")), BODY_BYTES_MAX)
        given = json.loads(self.rfile.read(length) or b"{}")
        if self.path == "/simulator":
            with device.lock:
                known = {key: value for key, value in given.items() if key in device.switches}
                device.switches.update(known)
            self._answer(200, device.state())
        elif device.switches["is_offline"]:
            self.close_connection = True
        elif self.path == self._pattern_path():
            device.pattern = str(given.get("pattern") or given.get("id"))
            device.patterns_shown.append(device.pattern)
            self._answer(200, {"pattern": device.pattern})
        else:
            self._answer(404, {"error": f"there is no {self.path}"})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pattern_path(self) -> str:
        is_field = self.server.device.switches["form"] == "field"
        return "/api/select" if is_field else "/api/pattern/activate"

    def _answer(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Ota:
    """The device's end of espota."""

    def __init__(self, port: int, device: Device) -> None:
        self.device = device
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", port))
        self.port = self.udp.getsockname()[1]

    def run(self) -> None:
        """Take one upload after the other, until the socket is closed."""
        nonces: dict[Any, tuple[str, str]] = {}
        while True:
            try:
                packet, sender = self.udp.recvfrom(1_024)
            except OSError:
                return
            if self.device.switches["is_offline"]:
                continue
            text = packet.decode("latin-1").strip()
            if text.startswith(f"{AUTH} ") and sender in nonces:
                invitation, nonce = nonces.pop(sender)
                _, cnonce, response = [*text.split(" "), "", ""][:3]
                if response != response_to(nonce, cnonce, self.device.password):
                    self.udp.sendto(b"Authentication Failed", sender)
                    continue
            elif self.device.password:
                nonces[sender] = (text, secrets.token_hex(16))
                self.udp.sendto(f"AUTH {nonces[sender][1]}".encode(), sender)
                continue
            else:
                invitation = text
            self.udp.sendto(b"OK", sender)
            with contextlib.suppress(OSError, ValueError):
                self._fetch(invitation, sender[0])

    def _fetch(self, invitation: str, host: str) -> None:
        _, port, size, md5 = invitation.split(" ")
        firmware = bytearray()
        with socket.create_connection((host, int(port)), CONNECT_S) as connection:
            while len(firmware) < int(size):
                if self._is_lost(len(firmware), int(size)):
                    return
                piece = connection.recv(min(PIECE_BYTES, int(size) - len(firmware)))
                if not piece:
                    return
                firmware += piece
                connection.sendall(str(len(piece)).encode())
            if hashlib.md5(firmware, usedforsecurity=False).hexdigest() != md5:
                connection.sendall(b"ERROR[2]: MD5 check failed")
                return
            self.device.start(bytes(firmware))
            connection.sendall(b"OK")

    def _is_lost(self, received: int, size: int) -> bool:
        switches = self.device.switches
        if received * 2 < size or not switches["lose_uploads"]:
            return False
        switches["lose_uploads"] -= 1
        return True


def main() -> None:
    """Serve until Ctrl-C, or until the program that started it has ended."""
    parser = argparse.ArgumentParser(description="a device on this machine")
    parser.add_argument("--http-port", type=int, default=8180, help="0 takes a free one")
    parser.add_argument("--ota-port", type=int, default=3232, help="0 takes a free one")
    parser.add_argument("--count", type=int, default=1, help="of devices, at ports in a row")
    parser.add_argument("--password", default="", help="that uploads need")
    parser.add_argument("--form", choices=FORMS, default=FORMS[0], help="of its answers")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--wrong-sha", action="store_true")
    parser.add_argument("--heap", type=int, default=150_000, metavar="BYTES")
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    servers = [_begin(options, number) for number in range(options.count)]
    if options.until_stdin_ends:
        threading.Thread(target=_stop_with_stdin, args=(servers[0],), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        servers[0].serve_forever()


def _begin(options: argparse.Namespace, number: int) -> Server:
    """Start a device; the first one's HTTP is for the caller to serve."""
    device = Device(password=options.password, form=options.form)
    device.switches.update(
        is_offline=options.offline,
        wrong_sha=options.wrong_sha,
        free_heap=options.heap,
        fps=options.fps,
    )
    ports = [one + number if one else 0 for one in (options.http_port, options.ota_port)]
    server, ota = Server(ports[0], device), Ota(ports[1], device)
    threading.Thread(target=ota.run, daemon=True).start()
    if number:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"the device is at 127.0.0.1:{server.server_port}:{ota.port}", flush=True)
    return server


def _stop_with_stdin(server: Server) -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock Python wants when Ctrl-C ends it
        pass
    server.shutdown()


if __name__ == "__main__":
    main()
