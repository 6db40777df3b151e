"""Takes the messages about the ends of flows, and believes only those whose signature is right.

The signature is that of Standard Webhooks; in earnest one of its libraries does what
`is_genuine` does here. Start it with the secret of the server, and post flows with
`"callbackUrl": "http://127.0.0.1:9000/"`.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import time
from collections.abc import Mapping

AGE_S_MAX = 300  # an older message may have been kept and sent again by somebody else
BODY_BYTES_MAX = 2_000_000


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float) -> bool:
    """Say whether a message comes from who has the secret, and is not an old one."""
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(now_s - int(sent)) > AGE_S_MAX:
        return False
    key = secret.encode()
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{name}.{sent}.".encode() + body, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(digest).decode()}"
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(one, expected) for one in given)


class _Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 204 to what is genuine, 401 to anything else; each id is told once."""

    secret = ""
    seen: set[str] = set()  # noqa: RUF012  of this process; in earnest: a table

    def do_POST(self) -> None:
        """Take one message."""
        size = min(int(self.headers.get("content-length") or 0), BODY_BYTES_MAX)
        body = self.rfile.read(size)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_genuine(self.secret, headers, body, now_s=time.time()):
            self._answer(401)
            return
        message_id = headers["webhook-id"]
        if message_id not in self.seen:  # it may come twice
            self.seen.add(message_id)
            message = json.loads(body)
            print(message["type"], message["data"]["workflowName"], flush=True)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def main() -> None:
    """Serve until somebody ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    _Receiver.secret = os.environ["BATUTA_FLOW_CALLBACK_SECRET"]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), _Receiver)
    print(f"listening at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
