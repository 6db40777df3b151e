"""The official JavaScript SDK, unmodified, against a live server: its tests, and a rough world.

The tests of its clients and workers are Node's own, in tests/sdk/javascript. Here they are run,
the wire and the server are broken under its workers, and what it asked for is compared with its
list of calls. Without node, or before `make js`, all of it is skipped, saying so.
"""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sdk import howto
from tests.sdk.calls.contract import NO_CONTRACT, calls_of, pattern
from tests.sdk.calls.page import claimed
from tests.sdk.node import FOLDER, Answered, Program, needs_node, storm
from tests.sdk.proxy import Exchange, Fate, Proxy, first_answer_is_lost
from tests.sdk.server import Server, eventually

pytestmark = needs_node
SUITES = sorted(path.name for path in FOLDER.glob("*.test.mjs"))
UPDATE_V2 = "/api/tasks/update-v2"
STEPS = 6
RUNS = 4
RUNS_UNDER_FIRE = 8
KILLS = 2
PAUSE_MS = 30  # of a task, so that a server is killed in the midst of the work

Spawn = Callable[..., Program]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Give what starts a program; it is ended after the test."""
    programs: list[Program] = []

    def start(api_url: str, *command: str, **more: str) -> Program:
        programs.append(Program(list(command), api_url, tmp_path, **more))
        return programs[-1]

    yield start
    for program in programs:
        program.end()


class Suites:
    """Node's own tests, each file run once; which requests were answered."""

    def __init__(self, server: Server, home: Path) -> None:
        self._server = server
        self._home = home
        self._run: dict[str, Program] = {}

    def run(self, name: str) -> Program:
        """Run a file, unless it was run before, and give the program that has ended."""
        if name not in self._run:
            home = self._home / name
            home.mkdir()
            self._run[name] = Program(["--test", name], self._server.api_url, home)
            self._run[name].wait()
        return self._run[name]

    def answered(self) -> list[Answered]:
        return [request for name in SUITES for request in self.run(name).answered]


@pytest.fixture(scope="module")
def suites(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Suites:
    return Suites(server, tmp_path_factory.mktemp("javascript"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_a_suite_of_node_passes(suites: Suites, name: str) -> None:
    program = suites.run(name)

    assert program.process.returncode == 0, program.said[-8000:]
    assert "# pass 0" not in program.said


@pytest.mark.slow
def test_every_call_on_the_page_was_made_and_answered(suites: Suites) -> None:
    requests = suites.answered()
    shown = claimed("javascript")
    known = {call.key: call for call in calls_of("javascript")}
    if not known:
        pytest.skip(NO_CONTRACT)

    assert shown <= set(known), "the page names calls that the SDK does not have"
    for call in (known[key] for key in sorted(shown)):
        path = pattern(call.path)
        theirs = [r for r in requests if r.method == call.method and path.fullmatch(r.path)]
        assert any(request.status < 300 for request in theirs), f"nobody asked for {call}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fate", "at_most", "lease_s"),
    [
        # The next task was in an answer that nobody read, and comes back when its lease is over.
        (Fate.RESET, RUNS * STEPS, 1),
        (Fate.TWICE, RUNS * STEPS, 1),
        # The SDK waits 10 s before it repeats a report of whose answer it has read a part.
        (Fate.CUT, 3, 1),
        # It waits 1 s when it has read nothing, so a lease has to be longer.
        (Fate.LOSE, RUNS * STEPS, 5),
        (Fate.DELAY, RUNS * STEPS, 5),
    ],
)
def test_reports_meet_their_fate_and_count_once(
    proxy: Proxy, spawn: Spawn, fate: Fate, at_most: int, lease_s: int
) -> None:
    proxy.plan = _reports_meet(fate, at_most)

    program = spawn(proxy.api_url, "storm.mjs", **storm(runs=RUNS, leaseSeconds=lease_s))

    _check(program, RUNS)
    assert len(proxy.suffered(fate, UPDATE_V2)) == at_most


@pytest.mark.slow
def test_when_the_first_answer_to_each_request_is_lost_nothing_else_is(
    proxy: Proxy, spawn: Spawn
) -> None:
    """The SDK sends a start again whose answer it has not read, so there may be more runs."""
    proxy.plan = first_answer_is_lost

    program = spawn(proxy.api_url, "storm.mjs", **storm(runs=2, leaseSeconds=1))

    _check(program, 2)
    assert len({exchange.body for exchange in proxy.suffered(Fate.DROP, UPDATE_V2)}) >= 2 * STEPS


@pytest.mark.slow
def test_workers_of_a_server_without_update_v2_report_plainly(proxy: Proxy, spawn: Spawn) -> None:
    proxy.plan = lambda asked: Fate.UNKNOWN if asked.path == UPDATE_V2 else Fate.PASS

    program = spawn(proxy.api_url, "storm.mjs", **storm(runs=RUNS, leaseSeconds=10))

    _check(program, RUNS)
    reports = [e for e in proxy.suffered(Fate.PASS, "/api/tasks") if e.path == "/api/tasks"]
    assert [report.status for report in reports] == [200] * RUNS * STEPS
    assert len(proxy.suffered(Fate.UNKNOWN, UPDATE_V2)) < len(reports), "they stop asking"


@pytest.mark.slow
def test_polls_whose_tasks_are_lost_cost_one_lease(proxy: Proxy, spawn: Spawn) -> None:
    lost: set[str] = set()

    def plan(exchange: Exchange) -> Fate:
        has_tasks = exchange.is_poll and exchange.answer not in (b"", b"[]")
        if has_tasks and exchange.path not in lost:
            lost.add(exchange.path)
            return Fate.DROP
        return Fate.PASS

    proxy.plan = plan

    program = spawn(proxy.api_url, "storm.mjs", **storm(runs=RUNS, leaseSeconds=1))

    runs = _check(program, RUNS)
    statuses = Counter(task["status"] for run in runs for task in run["tasks"])
    assert len(lost) == 3
    assert statuses["TIMED_OUT"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_workers_go_on_when_the_server_ends_and_comes_back(
    own_server: Server, spawn: Spawn, end: str
) -> None:
    settings = storm(
        runs=RUNS_UNDER_FIRE,
        rounds=KILLS,
        pauseMs=PAUSE_MS,
        leaseSeconds=2 if end == "kill" else 100,
    )
    program = spawn(own_server.api_url, "storm.mjs", **settings)

    for kill in range(1, KILLS + 1):
        eventually(lambda n=kill: program.said.count("midst\n") == n, "the workers work", 40)
        getattr(own_server, end)()
        unfinished = program.said.count("done ") < kill * RUNS_UNDER_FIRE * STEPS
        own_server.start()
        assert unfinished, "the server went when all was done"

    runs = _check(program, RUNS_UNDER_FIRE * KILLS)
    if end == "stop":
        worked = [line for line in program.said.splitlines() if line.startswith("done ")]
        assert all(len(run["tasks"]) == STEPS for run in runs), "a stop costs no attempt"
        assert len(worked) == len(set(worked)), "each task was done once"


def test_the_programs_of_the_page_do_what_it_says(server: Server, tmp_path: Path) -> None:
    programs = howto.programs("JavaScript")
    assert list(programs) == ["worker.mjs", "start.mjs"]
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    started = []

    for file_name, source in programs.items():
        assert f"    node {file_name}\n" in howto.section("JavaScript")
        (tmp_path / file_name).write_text(source, "utf-8")
        (home := tmp_path / file_name.removesuffix(".mjs")).mkdir()
        started.append(Program([file_name], server.api_url, home, folder=tmp_path))
    worker, start = started
    try:
        assert start.wait() == 0, start.said
        assert start.said.splitlines()[-1] == howto.promise("JavaScript")
        assert worker.process.poll() is None, worker.said
        worker.process.send_signal(signal.SIGINT)
        assert worker.wait() == 0, worker.said
    finally:
        worker.end()
        start.end()


def _check(program: Program, count: int) -> list[dict[str, Any]]:
    """Fail unless each step of each run was completed once, by work really done; give the runs."""
    assert program.wait() == 0, program.said[-8000:]
    *lines, last = program.said.splitlines()
    done = {line.removeprefix("done ") for line in lines if line.startswith("done ")}
    runs: list[dict[str, Any]] = json.loads(last)
    assert len(runs) == count
    for run in runs:
        completed = [task for task in run["tasks"] if task["status"] == "COMPLETED"]
        others = {task["status"] for task in run["tasks"]} - {"COMPLETED"}
        assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
        assert [t["referenceTaskName"] for t in completed] == [f"t{n}" for n in range(STEPS)]
        assert all(task["outputData"] == {"by": task["taskId"]} for task in completed)
        assert {task["taskId"] for task in completed} <= done
        assert run["output"] == {"last": completed[-1]["taskId"]}
        assert others <= {"TIMED_OUT"}, "only lost hand-outs were tried again"
    return runs


def _reports_meet(fate: Fate, at_most: int) -> Callable[[Exchange], Fate]:
    """Plan a fate of the first delivery of so many reports."""
    asked_before_sending = fate in {Fate.LOSE, Fate.TWICE}
    met: set[bytes] = set()

    def plan(exchange: Exchange) -> Fate:
        is_now = (exchange.status == 0) is asked_before_sending
        is_first = exchange.path == UPDATE_V2 and exchange.nth == 1
        if is_first and is_now and len(met) < at_most:
            met.add(exchange.body)
            return fate
        return Fate.PASS

    return plan
