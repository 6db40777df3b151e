"""The graph engine with workers in processes of their own, which stop, die and are joined."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli import live
from tests.dialects.graphs import above, graph, node

BUNDLED = Path(__file__).parents[3] / "shared" / "data" / "s1"
RUNS = 200
LEASE_S = 2  # in the server whose worker dies; 30 otherwise, as its definition says
# Read by each Python that starts in the folder's reach: nobody would wait for 30 s in a test.
SHORT_LEASE = f"from batuta.dialects.dag import lower; lower.LEASE_SECONDS = {LEASE_S}"


class Target:
    """What nodes call: it counts its calls and answers when it is told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.now = 0
        self.most = 0
        self.wait_s = 0.0
        self.is_held_once = False  # only the first call of each path stops at the gate
        self.gate = threading.Event()
        self._lock = threading.Lock()
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target._answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.calls[handler.path] += 1
            is_held = not self.is_held_once or self.calls[handler.path] == 1
            self.now += 1
            self.most = max(self.most, self.now)
        if is_held:
            self.gate.wait(live.READY_S)
        time.sleep(self.wait_s)
        with self._lock:
            self.now -= 1
        try:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.end_headers()
            handler.wfile.write(b"{}")
        except OSError:
            return  # who called has died

    @property
    def done(self) -> int:
        """How many calls there have been."""
        return sum(self.calls.values())


@pytest.fixture
def target() -> Iterator[Target]:
    """Give something to call, whose gate is open."""
    found = Target()
    found.gate.set()
    yield found
    found.gate.set()
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a server that leaves its nodes to others."""
    db = tmp_path_factory.mktemp("dag") / "runs.db"
    with live.server(db, "--graph-tasks-max", "0") as url:
        yield url


@contextmanager
def worker(url: str, concurrency: int) -> Iterator[live.Process]:
    """Give a worker process that polls."""
    options = ("--dialect", "dag", "--server", url)
    with live.process("worker", *options, WORKER_CONCURRENCY=str(concurrency)) as running:
        running.wait_for("polls .* for workflow-tasks")
        yield running


def ask(url: str, method: str, path: str, body: Any = None) -> Any:
    """Make a request to the server."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=live.READY_S) as answer:
        return json.load(answer)


def kept(url: str, document: Any) -> str:
    """Keep a graph and return its id."""
    return str(ask(url, "POST", "/workflows", document)["id"])


def started(url: str, workflow_id: str) -> str:
    """Start a run of a graph."""
    return start(url, workflow_id, {})


def status(url: str, run_id: str) -> Any:
    """Return a run's status."""
    return ask(url, "GET", f"/workflows/runs/{run_id}/status")


def ended(url: str, run_id: str) -> Any:
    """Return a run's status once it has ended."""
    live.wait_until(lambda: status(url, run_id)["finishedAt"] is not None)
    return status(url, run_id)


def call(target: Target, node_id: str) -> dict[str, Any]:
    """Return a node that calls the target."""
    return node(node_id, "apiCall", url=f"{target.url}/{node_id}", timeoutMs=60_000)


def test_s1_01_a_start_answers_within_50_ms_while_a_node_sleeps(url: str, target: Target) -> None:
    target.gate.clear()
    workflow_id = kept(url, graph([call(target, "a")]))
    with worker(url, 20):
        took_s = []
        for _ in range(20):
            began_s = time.monotonic()
            run_id = started(url, workflow_id)
            took_s.append(time.monotonic() - began_s)
            assert str(uuid.UUID(run_id)) == run_id

        live.wait_until(lambda: target.now == 20)
        target.gate.set()
        assert ended(url, run_id)["status"] == "succeeded"
    assert min(took_s) < 0.05, "the quickest: the machine is shared"


def test_s1_04_ten_nodes_overlap_in_two_workers_of_five(url: str, target: Target) -> None:
    target.gate.clear()
    nodes = [call(target, f"n{number}") for number in range(10)]
    with worker(url, 5), worker(url, 5):
        run_id = started(url, kept(url, graph(nodes)))

        live.wait_until(lambda: target.now == 10)

        words = {task["status"] for task in status(url, run_id)["tasks"]}
        target.gate.set()
        assert words == {"running"}
        assert ended(url, run_id)["status"] == "succeeded"
    assert target.most == 10


def test_s1_05_of_200_diamonds_with_two_workers_each_joins_once(url: str) -> None:
    names = [node(name) for name in "abcd"]
    workflow_id = kept(url, graph(names, "a>b", "a>c", "b>d", "c>d"))
    with worker(url, 5), worker(url, 5):
        runs = [started(url, workflow_id) for _ in range(RUNS)]

        found = [ended(url, run_id) for run_id in runs]

    for shown in found:
        assert shown["status"] == "succeeded"
        order = [log["nodeId"] for log in shown["logs"] if log["type"] == "node-output"]
        assert order[0] == "a"
        assert sorted(order[1:3]) == ["b", "c"]
        assert order[3:] == ["d"]
        times = {task["nodeId"]: task for task in shown["tasks"]}
        assert times["d"]["startedAt"] >= max(times[name]["completedAt"] for name in "bc")


def test_s1_15_the_task_of_a_killed_worker_is_done_by_another(
    tmp_path: Path, target: Target
) -> None:
    target.gate.clear()
    (tmp_path / "sitecustomize.py").write_text(SHORT_LEASE, "utf-8")
    path = f"{tmp_path}{os.pathsep}{live.ROOT}"
    options = ("--graph-tasks-max", "0")
    with live.server(tmp_path / "runs.db", *options, PYTHONPATH=path) as url:
        with worker(url, 1) as doomed:
            run_id = started(url, kept(url, graph([call(target, "a"), node("b")], "a>b")))
            live.wait_until(lambda: target.now == 1)
            doomed.kill()
        target.gate.set()
        died_s = time.monotonic()
        with worker(url, 1):
            shown = ended(url, run_id)
            took_s = time.monotonic() - died_s

        attempts = ask(url, "GET", f"/api/workflow/{run_id}")["tasks"]
    assert shown["status"] == "succeeded"
    assert target.calls["/a"] == 2
    of_a = [task["status"] for task in attempts if task["referenceTaskName"] == "a"]
    assert of_a == ["TIMED_OUT", "COMPLETED"]
    assert took_s < LEASE_S + 2 + 8, "its lease, the delay before the next attempt, a busy machine"


def test_s1_16_a_worker_that_is_stopped_finishes_its_task_and_takes_no_other(
    url: str, target: Target
) -> None:
    target.gate.clear()
    workflow_id = kept(url, graph([call(target, "a")]))
    with worker(url, 1) as stopping:
        first = started(url, workflow_id)
        live.wait_until(lambda: target.now == 1)

        stopping.process.send_signal(signal.SIGTERM)
        second = started(url, workflow_id)
        target.gate.set()
        code = stopping.process.wait(live.READY_S)

    assert code == 0
    assert status(url, first)["status"] == "succeeded"
    assert status(url, second)["status"] == "queued"
    assert target.calls["/a"] == 1
    ask(url, "POST", f"/workflows/runs/{second}/cancel")


def test_s1_17_a_third_worker_raises_the_rate_and_nothing_is_lost_or_doubled(
    url: str, target: Target
) -> None:
    target.wait_s = 0.25  # so that waiting is the limit, and not a machine that others use too
    graphs = [
        graph([call(target, f"g{number}n{place}") for place in range(10)]) for number in range(100)
    ]
    runs = [started(url, kept(url, one)) for one in graphs]
    with worker(url, 3), worker(url, 3):
        live.wait_until(lambda: target.done >= 20)
        two = rate_of(target, 2.0)
        assert target.most == 6
        with worker(url, 3):
            live.wait_until(lambda: target.most == 9)
            # In some window: the machine may be busy in one.
            live.wait_until(lambda: rate_of(target, 1.0) > two * 1.15)
            assert target.done < 1_000, "there is work for all of them to the end"
            target.wait_s = 0
            shown = [ended(url, run_id) for run_id in runs]

    assert {one["status"] for one in shown} == {"succeeded"}
    assert len(target.calls) == 1_000
    assert set(target.calls.values()) == {1}


@pytest.mark.skipif(not BUNDLED.is_dir(), reason=f"{BUNDLED} is not there")
def test_s1_19_the_bundled_workflows_call_this_server_on_whatever_port_it_has(
    tmp_path: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = sorted(BUNDLED.glob("*.json"))
    given = {"city": "Dubai", "zone": "lobby", "title": "CTO"}
    with live.server(tmp_path / "runs.db", port=port, API_PORT=str(port)) as url:
        for path in files:
            document = json.loads(path.read_text("utf-8"))
            for one in document["workflow"]["nodes"]:
                if one["base"]["type"] == "delay":  # as they are they run in test_dag.py
                    one["base"]["config"] = {"delayMs": 1}
            workflow_id = kept(url, document)

            answer = ask(url, "POST", f"/workflows/{workflow_id}/execute", {"input": given})

            assert answer["status"] == "succeeded", path.name
            kinds = [log["kind"] for log in answer["logs"]]
            assert "api-error" not in kinds, answer["logs"]
    assert len(files) == 7


def test_an_exported_graph_runs_on_a_server_that_has_no_dag(url: str, tmp_path: Path) -> None:
    choose = node("if", "ifElse", condition=above(5))
    wait = node("wait", "delay", delayType="seconds", delayValue=1)
    nodes = [choose, wait, node("no"), node("say", "notification", template="n={{n}}")]
    ways = ("if:out-true>wait", "if:out-false>no", "wait>say", "no>say")
    document = graph(nodes, *ways)
    (tmp_path / "graph.json").write_text(json.dumps(document), "utf-8")
    to = str(tmp_path / "to")

    export = ("def", "export", str(tmp_path / "graph.json"), "--target", "conductor")
    assert live.batuta(*export, "--output", to).returncode == 0
    with worker(url, 2):
        ours = ended(url, str(start(url, kept(url, document), {"n": 9})))
    with live.server(tmp_path / "runs.db", "--strict", "--graph-tasks-max", "0") as other:
        refused = live.batuta("def", "apply", str(tmp_path / "to"), "--server", other)
        assert refused.returncode == 0, refused.stderr
        with worker(other, 2):
            given = {"name": "a graph", "input": {"workflowId": "", "input": {"n": 9}}}
            run_id = ask_text(other, "/api/workflow", given)
            live.wait_until(
                lambda: ask(other, "GET", f"/api/workflow/{run_id}")["status"] != "RUNNING"
            )
            theirs = ask(other, "GET", f"/api/workflow/{run_id}")

    assert theirs["status"] == "COMPLETED"
    done = {task["referenceTaskName"]: task["outputData"] for task in theirs["tasks"]}
    ran = {task["nodeId"] for task in ours["tasks"] if task["status"] == "completed"}
    assert ran == done.keys() & {"if", "wait", "no", "say"} == {"if", "wait", "say"}
    assert done["say"]["log"]["content"] == ours["logs"][-1]["message"] == "n=9"
    assert {name: done[name] for name in ran} == done["graph"]["result"]


def start(url: str, workflow_id: str, given: Any) -> str:
    """Start a run of a graph with an input."""
    path = f"/workflows/{workflow_id}/execute-async"
    return str(ask(url, "POST", path, {"input": given})["runId"])


def ask_text(url: str, path: str, body: Any) -> str:
    """Post a body and return the answer's text."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=live.READY_S) as answer:
        return str(answer.read().decode())


def rate_of(target: Target, seconds: float) -> float:
    """Return how many calls come in a second."""
    before, began_s = target.done, time.monotonic()
    live.wait_until(lambda: time.monotonic() - began_s >= seconds)
    return (target.done - before) / (time.monotonic() - began_s)


def test_a_server_killed_at_every_node_goes_on_where_it_was(tmp_path: Path, target: Target) -> None:
    target.gate.clear()
    target.is_held_once = True
    names = [f"n{number}" for number in range(3)]
    ways = [f"{one}>{other}" for one, other in pairwise(names)]
    document = graph([call(target, name) for name in names], *ways)
    run_id = ""
    for name in [*names, ""]:
        with live.process("serve", "--port", "0", "--db", str(tmp_path / "runs.db")) as running:
            url = running.wait_for(r"serves at (http://\S+)")[1]
            run_id = run_id or started(url, kept(url, document))
            if name:
                live.wait_until(lambda name=name: target.calls[f"/{name}"] == 1)  # type: ignore[misc]
                running.process.kill()
                running.process.wait()
            else:
                shown = ended(url, run_id)

    assert shown["status"] == "succeeded"
    assert [log["nodeId"] for log in shown["logs"][1:]] == names
    # Each was called once more by the server that came after, and those before it never again.
    assert target.calls == {f"/{name}": 2 for name in names}
