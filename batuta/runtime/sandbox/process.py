"""The server's end of one child: start it, ask it, end it."""

import asyncio
import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import cast

import msgspec

from batuta.runtime.sandbox import (
    ANSWER,
    FAILED,
    READY,
    REQUEST,
    RESULT_BYTES_MAX,
)

START_MS_MAX = 10_000  # measured: 45 ms idle; a machine under load takes its time

# The child's imports come from where ours do, and from nowhere else: no site, no environment.
_PROGRAM = (
    "import sys; sys.path += sys.argv[2:]; "
    "from batuta.runtime.sandbox.child import main; main(int(sys.argv[1]))"
)
_PACKAGE_FOLDER = str(Path(__file__).parents[3])


class Answer(msgspec.Struct, frozen=True):
    """One frame of a child: its kind, its body, and the CPU ms of the child's life so far."""

    kind: int
    body: bytes
    cpu_ms: int


class ChildGoneError(Exception):
    """The child ended, or sent what no child of ours sends; it must not be asked again."""


class Child(asyncio.SubprocessProtocol):
    """A process that runs scripts, one at a time. ``start_child`` makes one."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.report: dict[str, bool] = {}
        self.served = 0
        self.cpu_ms = 0
        self._received = bytearray()
        self._awaited: asyncio.Future[Answer] | None = None
        self.is_gone = False  # it ended, or is being ended
        self._exited: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._transport is not None, "a child that was started has a transport"
        return self._transport.get_pid()

    async def run(
        self, language: int, source: bytes, argument: bytes, script_ms_max: int
    ) -> Answer:
        """Have a script run; cancel this to stop waiting, and then call ``end``.

        Raises:
            ChildGoneError: There will be no answer.
        """
        assert self._transport is not None, "a child that was started has a transport"
        pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        header = REQUEST.pack(language, len(source), len(argument), script_ms_max)
        pipe.write(header + source + argument)
        answer = await self.next_answer()
        if answer.kind == READY:
            raise ChildGoneError("its answer is not one of ours")
        self.served += 1
        self.cpu_ms = answer.cpu_ms
        return answer

    async def next_answer(self) -> Answer:
        """Wait for a whole frame.

        Raises:
            ChildGoneError: There will be none.
        """
        assert self._awaited is None, "a child is asked one thing at a time"
        self._awaited = asyncio.get_running_loop().create_future()
        self._take_frame()
        try:
            return await self._awaited
        finally:
            self._awaited = None

    async def end(self) -> None:
        """Kill the process and wait until nothing of it is left."""
        transport = self._transport
        if transport is None:
            return
        self._kill()
        await asyncio.shield(self._exited)
        transport.close()
        await asyncio.shield(self._closed)

    # -- asyncio's calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # Cast rather than checked: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Collect a frame; a child that speaks unasked, or goes on, was broken into: end it.

        Otherwise it could fill our memory, or answer the next script before that has run.
        """
        assert fd == 1, "only stdout is a pipe to us"
        is_asked = self._awaited is not None and not self._awaited.done()
        self._received += data
        self._take_frame()
        is_answered = self._awaited is None or self._awaited.done()
        if not is_asked or (is_answered and self._received):
            self._received.clear()
            self._kill()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell whoever waits that no answer will come."""
        self._lose()

    def process_exited(self) -> None:
        """Note the end; what is still in the pipe is of no interest."""
        self._lose()
        if not self._exited.done():
            self._exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that pipes and process are closed."""
        if not self._closed.done():
            self._closed.set_result(None)

    def _kill(self) -> None:
        self.is_gone = True
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    def _take_frame(self) -> None:
        awaited = self._awaited
        if awaited is None or awaited.done():
            return
        if len(self._received) >= ANSWER.size:
            kind, body_bytes, cpu_ms = ANSWER.unpack_from(self._received)
            if not READY <= kind <= FAILED or body_bytes > RESULT_BYTES_MAX:
                awaited.set_exception(ChildGoneError("its answer is not one of ours"))
                return
            end = ANSWER.size + body_bytes
            if len(self._received) >= end:
                body = bytes(self._received[ANSWER.size : end])
                del self._received[:end]
                awaited.set_result(Answer(kind, body, cpu_ms))
                return
        if self.is_gone:
            awaited.set_exception(ChildGoneError("it ended without an answer"))

    def _lose(self) -> None:
        self.is_gone = True
        self._take_frame()


async def start_child(cpu_s_max: int) -> Child:
    """Start a confined child and wait until it is ready, START_MS_MAX at most.

    Raises:
        ChildGoneError: It did not become ready.
        OSError: The system has no process for us.
    """
    loop = asyncio.get_running_loop()
    # A session of its own: Ctrl-C at the server's terminal is the server's to handle.
    _, child = await loop.subprocess_exec(
        Child,
        *(sys.executable, "-I", "-S", "-c", _PROGRAM, str(cpu_s_max), *_import_folders()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
        close_fds=True,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(START_MS_MAX / 1_000):
            ready = await child.next_answer()
        child.report = msgspec.json.decode(ready.body, type=dict[str, bool])
    except TimeoutError:
        await child.end()
        raise ChildGoneError(f"it was not ready within {START_MS_MAX} ms") from None
    except BaseException:
        await child.end()
        raise
    return child


def _import_folders() -> list[str]:
    """Return where the child finds this package and the interpreters."""
    specs = (importlib.util.find_spec(name) for name in ("_quickjs", "jq"))
    found = (Path(spec.origin).parent for spec in specs if spec is not None and spec.origin)
    return [_PACKAGE_FOLDER, *dict.fromkeys(map(str, found))]
