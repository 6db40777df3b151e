"""`batuta task` and `batuta queue` against a real server."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from batuta.cli.client import Client
from tests.cli.live import batuta, server

ABSENT = "00000000-0000-4000-8000-000000000000"
ALONE = {"name": "alone", "tasks": [{"name": "nobody", "taskReferenceName": "r"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("task")
    (folder / "alone.json").write_text(json.dumps(ALONE), "utf-8")
    (folder / "task.json").write_text(json.dumps({"name": "nobody", "retryCount": 0}), "utf-8")
    with server(folder / "runs.db", "--load", str(folder)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with closing(Client(url)) as client:
        yield client


@pytest.fixture
def task(client: Client) -> dict[str, Any]:
    workflow_id = client.post("/workflow/alone", {})
    [task] = client.get(f"/workflow/{workflow_id}")["tasks"]
    return dict(task)


def test_a_task_is_shown(url: str, task: dict[str, Any]) -> None:
    text = batuta("task", "get", task["taskId"], "--server", url)
    document = batuta("task", "get", task["taskId"], "-o", "json", "--server", url)

    assert text.stdout.splitlines()[0].startswith("○ r  SCHEDULED")
    assert task["workflowInstanceId"] in text.stdout
    assert "output {}" in text.stdout
    assert json.loads(document.stdout)["taskId"] == task["taskId"]


def test_a_report_in_a_worker_s_place_ends_the_run(
    url: str, client: Client, task: dict[str, Any]
) -> None:
    report = ("--status", "completed", "-d", "n=3", "-d", '{"text": "done"}')

    done = batuta("task", "update", task["taskId"], *report, "--server", url)

    assert done.stdout == f"{task['taskId']} is COMPLETED\n", done.stderr
    run = client.get(f"/workflow/{task['workflowInstanceId']}")
    assert run["status"] == "COMPLETED"
    assert run["tasks"][0]["outputData"] == {"n": 3, "text": "done"}


def test_a_failure_keeps_its_reason(url: str, client: Client, task: dict[str, Any]) -> None:
    report = ("--status", "FAILED", "--reason", "out of paper")

    done = batuta("task", "update", task["taskId"], *report, "--server", url)

    assert done.returncode == 0, done.stderr
    assert client.get(f"/tasks/{task['taskId']}")["reasonForIncompletion"] == "out of paper"


def test_the_log_of_a_task_is_shown_oldest_line_first(
    url: str, client: Client, task: dict[str, Any]
) -> None:
    empty = batuta("task", "logs", task["taskId"], "-o", "json", "--server", url)
    for line in ("first", "second"):
        client.post(f"/tasks/{task['taskId']}/log", line)

    text = batuta("task", "logs", task["taskId"], "--server", url)

    assert json.loads(empty.stdout) == []
    first, second = text.stdout.splitlines()
    assert "first" in first
    assert "second" in second


def test_queues_are_shown_with_what_waits_and_the_last_poll(
    url: str, client: Client, task: dict[str, Any]
) -> None:
    assert task
    client.get("/tasks/poll/batch/idle_type?timeout=1&workerid=ada")

    text = batuta("queue", "list", "--server", url)
    document = batuta("queue", "list", "-o", "json", "--server", url)

    rows = {row.split()[0]: row for row in text.stdout.splitlines()}
    assert next(iter(rows)) == "queue"
    assert rows["nobody"].split()[-2:] == ["never", "-"]
    assert rows["idle_type"].split()[1:3] == ["0", "0"]
    waiting = {one["queue"]: one for one in json.loads(document.stdout)}
    assert waiting["nobody"]["ready"] >= 1
    assert waiting["idle_type"]["lastPollTime"] > 0
    assert waiting["idle_type"]["workers"] == ["ada"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["task", "get", ABSENT], 5, ABSENT),
        (["task", "logs", ABSENT], 5, ABSENT),
        (["task", "update", ABSENT, "--status", "FAILED"], 5, ABSENT),
        (["queue", "list", "--server", "http://127.0.0.1:9"], 3, "127.0.0.1:9"),
    ],
)
def test_an_error_is_one_clear_line_with_its_exit_code(
    url: str, arguments: list[str], code: int, words: str
) -> None:
    done = batuta(*arguments, CONDUCTOR_SERVER_URL=url)

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""


def test_a_status_that_no_worker_reports_is_a_usage_error(url: str) -> None:
    done = batuta("task", "update", ABSENT, "--status", "CANCELED", "--server", url)

    assert done.returncode == 2
    assert "failed_with_terminal_error" in done.stderr.lower()
