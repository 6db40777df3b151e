"""`batuta status` and `batuta logs` against a real server."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from batuta.cli.client import Client
from batuta.cli.command.status import SILENT_LOOP_MS, UNPOLLED_MS, troubles_of
from tests.cli.live import batuta, process, server, wait_until

NOW_MS = 1_800_000_000_000
WELL = {"isReady": True, "isDraining": False, "loops": {}, "queues": []}
TWO = {
    "name": "two",
    "tasks": [
        {"name": "nobody", "taskReferenceName": "first"},
        {"name": "nobody", "taskReferenceName": "second"},
    ],
}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "two.json").write_text(json.dumps(TWO), "utf-8")
    with server(tmp_path / "runs.db", "--load", str(tmp_path)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with closing(Client(url)) as client:
        yield client


def test_a_server_without_runs_is_well(url: str) -> None:
    text = batuta("status", "--server", url)
    document = batuta("status", "-o", "json", "--server", url)

    assert text.returncode == document.returncode == 0, text.stdout
    assert text.stdout.splitlines()[-1] == "all is well"
    assert "sqlite, answers" in text.stdout
    found = json.loads(document.stdout)
    assert (found["isWell"], found["troubles"]) == (True, [])


def test_tasks_that_nobody_polls_are_not_well(url: str, client: Client) -> None:
    ids = [client.post("/workflow/two", {}) for _ in range(4)]

    text = batuta("status", "--server", url)
    document = batuta("status", "-o", "json", "--server", url)

    assert text.returncode == document.returncode == 1
    assert "not well: 4 tasks wait in queue 'nobody'; last poll: never" in text.stdout
    assert [run_id for run_id in ids if run_id in text.stdout] == ids[1:], "the three newest"
    assert len(json.loads(document.stdout)["troubles"]) == 1


def test_tasks_that_are_polled_are_well(url: str, client: Client) -> None:
    client.post("/workflow/two", {})
    client.post("/workflow/two", {})
    assert client.get("/tasks/poll/nobody?workerid=ada")

    text = batuta("status", "--server", url)

    assert text.returncode == 0, text.stdout
    [row] = [line for line in text.stdout.splitlines() if line.startswith("nobody ")]
    assert row.split()[1:3] == ["1", "1"]
    assert row.endswith("ada")


def test_what_retention_did_is_shown(tmp_path: Path) -> None:
    noop = {"name": "none", "taskReferenceName": "none", "type": "NOOP"}
    with (
        server(tmp_path / "runs.db", "--retention-count", "1") as url,
        closing(Client(url)) as client,
    ):
        client.post("/metadata/workflow", {"name": "short", "tasks": [noop]})
        ids = [client.post("/workflow/short", {}) for _ in range(3)]

        wait_until(lambda: client.get("/batuta/status")["retention"]["runsRemoved"] == 2)

        text = batuta("status", "--server", url).stdout
        assert "runs removed by retention: 2" in text
        assert len([run_id for run_id in ids if run_id in text]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"isReady": False}, "not ready"),
        ({"isDraining": True}, "stopping"),
        ({"quarantined": 2}, "quarantined rows: 2"),
        ({"loops": {"timers": {"lastPassMsAgo": SILENT_LOOP_MS + 1, "errors": 1}}}, "'timers'"),
    ],
)
def test_what_is_not_well_is_said(change: dict[str, object], words: str) -> None:
    [trouble] = troubles_of(WELL | change, NOW_MS)

    assert words in trouble


@pytest.mark.parametrize(
    ("ready", "leased", "polled_ago_ms", "is_well"),
    [
        (1, 0, UNPOLLED_MS + 1, False),
        (1, 0, UNPOLLED_MS, True),
        (1, 1, UNPOLLED_MS + 1, True),
        (0, 0, UNPOLLED_MS + 1, True),
    ],
)
def test_a_queue_is_forsaken_when_nobody_has_its_tasks_or_asks_for_them(
    *, ready: int, leased: int, polled_ago_ms: int, is_well: bool
) -> None:
    queue = {"queue": "q", "ready": ready, "leased": leased}

    troubles = troubles_of(
        WELL | {"queues": [queue | {"lastPollTime": NOW_MS - polled_ago_ms}]}, NOW_MS
    )

    assert (list(troubles) == []) is is_well


@pytest.mark.parametrize("options", [(), ("-o", "json")])
def test_no_server_is_not_well(options: tuple[str, ...]) -> None:
    done = batuta("status", "--server", "http://127.0.0.1:9", *options)

    assert done.returncode == 3
    assert "no server answers at http://127.0.0.1:9/api" in done.stderr
    assert json.loads(done.stdout or '{"isWell": false}')["isWell"] is False


def test_the_logs_of_a_run_are_shown_by_time(url: str, client: Client) -> None:
    workflow_id = client.post("/workflow/two", {})
    log(client, workflow_id, "one")
    client.post(f"/tasks/{workflow_id}/first/COMPLETED", {})
    log(client, workflow_id, "two")

    named = batuta("logs", workflow_id, "--server", url)
    newest = batuta("logs", "--server", url)
    document = batuta("logs", workflow_id, "-o", "json", "--server", url)

    first, second = named.stdout.splitlines()
    assert first.endswith('first: "one"')
    assert second.endswith('second: "two"')
    assert newest.stdout == named.stdout
    assert [line["log"] for line in json.loads(document.stdout)] == ['"one"', '"two"']


def log(client: Client, workflow_id: str, line: str) -> None:
    task = client.get(f"/workflow/{workflow_id}")["tasks"][-1]
    client.post(f"/tasks/{task['taskId']}/log", line)


@pytest.mark.parametrize("options", [(), ("-o", "json")])
def test_logs_are_followed_until_the_run_has_ended(
    url: str, client: Client, options: tuple[str, ...]
) -> None:
    workflow_id = client.post("/workflow/two", {})
    with process("logs", workflow_id, "-f", "--server", url, *options) as following:
        for reference in ("first", "second"):
            log(client, workflow_id, f"in {reference}")
            following.wait_for(f"in {reference}")
            client.post(f"/tasks/{workflow_id}/{reference}/COMPLETED", {})
        wait_until(lambda: following.process.poll() is not None)

        assert following.process.returncode == 0
        assert len(following.lines) == 2


def test_logs_of_what_is_not_there_are_not_found(url: str) -> None:
    absent = batuta("logs", "00000000-0000-4000-8000-000000000000", "--server", url)
    none = batuta("logs", "--server", url)

    assert (absent.returncode, none.returncode) == (5, 5)
    assert "no run yet" in none.stderr


def test_a_log_cannot_steer_the_terminal(url: str, client: Client) -> None:
    workflow_id = client.post("/workflow/two", {})
    task_id = client.get(f"/workflow/{workflow_id}")["tasks"][0]["taskId"]
    escape = {"status": "IN_PROGRESS", "logs": [{"log": "\x1b[2Jgone"}], "taskId": task_id}
    client.post("/tasks", escape | {"workflowInstanceId": workflow_id})

    done = batuta("logs", workflow_id, "--server", url)

    assert done.stdout.endswith("first: \\x1b[2Jgone\n")


def test_what_the_output_cannot_carry_is_escaped(url: str, client: Client) -> None:
    workflow_id = client.post("/workflow/two", {"name": "Åse €"})
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}

    text = batuta("workflow", "get", workflow_id, "--server", url, **ascii_only)
    document = batuta("workflow", "get", workflow_id, "-o", "json", "--server", url, **ascii_only)

    assert (text.returncode, document.returncode) == (0, 0), text.stderr
    assert text.stdout.isascii()
    assert document.stdout.isascii()
    assert json.loads(document.stdout)["input"] == {"name": "Åse €"}


class Page(BaseHTTPRequestHandler):
    """What answers everything with a web page, or with broken JSON."""

    def do_GET(self) -> None:
        is_page = "metadata" in self.path
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.end_headers()
        self.wfile.write(b"<p>hello" if is_page else b"{")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("command", "words"), [(("def", "list"), "text/html"), (("status",), "cannot be read")]
)
def test_another_kind_of_server_is_said_to_be_one(command: tuple[str, ...], words: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        done = batuta(*command, "--server", f"http://127.0.0.1:{other.server_port}")
        other.shutdown()

    assert done.returncode == 7
    assert "is no such server" in done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
