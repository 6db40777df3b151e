"""`batuta workflow` against a real server: each command as it goes well, and as it fails."""

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
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "alone.json").write_text(json.dumps(ALONE), "utf-8")
    (folder / "task.json").write_text(json.dumps({"name": "nobody", "retryCount": 0}), "utf-8")
    with server(folder / "runs.db", "--load", str(folder)) as url:
        yield url


@pytest.fixture
def workflow_id(url: str) -> str:
    done = batuta("workflow", "start", "alone", "-i", "n=1", "--server", url)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_of(url: str, workflow_id: str) -> dict[str, Any]:
    with closing(Client(url)) as client:
        found: dict[str, Any] = client.get(f"/workflow/{workflow_id}")
        return found


def fail(url: str, workflow_id: str) -> None:
    with closing(Client(url)) as client:
        client.post(f"/tasks/{workflow_id}/r/FAILED", {})
    assert run_of(url, workflow_id)["status"] == "FAILED"


def test_a_run_is_started_with_what_was_said(url: str) -> None:
    options = ("-i", "n=1", "--correlation-id", "mine", "--priority", "7", "-o", "json")

    done = batuta("workflow", "start", "alone", *options, "--server", url)

    run = run_of(url, json.loads(done.stdout)["workflowId"])
    assert (run["input"], run["correlationId"], run["priority"]) == ({"n": 1}, "mine", 7)


def test_a_run_is_shown_as_a_tree_and_as_the_server_says_it(url: str, workflow_id: str) -> None:
    text = batuta("workflow", "get", workflow_id, "--server", url)
    document = batuta("workflow", "get", workflow_id, "-o", "json", "--server", url)
    short = batuta("workflow", "get", workflow_id, "--no-tasks", "--server", url)

    assert text.returncode == document.returncode == 0
    assert "RUNNING" in text.stdout.splitlines()[0]
    assert "└─ ○ r" in text.stdout
    assert 'input {"n": 1}' in text.stdout
    assert "\x1b" not in text.stdout
    assert json.loads(document.stdout) == run_of(url, workflow_id)
    assert "└─" not in short.stdout


def test_runs_are_listed_by_what_they_are(url: str) -> None:
    options = ("--correlation-id", "it's listed", "--server", url)
    workflow_id = batuta("workflow", "start", "alone", *options).stdout.strip()
    filters = ("--name", "al*", "--status", "running", *options)

    listed = batuta("workflow", "list", *filters)
    document = batuta("workflow", "list", *filters, "-o", "json")
    none = batuta("workflow", "list", "--status", "FAILED", *options)

    assert listed.returncode == 0, listed.stderr
    head, row, count = listed.stdout.splitlines()
    assert head.split() == ["id", "workflow", "status", "started", "took", "reason"]
    assert row.split()[:4] == [workflow_id, "alone", "v1", "RUNNING"]
    assert count == "1 of 1 runs"
    [run] = json.loads(document.stdout)["results"]
    assert run["workflowId"] == workflow_id
    assert none.stdout == "0 of 0 runs\n"


def test_pages_of_runs_do_not_overlap(url: str, workflow_id: str) -> None:
    assert workflow_id
    batuta("workflow", "start", "alone", "--server", url)
    page = ("workflow", "list", "--limit", "1", "--sort", "startTime:ASC", "-o", "json")

    first = json.loads(batuta(*page, "--server", url).stdout)
    second = json.loads(batuta(*page, "--start", "1", "--server", url).stdout)

    assert len(first["results"]) == len(second["results"]) == 1
    assert first["results"][0]["workflowId"] != second["results"][0]["workflowId"]


def test_a_query_finds_runs(url: str, workflow_id: str) -> None:
    query = f"workflowId={workflow_id} AND status=RUNNING"

    found = batuta("workflow", "search", query, "--free-text", "alone", "--server", url)

    assert found.returncode == 0, found.stderr
    assert workflow_id in found.stdout


def test_a_query_of_unknown_fields_is_refused_with_the_known_ones(url: str) -> None:
    done = batuta("workflow", "search", "colour=red", "--server", url)

    assert done.returncode == 7
    assert "colour" in done.stderr
    assert "workflowType" in done.stderr


def test_a_run_is_paused_and_goes_on(url: str, workflow_id: str) -> None:
    paused = batuta("workflow", "pause", workflow_id, "--server", url)
    assert paused.stdout == f"paused {workflow_id}\n"
    assert run_of(url, workflow_id)["status"] == "PAUSED"

    resumed = batuta("workflow", "resume", workflow_id, "--server", url)

    assert resumed.returncode == 0
    assert run_of(url, workflow_id)["status"] == "RUNNING"


def test_ending_runs_asks_first_and_keeps_the_reason(url: str, workflow_id: str) -> None:
    command = ("workflow", "terminate", workflow_id, "--reason", "no longer & wanted")

    refused = batuta(*command, "--server", url)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert run_of(url, workflow_id)["status"] == "RUNNING"

    done = batuta(*command, "--yes", "--server", url)

    run = run_of(url, workflow_id)
    assert done.returncode == 0, done.stderr
    assert (run["status"], run["reasonForIncompletion"]) == ("TERMINATED", "no longer & wanted")


def test_a_failed_run_is_retried(url: str, workflow_id: str) -> None:
    fail(url, workflow_id)

    done = batuta("workflow", "retry", workflow_id, "--server", url)

    assert done.returncode == 0, done.stderr
    assert run_of(url, workflow_id)["status"] == "RUNNING"


def test_one_id_that_fails_does_not_stop_the_others(url: str, workflow_id: str) -> None:
    done = batuta("workflow", "pause", ABSENT, workflow_id, "-o", "json", "--server", url)

    assert done.returncode == 5
    assert ABSENT in done.stderr
    first, second = json.loads(done.stdout)
    assert (first["id"], first["done"]) == (ABSENT, None)
    assert second == {"id": workflow_id, "done": "paused"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["get", ABSENT], 5, ABSENT),
        (["start", "absent"], 5, "absent"),
        (["start", "alone", "-i", "nonsense"], 7, "neither key=value"),
        (["list", "--status", "HAPPY"], 7, "HAPPY"),
        (["resume", ABSENT], 5, ABSENT),
        (["terminate", ABSENT, "--yes"], 5, ABSENT),
        (["retry", ABSENT], 5, ABSENT),
    ],
)
def test_an_error_is_one_clear_line_with_its_exit_code(
    url: str, arguments: list[str], code: int, words: str
) -> None:
    done = batuta("workflow", *arguments, "--server", url)

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_retrying_a_run_that_goes_on_is_refused(url: str, workflow_id: str) -> None:
    done = batuta("workflow", "retry", workflow_id, "--server", url)

    assert done.returncode == 5, "Conductor answers 404"
    assert "is RUNNING" in done.stderr
