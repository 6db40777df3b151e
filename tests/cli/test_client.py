"""What the command line says of addresses that are no server of ours."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from batuta.cli.client import Client
from batuta.cli.exit import ExitCode, UnreachableError, code_of
from batuta.model.error import BatutaError, InvalidError, NotFoundError

ANSWERS = {
    "/api/page": (404, "text/html", b"<html>\n<b>no such page</b>"),
    "/api/proxy": (502, "text/html; charset=utf-8", b"<html>Bad Gateway</html>"),
    "/api/text": (404, "text/plain", b"nothing\x1b[31m here\r\nat all"),
    "/api/long": (500, "text/plain", b"x" * 100_000),
    "/api/empty": (404, "", b""),
    "/api/moved": (301, "text/html", b"<html>moved</html>"),
    "/api/list": (400, "application/json", b'["not an object"]'),
}


class Stranger(BaseHTTPRequestHandler):
    """A program that speaks HTTP and is no server of ours."""

    def do_GET(self) -> None:
        status, kind, body = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        client = Client(f"http://127.0.0.1:{stranger.server_port}")
        yield client
        client.close()
        stranger.shutdown()


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/page", ExitCode.INVALID, "is no such server, it answers GET /page with 404"),
        ("/moved", ExitCode.INVALID, "is no such server, it answers GET /moved with 301"),
        ("/proxy", ExitCode.UNREACHABLE, "what stands before it says 502"),
        ("/text", ExitCode.NOT_FOUND, "nothing [31m here at all"),
        ("/empty", ExitCode.NOT_FOUND, "the server answered 404 to GET /empty"),
        ("/long", ExitCode.UNEXPECTED, "xxx"),
        ("/list", ExitCode.INVALID, "not an object"),
    ],
)
def test_an_answer_that_is_none_of_ours_is_one_line(
    client: Client, path: str, code: ExitCode, words: str
) -> None:
    with pytest.raises(BatutaError) as caught:
        client.get(path)

    message = caught.value.message
    assert code_of(caught.value) is code, message
    assert words in message
    assert "\n" not in message
    assert "\x1b" not in message
    assert "<" not in message
    assert len(message) < 3_000


def test_a_page_for_people_is_never_taken_for_what_is_absent(client: Client) -> None:
    with pytest.raises(InvalidError) as caught:
        client.get("/page")

    assert not isinstance(caught.value, NotFoundError)


@pytest.mark.parametrize("server", ["127.0.0.1:1", "127.0.0.1:1/api/", " http://127.0.0.1:1 "])
def test_an_address_may_lack_what_goes_without_saying(server: str) -> None:
    client = Client(server)

    assert client.base == "http://127.0.0.1:1/api"
    with pytest.raises(UnreachableError):
        client.get("/health")


@pytest.mark.parametrize("server", ["ftp://a", "http://a:port", "http://[::1", "http://"])
def test_what_is_no_address_is_named(server: str) -> None:
    with pytest.raises(InvalidError, match="server"):
        Client(server)
