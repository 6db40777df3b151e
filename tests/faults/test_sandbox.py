"""Hostile scripts: each is ended in time, harms nobody else, and finds nothing to take."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop

from batuta.model.change import Failure
from batuta.model.error import ClosingError
from batuta.model.payload import Payload
from batuta.runtime.sandbox import (
    ANSWER,
    JAVASCRIPT,
    READY,
    RESULT_BYTES_MAX,
    SOURCE_BYTES_MAX,
    VALUE,
    time_message,
)
from batuta.runtime.sandbox.pool import Sandbox
from batuta.runtime.sandbox.process import ChildGoneError, start_child

SCRIPT_MS_MAX = 400
LATE_MS_MAX = 300  # after the deadline, on a busy machine
UNREACHED_MS = 600_000  # a deadline that no test waits for
# Natives of QuickJS that never look at its time limit: only a kill ends them.
ENDLESS = "new Array(4e9).toString()"

HOSTILE = {
    "an endless loop": "while (true);",
    "an endless loop that catches": "for (;;) { try { while (true); } catch (e) {} }",
    "an endless generator": "function* g() { while (true) yield 1; } [...g()]",
    "an endless getter": "({ get toJSON() { while (true); } })",
    "an endless toString of an error": "throw { toString() { while (true); } }",
    "an endless proxy": "JSON.stringify(new Proxy({}, { ownKeys() { while (true); } }))",
    "a catastrophic regex": "/(a+)+$/.test('a'.repeat(50) + 'b')",
    "a catastrophic regex in replace": "'x'.repeat(5e4).replace(/(x+x+)+y/g, '')",
    "a huge array as text": ENDLESS,
    "a huge join": "new Array(3e8).join()",
    "a search in a huge string": "'a'.repeat(5e6).indexOf('a'.repeat(25e5) + 'b')",
    "a sort of much": "Array.from({length: 3e6}, Math.random).sort()",
    "an array bomb": "var a = []; for (;;) a.push(new Array(1000).fill(a.length))",
    "a string bomb": "var s = 'x'; for (;;) s += s + a; var a = 'y'",
    "a buffer bomb": "var b = []; for (;;) b.push(new ArrayBuffer(1e6))",
    "a spread bomb": "var a = [1]; for (;;) a = [...a, ...a]",
    "a map bomb": "var m = new Map(); for (var i = 0; ; i++) m.set(i, {})",
    "deep recursion": "function f() { return f() + 1 } f()",
    "deep recursion by getters": "var o = { get x() { return this.x } }; o.x",
    "deep recursion in a regex": "new RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('a')",
    "deep JSON": "JSON.parse('['.repeat(1e6) + ']'.repeat(1e6))",
    "a million nested arrays": "var a = []; for (var i = 0; i < 1e6; i++) a = [a]; a",
    "deep source": "(" * 100_000 + "1" + ")" * 100_000,
    "a huge source": "1;" * SOURCE_BYTES_MAX,
    "a huge result": "'x'.repeat(5e7)",
    "many results": "new Array(5e6).fill(1)",
    "a module": "import('os')",
    "a module of files": "import('/etc/passwd')",
    "an import statement": "import * as std from 'std'; std.open('/etc/passwd', 'r')",
    "std": "std.loadFile('/etc/passwd')",
    "os": "os.exec(['true'])",
    "require": "require('child_process').execSync('id')",
    "Java": "Java.type('java.lang.Runtime').getRuntime().exec('id')",
    "Polyglot": "Polyglot.eval('python', 'import os')",
    "a constructor's constructor": "this.constructor.constructor('return process')().exit()",
    "a native's constructor": "$.x.constructor.constructor('return process.env')()",
    "an error's frames": "Error.prepareStackTrace = (e, f) => f; new Error().stack[0].getThis().os",
    "a Python object": "$.__class__.__mro__[1].__subclasses__()",
    "a socket": "new WebSocket('ws://127.0.0.1')",
    "a fetch": "fetch('http://169.254.169.254/')",
    "a worker": "new Worker('x')",
    "a wait": "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
    "a load": "load('/etc/passwd')",
    "a prototype trap": "Object.defineProperty(Object.prototype, 'then', {get() {null.x}}).then",
    "broken natives": "Array.prototype[Symbol.iterator] = null; Set.prototype.has = null; [...[1]]",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)
    yield sandbox
    await sandbox.stop()


@pytest_asyncio.fixture
async def patient() -> AsyncIterator[Sandbox]:
    """A sandbox that ends no script within a test."""
    sandbox = Sandbox(script_ms_max=UNREACHED_MS)
    yield sandbox
    await sandbox.stop()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # processes and lines have no event of theirs to give


async def works(sandbox: Sandbox) -> bool:
    return await sandbox.evaluate("$.x + 1", b'{"x":1}') == Payload(b"2")


def is_alive(pid: int) -> bool:
    # It may end between the opening of its file and the reading.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# -- one hostile script ---------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_script_fails_in_time_and_the_next_one_works(
    shared: Sandbox, source: str
) -> None:
    assert await works(shared)

    async with asyncio.timeout((SCRIPT_MS_MAX + LATE_MS_MAX) / 1_000):
        answer = await shared.evaluate(source, b'{"x":{}}')

    assert isinstance(answer, Failure), answer
    assert answer.message
    assert await works(shared)


async def test_a_native_that_ignores_the_time_limit_is_killed_and_counted() -> None:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)

    answer = await sandbox.evaluate(ENDLESS, b"{}")

    assert answer == Failure(time_message(SCRIPT_MS_MAX), is_late=True)
    assert await works(sandbox)
    report = sandbox.report()
    assert (report["evaluations"], report["failures"]) == (2, 1)
    assert (report["kills"], report["respawns"]) == (1, 1)
    await sandbox.stop()


async def test_the_loop_goes_on_while_hostile_scripts_run() -> None:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    seen = []
    for source in (ENDLESS, HOSTILE["an array bomb"], HOSTILE["a catastrophic regex"]):
        before = passes
        await sandbox.evaluate(source, b"{}")
        seen.append(passes - before)

    assert min(seen) > 100, "a script that blocked the loop would leave a handful of passes"
    counting.cancel()
    await sandbox.stop()


# -- others meanwhile -----------------------------------------------------------------------------


async def test_a_second_child_takes_over_while_the_first_is_stuck(patient: Sandbox) -> None:
    stuck = asyncio.create_task(patient.evaluate(ENDLESS, b"{}"))
    others = [works(patient) for _ in range(50)]

    assert all(await asyncio.gather(*others))

    assert not stuck.done()
    assert len(patient.report()["children"]) == 2
    stuck.cancel()


async def test_many_of_one_hostile_script_hold_up_only_each_other(patient: Sandbox) -> None:
    hostile = [asyncio.create_task(patient.evaluate(ENDLESS, b"{}")) for _ in range(20)]
    await until(lambda: patient.report()["waiting"] == 19)

    assert await works(patient)

    assert not any(task.done() for task in hostile)
    for task in hostile:
        task.cancel()


async def test_a_script_that_was_slow_waits_apart_until_it_is_quick_again() -> None:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)
    sometimes = "if ($.bad) { while (true); } 'quick'"
    await sandbox.evaluate(sometimes, b'{"bad":true}')

    slow = asyncio.create_task(sandbox.evaluate(sometimes, b'{"bad":true}'))

    assert all(await asyncio.gather(*(works(sandbox) for _ in range(20))))
    assert not slow.done(), "the first child was free for others all the time"
    assert isinstance(await slow, Failure)
    assert sandbox.report()["slowSources"] == 1
    assert await sandbox.evaluate(sometimes, b"{}") == Payload(b'"quick"')
    assert sandbox.report()["slowSources"] == 0
    await sandbox.stop()


async def test_with_one_child_a_stuck_script_delays_others_until_its_deadline_only() -> None:
    sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX, children_max=1)

    answers = await asyncio.gather(sandbox.evaluate(ENDLESS, b"{}"), works(sandbox))

    assert answers == [Failure(time_message(SCRIPT_MS_MAX), is_late=True), True]
    await sandbox.stop()


# -- children that die ----------------------------------------------------------------------------


async def test_a_script_whose_child_dies_is_run_once_more_and_then_fails(patient: Sandbox) -> None:
    answer = asyncio.create_task(patient.evaluate(ENDLESS, b"{}"))

    for attempt in (1, 2):
        await until(lambda attempt=attempt: patient.report()["starts"] == attempt)
        os.kill(patient.report()["children"][0], signal.SIGKILL)

    assert await answer == Failure("the script ended the process that ran it")
    assert await works(patient)
    assert patient.report()["deaths"] == 2


async def test_a_script_outlives_the_death_of_a_child_that_was_not_its_fault(
    patient: Sandbox,
) -> None:
    assert await works(patient)
    os.kill(patient.report()["children"][0], signal.SIGKILL)

    assert await works(patient)

    report = patient.report()
    assert (report["deaths"], report["respawns"]) == (1, 1)


async def test_a_caller_who_has_gone_leaves_nothing_behind(patient: Sandbox) -> None:
    stuck = asyncio.create_task(patient.evaluate(ENDLESS, b"{}"))
    waiting = [asyncio.create_task(patient.evaluate(ENDLESS, b"{}")) for _ in range(5)]
    await until(lambda: patient.report()["waiting"] == 5)
    for task in (stuck, *waiting):
        task.cancel()
    await asyncio.wait((stuck, *waiting))

    assert await works(patient)
    await until(lambda: patient.report()["waiting"] == 0)


@pytest.mark.parametrize(
    "frames",
    [
        ANSWER.pack(VALUE, RESULT_BYTES_MAX + 1, 0),
        ANSWER.pack(9, 1, 0) + b"1",
        ANSWER.pack(READY, 2, 0) + b"{}",
    ],
    ids=["too long", "of no kind", "of another time"],
)
async def test_an_answer_that_is_not_one_of_ours_is_no_answer(frames: bytes) -> None:
    child = await start_child(10)
    answer = asyncio.create_task(child.run(JAVASCRIPT, ENDLESS.encode(), b"{}", UNREACHED_MS))
    await asyncio.sleep(0)

    child.pipe_data_received(1, frames)

    with pytest.raises(ChildGoneError):
        await answer
    await child.end()


@pytest.mark.parametrize("is_asked", [False, True])
async def test_a_child_that_speaks_unasked_is_ended(is_asked: bool) -> None:  # noqa: FBT001
    child = await start_child(10)
    answer = (
        asyncio.create_task(child.run(JAVASCRIPT, b"1", b"{}", UNREACHED_MS)) if is_asked else None
    )
    await asyncio.sleep(0)
    ours = ANSWER.pack(VALUE, 1, 0) + b"1"

    child.pipe_data_received(1, ours * 2 if is_asked else ours)

    assert child.is_gone
    assert answer is None or (await answer).body == b"1"
    await until(lambda: not is_alive(child.pid))
    await child.end()


async def test_stopping_ends_the_children_and_answers_everybody() -> None:
    sandbox = Sandbox(script_ms_max=UNREACHED_MS)
    stuck = [asyncio.create_task(sandbox.evaluate(ENDLESS, b"{}")) for _ in range(4)]
    await until(lambda: len(sandbox.report()["children"]) == 2)
    pids = sandbox.report()["children"]

    await sandbox.stop()

    errors = await asyncio.gather(*stuck, return_exceptions=True)
    assert [type(error) for error in errors] == [ClosingError] * 4
    assert not any(is_alive(pid) for pid in pids)
    with pytest.raises(ClosingError):
        await sandbox.evaluate("1", b"{}")


def test_uvloop_runs_it_too() -> None:
    async def use() -> None:
        sandbox = Sandbox(script_ms_max=SCRIPT_MS_MAX)
        assert await works(sandbox)
        assert isinstance(await sandbox.evaluate(ENDLESS, b"{}"), Failure)
        assert await works(sandbox)
        await sandbox.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())


# -- what a script that breaks out would find -----------------------------------------------------

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the measures are Linux's")

# Python in place of the script that broke out: it has the child's rights.
BREAK_OUT = """
import ctypes, mmap, os, socket, sys
from batuta.runtime.sandbox.confine import confine
report = confine(60)
def attempt(act):
    try:
        act()
    except (OSError, MemoryError):
        return "refused"
    return "possible"
server = os.getppid()
attempts = {
    "a socket": attempt(socket.socket),
    "a file to read": attempt(lambda: os.open("/etc/passwd", os.O_RDONLY)),
    "a file to write": attempt(lambda: os.open("/tmp/x", os.O_WRONLY | os.O_CREAT)),
    "a process": attempt(os.fork),
    "a program": attempt(lambda: os.execv("/bin/true", ["true"])),
    "a signal to the server": attempt(lambda: os.kill(server, 0)),
    "a folder": attempt(lambda: os.listdir("/")),
    "a pipe": attempt(os.pipe),
    "code in memory": attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_WRITE)),
    "a gigabyte": attempt(lambda: bytearray(1 << 30)),
    "to be root": attempt(lambda: os.setuid(0)),
}
print({"report": report, "attempts": attempts})
"""


@linux_only
def test_who_breaks_out_can_open_start_and_reach_nothing() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", BREAK_OUT], capture_output=True, text=True, check=True
    ).stdout

    if "'seccomp': True" not in printed:
        pytest.skip(f"this kernel has no seccomp for us: {printed}")
    assert printed.count("refused") == 11, printed
    assert "possible" not in printed


async def test_the_child_reports_its_measures(patient: Sandbox) -> None:
    assert await works(patient)

    measures = patient.report()["measures"]

    assert measures["emptyEnvironment"]
    assert measures["rlimitOpenFiles"]
    assert measures["rlimitFileSize"]
    if sys.platform == "linux":
        assert measures.keys() >= {"seccomp", "noNewPrivileges", "networkNamespace"}
        assert measures["noNewPrivileges"]


@linux_only
async def test_a_child_has_no_environment_no_files_and_its_own_folder(patient: Sandbox) -> None:
    assert await works(patient)
    process = Path(f"/proc/{patient.report()['children'][0]}")

    try:
        environment = (process / "environ").read_bytes()
        files = sorted(path.name for path in (process / "fd").iterdir())
    except PermissionError:
        pytest.skip("only root may look into a child")

    assert environment == b""
    assert files == ["0", "1", "2"]
    assert (process / "cwd").readlink() == Path("/")


@linux_only
async def test_a_child_ends_with_a_server_that_was_killed() -> None:
    program = (
        "import asyncio\n"
        "from batuta.runtime.sandbox.pool import Sandbox\n"
        "async def main():\n"
        "    sandbox = Sandbox()\n"
        "    await sandbox.evaluate('1', b'{}')\n"
        "    print(sandbox.report()['children'][0], flush=True)\n"
        f"    await sandbox.evaluate({ENDLESS!r}, b'{{}}')\n"
        "asyncio.run(main())\n"
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    child = int(await server.stdout.readline())
    assert is_alive(child)

    server.kill()
    await server.wait()

    await until(lambda: not is_alive(child))
