"""A small weather service to call, so that the example needs no network.

    python -m examples.weather.service --port 8099

GET /readings/REGION gives readings; with the header X-Outages: 2 it answers 503 to the first two
calls of an X-Caller. POST /reports keeps a report, once for each Idempotency-Key. GET /reports
lists them. Nothing is kept when it ends.
"""

import argparse
import contextlib
import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8099
BODY_BYTES_MAX = 1_000_000
REGIONS = {
    "coast": [("lighthouse", 11.5), ("harbour", 13.0), ("dunes", 12.5), ("harbour", 13.5)],
    "hills": [("mill", 9.0), ("quarry", 7.5)],
}


class Service(ThreadingHTTPServer):
    """What the service remembers, behind one lock."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.reports: dict[str, dict[str, Any]] = {}

    def readings(self, region: str, caller: str, outages: int) -> tuple[int, Any]:
        """Give the readings of a region, or 503 while the caller's outages last."""
        with self.lock:
            self.calls[caller] += 1
            if self.calls[caller] <= outages:
                return 503, {"error": f"call {self.calls[caller]}: the service is being mended"}
        if region not in REGIONS:
            return 404, {"error": f"there is no region {region!r}; there are {sorted(REGIONS)}"}
        rows = [{"station": station, "celsius": celsius} for station, celsius in REGIONS[region]]
        return 200, {"region": region, "readings": rows}

    def keep(self, key: str, report: dict[str, Any]) -> tuple[int, Any]:
        """Keep a report, unless it is there."""
        with self.lock:
            kept = self.reports.setdefault(key, {"report": len(self.reports) + 1, **report})
            return 201, kept


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Service

    def do_GET(self) -> None:
        """Answer readings and reports."""
        if self.path == "/reports":
            self._answer(200, list(self.server.reports.values()))
        elif self.path.startswith("/readings/"):
            caller, outages = self.headers.get("X-Caller", ""), self.headers.get("X-Outages", "0")
            region = self.path.removeprefix("/readings/")
            self._answer(*self.server.readings(region, caller, int(outages)))
        else:
            self._answer(404, {"error": f"there is no {self.path}"})

    def do_POST(self) -> None:
        """Take a report."""
        length = int(self.headers.get("Content-Length", "0"))
        if self.path != "/reports" or length > BODY_BYTES_MAX:
            self._answer(404, {"error": f"there is no {self.path}"})
            return
        report = json.loads(self.rfile.read(length))
        self._answer(*self.server.keep(self.headers.get("Idempotency-Key", ""), report))

    def log_message(self, *_: object) -> None:
        """Say nothing: the run says what was called."""

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until Ctrl-C, or until the program that started it has ended."""
    parser = argparse.ArgumentParser(description="a weather service on this machine")
    parser.add_argument("--port", type=int, default=PORT, help="0 takes a free one")
    parser.add_argument("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    service = Service(options.port)
    if options.until_stdin_ends:
        threading.Thread(target=_stop_with_stdin, args=(service,), daemon=True).start()
    print(f"the weather service is at http://127.0.0.1:{service.server_port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        service.serve_forever()


def _stop_with_stdin(service: Service) -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock Python wants when Ctrl-C ends it
        pass
    service.shutdown()


if __name__ == "__main__":
    main()
