"""Answers that are sent whole: headers and body leave in one piece.

Under our own HTTP protocol most of them go past ASGI's two messages: each is checked there
against what a header may hold, copied and joined, which costs more than the rest of a report.
"""

from batuta.api.dispatch.stream import NOSNIFF, stream
from batuta.api.request import Message, Receive, Reply, Send

# In a scope's state, where the server can: Callable[[Send, int, bytes, bytes], bool]. It sends
# the answer of the request that a `send` belongs to: its status, its header lines, its body;
# False: not now, send it by messages.
AT_ONCE = "batuta.at_once"

_NOSNIFF_LINE = b"%b: %b\r\n" % NOSNIFF
# The header lines of the media types of nearly all answers. What a client may have a say in,
# the type of an uploaded file, is not here: it is checked on the other way.
_LINES: dict[bytes | None, bytes] = {
    None: b"content-length: %d\r\n",
    **{
        media: b"content-length: %d\r\ncontent-type: " + media + b"\r\n" + _NOSNIFF_LINE
        for media in (b"application/json", b"text/plain")
    },
}


def send_at_once(scope: Message, send: Send, reply: Reply) -> bool:
    """Send a plain answer past ASGI's messages; False when it has to be sent by them."""
    at_once = scope.get("state", {}).get(AT_ONCE)
    lines = _LINES.get(reply.media)
    if at_once is None or lines is None or reply.headers or reply.chunks is not None:
        return False
    # 204 has neither body nor length.
    head = lines % len(reply.body) if reply.status != 204 else b""
    is_sent: bool = at_once(send, reply.status, head, reply.body)
    return is_sent


async def send_by_messages(receive: Receive, send: Send, reply: Reply) -> None:
    """Send an answer by ASGI's messages: its body as one of them, or piece by piece."""
    if reply.chunks is not None:
        await stream(receive, send, reply)
        return
    headers: list[tuple[bytes, bytes]] = []
    if reply.status != 204:  # which has neither body nor length
        headers.append((b"content-length", str(len(reply.body)).encode()))
    if reply.media is not None:
        headers.append((b"content-type", reply.media))
        headers.append(NOSNIFF)
    headers.extend(reply.headers)
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})
