"""The commands as a user types them: real processes, their lines and their exit codes."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batuta import __version__
from batuta.cli.client import Client
from tests.cli.live import Process, batuta, process, server, wait_until

GREETING = {
    "name": "greeting",
    "schemaVersion": 2,
    "tasks": [
        {
            "name": "compose",
            "taskReferenceName": "compose_it",
            "type": "SIMPLE",
            "inputParameters": {"name": "${workflow.input.name}"},
        },
        {
            "name": "deliver",
            "taskReferenceName": "deliver_it",
            "type": "SIMPLE",
            "inputParameters": {"text": "${compose_it.output.text}"},
        },
    ],
    "outputParameters": {"said": "${deliver_it.output.delivered}"},
}
ALONE = {"name": "alone", "tasks": [{"name": "nobody", "taskReferenceName": "r"}]}
QUICK = [{"name": "compose", "retryCount": 0}, {"name": "deliver", "retryCount": 0}]

WORKERS = """\
import batuta

@batuta.task("compose")
def compose(name: str) -> dict:
    if name == "nobody":
        raise batuta.FatalError("there is nobody to greet")
    return {"text": f"hello {name}"}

@batuta.task("deliver")
async def deliver(text: str) -> dict:
    return {"delivered": text.upper()}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "greeting.json").write_text(json.dumps(GREETING), "utf-8")
    (folder / "alone.json").write_text(json.dumps(ALONE), "utf-8")
    (folder / "tasks.json").write_text(json.dumps(QUICK), "utf-8")
    (folder / "greeting.py").write_text(WORKERS, "utf-8")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    arguments = ("--load", str(folder / "tasks.json"), "--workers", str(folder / "greeting.py"))
    with server(folder / "runs.db", *arguments) as url:
        yield url


def test_help_is_there_at_once() -> None:
    """What takes long to import is left to the commands that need it."""
    command = [sys.executable, "-X", "importtime", "-m", "batuta", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    for name in ("serve", "worker", "run", "migrate", "config", "demo"):
        assert f"  {name} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"aiohttp", "apsw", "asyncio", "jwt", "uvicorn", "quickjs", "jq"})


def test_the_version_is_said() -> None:
    assert batuta("--version").stdout == f"batuta {__version__}\n"


def test_a_wrong_option_is_a_usage_error() -> None:
    done = batuta("serve", "--prot", "1")

    assert done.returncode == 2
    assert "--prot" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_shows_each_value_and_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BATUTA_DRAIN_MS=5\n", "utf-8")
    secret = "postgresql://me:hunter2@db.example/batuta"

    done = batuta("config", cwd=tmp_path, PORT="9", BATUTA_DB=secret, BATUTA_PROT="1")

    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["port"].split() == ["9", "PORT"]
    assert rows["drain_ms"].split(maxsplit=1)[1] == "BATUTA_DRAIN_MS in .env"
    assert "postgresql://me:***@db.example/batuta" in rows["db"]
    assert "hunter2" not in done.stdout
    assert "did you mean BATUTA_PORT?" in done.stderr


def test_a_run_is_watched_to_its_end_and_its_output_printed(url: str, folder: Path) -> None:
    done = batuta("run", "greeting.json", "-i", "name=ada", "--watch", "--server", url, cwd=folder)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.rindex("\n{") :]) == {"said": "HELLO ADA"}
    assert "✓ deliver_it  COMPLETED" in done.stdout
    assert "\x1b" not in done.stdout, "a pipe is no terminal"


def test_a_registered_name_runs_too_and_only_its_id_is_printed(url: str, folder: Path) -> None:
    batuta("run", "greeting.json", "-i", "name=ada", "--server", url, cwd=folder)

    done = batuta("run", "greeting", "--input", '{"name": "bob"}', CONDUCTOR_SERVER_URL=url)

    assert done.returncode == 0
    assert len(done.stdout.split()) == 1
    assert len(done.stdout.strip()) == 36


def test_a_failed_run_has_its_own_exit_code_and_says_why(url: str, folder: Path) -> None:
    arguments = ("run", "greeting.json", "-i", "name=nobody", "--watch", "--server", url)

    done = batuta(*arguments, cwd=folder)

    assert done.returncode == 10
    assert "there is nobody to greet" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_terminated_run_has_its_own_exit_code(url: str, folder: Path) -> None:
    with process("run", "alone.json", "--watch", "--server", url, cwd=folder) as running:
        workflow_id = running.wait_for(r"^([0-9a-f-]{36})$")[1]
        end(url, workflow_id)
        wait_until(lambda: running.process.poll() is not None)

        assert running.process.returncode == 11


def end(url: str, workflow_id: str) -> None:
    request = urllib.request.Request(f"{url}/api/workflow/{workflow_id}", method="DELETE")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_watching_has_a_time_limit(url: str, folder: Path) -> None:
    arguments = ("run", "alone.json", "--watch", "--timeout", "0.5", "--server", url)

    done = batuta(*arguments, cwd=folder)

    assert done.returncode == 124
    assert "it goes on" in done.stderr


def test_an_interrupt_stops_watching_and_not_the_run(url: str, folder: Path) -> None:
    with process("run", "alone.json", "--watch", "--server", url, cwd=folder) as running:
        workflow_id = running.wait_for(r"^([0-9a-f-]{36})$")[1]
        running.wait_for("RUNNING")
        running.process.send_signal(signal.SIGINT)
        running.wait_for("the run goes on")
        wait_until(lambda: running.process.poll() is not None)

        assert running.process.returncode == 130
    again = f"batuta workflow watch {workflow_id} --server {url}/api"
    assert any(again in line for line in running.lines)
    assert any(f"batuta workflow terminate {workflow_id}" in line for line in running.lines)


def test_a_run_can_be_watched_again(url: str, folder: Path) -> None:
    run = batuta("run", "greeting.json", "-i", "name=ada", "--server", url, cwd=folder)

    again = batuta("workflow", "watch", run.stdout.strip(), "--server", url)
    absent = batuta("workflow", "watch", "absent", "--server", url)

    assert again.returncode == 0, again.stderr
    assert '"said": "HELLO ADA"' in again.stdout
    assert absent.returncode == 5


@pytest.mark.parametrize(("other", "code"), [("HUMAN", 13), ("SIMPLE", 124)])
def test_a_run_that_only_waits_for_a_person_is_told_from_one_that_hangs(
    url: str, tmp_path: Path, other: str, code: int
) -> None:
    def task(ref: str, type_: str, **fields: Any) -> dict[str, Any]:
        return {"name": ref, "taskReferenceName": ref, "type": type_, **fields}

    branches = [[task("approve", "HUMAN")], [task("nobody_does_it", other)]]
    child = {
        "name": f"people_{other}",
        "tasks": [
            task("fork", "FORK_JOIN", forkTasks=branches),
            task("join", "JOIN", joinOn=["approve", "nobody_does_it"]),
        ],
    }
    params = {"name": child["name"], "workflowDefinition": child}
    parent = {
        "name": f"parent_{other}",
        "tasks": [task("child", "SUB_WORKFLOW", subWorkflowParam=params)],
    }
    (tmp_path / "parent.json").write_text(json.dumps(parent), "utf-8")

    done = batuta(
        *("run", str(tmp_path / "parent.json"), "--watch", "--timeout", "2", "--server", url)
    )

    assert done.returncode == code, done.stderr
    assert ("waits for a person" in done.stderr) is (code == 13)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "absent.json"], 5, "there is no file 'absent.json'"),
        (["run", "absent_workflow"], 5, "absent_workflow"),
        (["run", "greeting.py"], 7, "greeting.py is not JSON, line 1 column 1"),
        (["run", "tasks.json"], 7, "one workflow definition"),
        (["run", "greeting.json", "--input", "nonsense"], 7, "neither key=value"),
        (["serve", "--load", "absent"], 5, "'absent'"),
        (["serve", "--workers", "absent_module"], 5, "absent_module"),
        (["serve", "--host", "0.0.0.0"], 7, "--allow-remote"),
        (["serve", "--port", "99999"], 7, "'port'"),
        (["worker", "absent_module"], 5, "absent_module"),
        (["config", "--env-file", "absent.env"], 7, "absent.env"),
    ],
)
def test_an_error_is_one_clear_line_with_its_exit_code(
    url: str, folder: Path, arguments: list[str], code: int, words: str
) -> None:
    done = batuta(*arguments, cwd=folder, CONDUCTOR_SERVER_URL=url)

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""


def test_a_server_that_is_to_load_a_faulty_definition_names_every_fault(tmp_path: Path) -> None:
    (tmp_path / "faulty.json").write_text('{"name": "", "tasks": []}', "utf-8")

    done = batuta("serve", "--port", "0", "--load", "faulty.json", cwd=tmp_path)

    assert done.returncode == 7
    assert "name: workflow def has no name" in done.stderr
    assert "tasks: workflow def '' has no tasks" in done.stderr


def test_a_server_that_is_not_there_is_said_with_its_address(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    done = batuta("run", "greeting.json", "--server", f"http://127.0.0.1:{port}", cwd=folder)

    assert done.returncode == 3
    assert f"no server answers at http://127.0.0.1:{port}/api" in done.stderr
    assert "batuta serve" in done.stderr


def test_a_definition_that_breaks_rules_names_all_of_them(url: str, tmp_path: Path) -> None:
    twice = {"name": "t", "taskReferenceName": "same"}
    faulty = {"name": "faulty", "timeoutSeconds": -1, "tasks": [twice, twice]}
    path = tmp_path / "faulty.json"
    path.write_text(json.dumps(faulty), "utf-8")

    done = batuta("run", str(path), "--server", url)

    assert done.returncode == 7
    assert "same" in done.stderr
    assert "timeoutSeconds" in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = batuta("serve", "--port", str(port), "--db", str(tmp_path / "runs.db"))

    assert done.returncode == 6
    assert f"port {port} at 127.0.0.1 is in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    done = batuta("serve", "--port", "0", "--db", "/proc/self/runs.db")

    assert done.returncode == 7
    assert "folder '/proc/self' cannot hold the database" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_database_below_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")

    done = batuta("serve", "--port", "0", "--db", str(tmp_path / "file" / "runs.db"))

    assert done.returncode == 7
    assert "cannot hold the database" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_server_on_one_database_is_refused_in_one_line(url: str, folder: Path) -> None:
    assert url

    done = batuta("serve", "--port", "0", "--db", str(folder / "runs.db"))

    assert done.returncode != 0
    assert "runs.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    done = batuta("migrate", "--db", str(tmp_path / "new" / "runs.db"))

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "runs.db").is_file()


def test_a_server_stops_at_a_signal_and_its_runs_go_on_at_the_next_start(tmp_path: Path) -> None:
    definition = tmp_path / "alone.json"
    definition.write_text(json.dumps(ALONE), "utf-8")
    db = tmp_path / "runs.db"
    first = Process("serve", "--port", "0", "--db", str(db))
    try:
        url = first.wait_for(r"serves at (http://\S+)")[1]
        workflow_id = batuta("run", str(definition), "--server", url).stdout.strip()
    finally:
        code = first.stop()
    assert code == 0

    (tmp_path / "late.py").write_text(
        "import batuta\n@batuta.task('nobody')\ndef nobody(): return {'late': True}\n", "utf-8"
    )
    with server(db) as url, process("worker", str(tmp_path / "late.py"), "--server", url):
        client = Client(url)
        wait_until(lambda: client.get(f"/workflow/{workflow_id}")["status"] == "COMPLETED")
        client.close()


def test_a_worker_stops_at_a_signal(url: str, folder: Path) -> None:
    running = Process("worker", str(folder / "greeting.py"), "--server", url)
    running.wait_for("for compose, deliver")

    assert running.stop() == 0


def test_the_demo_runs_the_pipeline_and_says_where_everything_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = batuta(
            "demo",
            "--once",
            "--port",
            str(port),
            "--db",
            str(tmp_path / "demo.db"),
            FIRMWARE_CI_PACE="0",
            FIRMWARE_CI_HOME=str(tmp_path / "firmware"),
            MEDIA_HOME=str(tmp_path / "media"),
        )

    assert done.returncode == 0, done.stderr
    assert f"port {port} is in use, taking {port + 1}" in done.stderr
    assert "✓ health  COMPLETED" in done.stdout
    assert f"export CONDUCTOR_SERVER_URL=http://127.0.0.1:{port + 1}/api" in done.stdout
