"""The application under the real HTTP server, over real sockets."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvloop

from batuta.api import create_app, protocol
from batuta.api.protocol import OneWriteProtocol
from batuta.runtime.engine import Engine
from tests.api.conftest import Settings, open_engine, report, simple, workflow

DATA_SEGMENTS_IN = 152  # where Linux's struct tcp_info has tcpi_data_segs_in
TURN_S = 0.005
BEGUN = b"POST /api/workflow HTTP/1.1\r\nhost: local"
TURNS_MAX = 1_000

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


def run(case: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop, as the server does; asyncio's transports write at other times."""
    uvloop.run(case)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Engine, int]]:
    """Serve a real engine as batuta/app.py does; give it and its port."""
    async with open_engine() as engine:
        config = uvicorn.Config(
            create_app(engine, Settings()),
            port=0,
            http=OneWriteProtocol,
            loop="none",
            lifespan="off",
            access_log=False,
            server_header=False,
            date_header=False,
            log_level="warning",
        )
        server = uvicorn.Server(config)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server._serve([sock]))
        await until(lambda: server.started)
        await engine.definitions.put_workflow_defs([workflow(simple("a"))], overwrite=True)
        try:
            yield engine, sock.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def until(condition: Callable[[], bool]) -> None:
    """Let real time pass, in small turns, until the condition holds."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await asyncio.sleep(TURN_S)
    raise AssertionError("it never came to be")


def send(writer: Writer, line: str, body: bytes = b"", *extra: str) -> None:
    lines = [f"{line} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *extra]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)


async def receive(reader: Reader) -> tuple[int, bytes]:
    """Read one answer: its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    return int(head.split(" ")[1]), await reader.readexactly(int(length or 0))


def segments(writer: Writer) -> int:
    """Count the TCP segments with data that this side has received."""
    info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    count: int = struct.unpack_from("=I", info, DATA_SEGMENTS_IN)[0]
    return count


def test_headers_and_body_leave_in_one_segment() -> None:
    """clients.md 1.4: written in two, every call of undici stalled for 40 ms."""

    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            lines = ["POST /api/workflow/w", "GET /api/tasks/poll/batch/a", "GET /health"] * 10
            before = segments(writer)
            for line in lines:
                send(writer, line, b"{}" if line.startswith("POST") else b"")
                assert (await receive(reader))[0] == 200
            assert segments(writer) - before == len(lines)
            writer.close()

    run(case())


def test_a_poller_that_closes_its_connection_is_passed_over() -> None:
    async def case() -> None:
        async with serving() as (engine, port):
            queue = engine.committer.queues.get("a")
            _, gone = await asyncio.open_connection("127.0.0.1", port)
            send(gone, "GET /api/tasks/poll/batch/a?timeout=5000")
            await until(lambda: len(queue.waiters) == 1)

            gone.close()

            await until(lambda: not any(waiter.is_open() for waiter in queue.waiters))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            send(writer, "POST /api/workflow/w", b"{}")
            assert (await receive(reader))[0] == 200
            send(writer, "GET /api/tasks/poll/a")
            task = json.loads((await receive(reader))[1])
            assert task["pollCount"] == 1
            writer.close()

    run(case())


def test_a_worker_goes_round_on_one_connection() -> None:
    """clients.md 1.5: the minimum of a worker, keep-alive, with a chunked body as undici sends."""

    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                send(writer, "POST /api/workflow/w", b'{"n":1}')
                workflow_id = (await receive(reader))[1].decode()
                send(writer, "GET /api/tasks/poll/batch/a?count=1&timeout=100&workerid=me")
                (task,) = json.loads((await receive(reader))[1])
                body = json.dumps(report(task)).encode()
                chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
                head = "POST /api/tasks/update-v2 HTTP/1.1\r\nhost: localhost\r\n"
                writer.write((head + "transfer-encoding: chunked\r\n\r\n").encode() + chunk)
                assert (await receive(reader))[0] == 204
                send(writer, f"GET /api/workflow/{workflow_id}/status")
                assert json.loads((await receive(reader))[1])["status"] == "COMPLETED"
            writer.close()

    run(case())


def test_an_answer_has_the_same_bytes_whether_it_goes_by_messages_or_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = "/api/metadata/taskdefs"
    lines = [f"GET {path}", "GET /api/tasks/poll/a", "GET /nothing", f"HEAD {path}"]
    lines += ["GET /api/tasks/poll/batch/a?timeout=0", "DELETE /api/tasks"]

    async def answers(*extra: str) -> list[bytes]:
        found = []
        async with serving() as (_, port):
            for line in lines:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                send(writer, line, b"", *extra)
                whole = reader.read() if extra else reader.readuntil(b"\r\n\r\n")
                found.append(await whole)
                writer.close()
        return found

    async def case() -> None:
        at_once = [await answers(), await answers("connection: close")]
        monkeypatch.setattr(OneWriteProtocol, "_answer", lambda *_: False)
        assert [await answers(), await answers("connection: close")] == at_once
        lengths = [b"content-length" in head for head in at_once[0]]
        assert lengths == [True, False, True, True, True, True], "204 has none"

    run(case())


def test_requests_sent_ahead_are_answered_in_order() -> None:
    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for line in ("GET /health", "GET /nothing", "GET /api/tasks/poll/a", "GET /health"):
                send(writer, line)
            assert [(await receive(reader))[0] for _ in range(4)] == [200, 404, 204, 200]
            writer.close()

    run(case())


def test_the_last_answer_is_whole_before_its_connection_closes() -> None:
    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            send(writer, "GET /api-docs", b"", "connection: close")
            status, body = await receive(reader)
            assert (status, json.loads(body)["openapi"]) == (200, "3.1.0")
            assert await reader.read() == b""
            writer.close()

    run(case())


def test_an_answer_to_a_refused_body_leaves_the_connection_usable() -> None:
    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for body, status in ((b"{oops", 400), (b"x" * 1_200_000, 413), (b"{}", 200)):
                send(writer, "POST /api/workflow/w", body)
                assert (await receive(reader))[0] == status
            writer.close()

    run(case())


def test_a_gigabyte_that_is_only_declared_is_refused_at_once() -> None:
    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = (
                "POST /api/workflow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n"
            )
            writer.write(f"{head}\r\n".encode())
            status, body = await receive(reader)
            assert (status, json.loads(body)["code"]) == (413, "TOO_LARGE")
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{head}expect: 100-continue\r\n\r\n".encode())
            assert (await receive(reader))[0] == 413, "without being asked for the body"
            writer.close()

    run(case())


def test_a_body_that_comes_byte_by_byte_is_read_whole() -> None:
    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            send(writer, "POST /api/workflow/w", b"")
            assert (await receive(reader))[0] == 200
            head = "POST /api/workflow/w HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\n"
            for byte in head.encode() + b'{"n":1}':
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert (await receive(reader))[0] == 200
            writer.close()

    run(case())


@pytest.mark.parametrize(("begun", "is_used"), [(b"", False), (BEGUN, False), (BEGUN, True)])
def test_a_client_that_does_not_end_its_request_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, *, is_used: bool
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WAIT_S", 0.05)

    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if is_used:
                send(writer, "GET /health")
                assert (await receive(reader))[0] == 200
            writer.write(begun)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()

    run(case())


def test_a_head_without_end_is_refused() -> None:
    async def case() -> None:
        async with serving() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\n")
            answer = b""
            try:
                async with asyncio.timeout(10):
                    while not reader.at_eof() and not writer.is_closing():
                        writer.write(b"x-more: " + b"y" * 8_000 + b"\r\n")
                        await writer.drain()
                    answer = await reader.read()
            except ConnectionError:
                pass  # the kernel may drop the answer with what we still sent
            assert answer.startswith(b"HTTP/1.1 400") or not answer
            send_to, other = await asyncio.open_connection("127.0.0.1", port)
            send(other, "GET /health")
            assert (await receive(send_to))[0] == 200
            writer.close()
            other.close()

    run(case())
