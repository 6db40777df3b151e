"""Posts records to a URL, signed, so that any program can listen.

A request's body is a JSON list of ``{"id", "key", "event"}``. ``X-Batuta-Signature`` is
``t=<unix seconds>,v1=<hex>``: HMAC-SHA256 with the secret over ``<unix seconds>.<body>``. Any
answer of 2xx takes the records; everything else gets them again.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from batuta import __version__
from batuta.sinks.base import Record, SinkError, envelope

if TYPE_CHECKING:
    import aiohttp

SIGNATURE = "X-Batuta-Signature"
ANSWER_S = 15.0  # for one request; less than the relay gives a delivery
RECORDS_MAX = 100  # of one request
_TAKEN = range(200, 300)


def sign(body: bytes, secret: str, at_s: int) -> str:
    """Return the signature of a body that is sent at a time, Unix seconds."""
    told = b"%d.%b" % (at_s, body)
    digest = hmac.new(secret.encode(), told, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class WebhookSink:
    """Posts records, RECORDS_MAX at a time, one request after the other."""

    name = "webhook"

    def __init__(self, url: str, secret: str, *, now_ms: Callable[[], int]) -> None:
        self._url = url
        self._secret = secret
        self._now_ms = now_ms
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make ready; nothing is asked of the other side."""
        import aiohttp  # takes 0.4 s and 14 MB, which a server without this sink need not pay

        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))

    async def deliver(self, records: Sequence[Record]) -> None:
        """Post the records.

        Raises:
            SinkError: An answer was not 2xx.
        """
        for first in range(0, len(records), RECORDS_MAX):
            some = records[first : first + RECORDS_MAX]
            await self._post(b"[" + b",".join(envelope(record) for record in some) + b"]")

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, body: bytes) -> None:
        assert self._session is not None, "a sink is opened before it is given records"
        headers = {"Content-Type": "application/json", "User-Agent": f"batuta/{__version__}"}
        if self._secret:
            headers[SIGNATURE] = sign(body, self._secret, self._now_ms() // 1_000)
        request = self._session.post(self._url, data=body, headers=headers, allow_redirects=False)
        async with request as answer:
            if answer.status not in _TAKEN:
                raise SinkError(f"the webhook answers {answer.status}; it must answer 2xx")
