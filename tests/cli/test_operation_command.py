"""Running again, skipping, deleting and explaining runs, by the commands of a real server."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.client import Client
from tests.cli.live import batuta, server

ABSENT = "00000000-0000-4000-8000-000000000000"
TWO = {
    "name": "two",
    "tasks": [
        {"name": "nobody", "taskReferenceName": "first"},
        {"name": "nobody", "taskReferenceName": "second"},
    ],
    "outputParameters": {"said": "${second.output.text}"},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("operation")
    (folder / "two.json").write_text(json.dumps(TWO), "utf-8")
    (folder / "task.json").write_text(json.dumps({"name": "nobody", "retryCount": 0}), "utf-8")
    with server(folder / "runs.db", "--load", str(folder)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with closing(Client(url)) as client:
        yield client


@pytest.fixture
def workflow_id(client: Client) -> str:
    return str(client.post("/workflow/two", {"n": 1}))


@pytest.fixture
def ended_id(client: Client, workflow_id: str) -> str:
    """Give a run whose first task is done and whose second has failed."""
    client.post(f"/tasks/{workflow_id}/first/COMPLETED", {})
    client.post(f"/tasks/{workflow_id}/second/FAILED", {})
    assert run_of(client, workflow_id)["status"] == "FAILED"
    return workflow_id


def run_of(client: Client, workflow_id: str) -> dict[str, Any]:
    return dict(client.get(f"/workflow/{workflow_id}"))


def statuses(run: dict[str, Any]) -> list[tuple[str, str]]:
    return [(task["referenceTaskName"], task["status"]) for task in run["tasks"]]


def test_an_ended_run_is_restarted_from_its_beginning(
    url: str, client: Client, ended_id: str
) -> None:
    done = batuta("workflow", "restart", ended_id, "--use-latest", "--server", url)

    assert done.stdout == f"restarted {ended_id}\n", done.stderr
    assert statuses(run_of(client, ended_id)) == [("first", "SCHEDULED")]


def test_a_run_is_rerun_from_a_task_that_its_reference_names(
    url: str, client: Client, ended_id: str
) -> None:
    new = ("--task-input", "m=2", "--input", "n=3", "--correlation-id", "again")

    done = batuta("workflow", "rerun", ended_id, "--from-task", "second", *new, "--server", url)

    assert done.returncode == 0, done.stderr
    run = run_of(client, ended_id)
    assert statuses(run) == [("first", "COMPLETED"), ("second", "SCHEDULED")]
    assert run["tasks"][1]["inputData"] == {"m": 2}
    assert (run["input"], run["correlationId"]) == ({"n": 3}, "again")


def test_a_rerun_without_a_task_begins_again(url: str, client: Client, ended_id: str) -> None:
    done = batuta("workflow", "rerun", ended_id, "-o", "json", "--server", url)

    assert json.loads(done.stdout) == {"id": ended_id, "done": "rerun"}
    assert statuses(run_of(client, ended_id)) == [("first", "SCHEDULED")]


def test_a_rerun_from_a_task_that_there_is_not_names_those_that_there_are(
    url: str, ended_id: str
) -> None:
    done = batuta("workflow", "rerun", ended_id, "--from-task", "third", "--server", url)

    assert done.returncode == 5
    assert "first, second" in done.stderr


def test_a_task_is_skipped_with_an_output_for_those_after_it(
    url: str, client: Client, workflow_id: str
) -> None:
    skip = ("workflow", "skip-task", workflow_id, "second", "--task-output", "text=none")

    done = batuta(*skip, "--server", url)
    client.post(f"/tasks/{workflow_id}/first/COMPLETED", {})

    assert done.returncode == 0, done.stderr
    run = run_of(client, workflow_id)
    assert ("second", "SKIPPED") in statuses(run)
    assert (run["status"], run["output"]) == ("COMPLETED", {"said": "none"})


def test_an_ended_run_is_deleted_once_that_was_confirmed(
    url: str, client: Client, ended_id: str
) -> None:
    asked = batuta("workflow", "delete", ended_id, "--server", url)
    assert asked.returncode == 2
    assert run_of(client, ended_id)

    done = batuta("workflow", "delete", ended_id, "--yes", "--server", url)

    assert done.stdout == f"deleted {ended_id}\n", done.stderr
    assert batuta("workflow", "get", ended_id, "--server", url).returncode == 5


def test_a_run_that_goes_on_is_deleted_only_when_it_may_be_ended(
    url: str, workflow_id: str
) -> None:
    delete = ("workflow", "delete", workflow_id, "--yes", "--server", url)

    refused = batuta(*delete)
    done = batuta(*delete, "--terminate", "--reason", "a mistake")

    assert refused.returncode in (6, 7), refused.stderr
    assert workflow_id in refused.stderr
    assert done.returncode == 0, done.stderr
    assert batuta("workflow", "get", workflow_id, "--server", url).returncode == 5


def test_why_says_what_a_run_waits_for_and_what_to_do(url: str, workflow_id: str) -> None:
    text = batuta("why", workflow_id, "--server", url)
    document = batuta("why", workflow_id, "-o", "json", "--server", url)

    head, cause, fix = text.stdout.splitlines()
    assert head.split()[1:] == ["RUNNING", workflow_id]
    assert "no worker has polled queue 'nobody'" in cause
    assert fix.strip().startswith("do: start a worker")
    assert json.loads(document.stdout)["causes"][0]["code"] == "NEVER_POLLED"


def test_what_why_advises_can_be_typed_and_helps(url: str, tmp_path: Path) -> None:
    person = {"name": "ask", "taskReferenceName": "ask", "type": "HUMAN"}
    (tmp_path / "asks.json").write_text(json.dumps({"name": "asks", "tasks": [person]}), "utf-8")
    run = batuta("run", str(tmp_path / "asks.json"), "--server", url).stdout.strip()
    batuta("workflow", "pause", run, "--server", url)

    advised = batuta("why", run, "--server", url).stdout.splitlines()
    typed = [line.split("do: batuta ")[1] for line in advised if "do: batuta " in line]
    assert [line.split()[:2] for line in typed] == [["workflow", "resume"], ["task", "update"]]
    for line in typed:
        done = batuta(*line.replace("KEY=VALUE", "answer=yes").split(), "--server", url)
        assert done.returncode == 0, done.stderr

    ended = batuta("workflow", "get", run, "-o", "json", "--server", url)
    assert json.loads(ended.stdout)["status"] == "COMPLETED"
    assert json.loads(ended.stdout)["tasks"][0]["outputData"] == {"answer": "yes"}


def test_why_says_what_ended_a_run(url: str, ended_id: str) -> None:
    text = batuta("why", ended_id, "--server", url)

    assert text.returncode == 0, text.stderr
    assert "FAILED" in text.stdout.splitlines()[0]
    assert "second" in text.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["workflow", "restart", ABSENT], 5, ABSENT),
        (["workflow", "rerun", ABSENT], 5, ABSENT),
        (["workflow", "skip-task", ABSENT, "r"], 5, ABSENT),
        (["workflow", "delete", ABSENT, "--yes"], 5, ABSENT),
        (["why", ABSENT], 5, ABSENT),
        (["why", ABSENT, "--server", "http://127.0.0.1:9"], 3, "127.0.0.1:9"),
    ],
)
def test_an_error_is_one_clear_line_with_its_exit_code(
    url: str, arguments: list[str], code: int, words: str
) -> None:
    done = batuta(*arguments, CONDUCTOR_SERVER_URL=url)

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_run_that_goes_on_is_not_restarted(url: str, workflow_id: str) -> None:
    done = batuta("workflow", "restart", workflow_id, "--server", url)

    assert done.returncode == 6, done.stderr
    assert workflow_id in done.stderr
