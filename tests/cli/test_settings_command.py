"""Settings as a user gives them: by flag, by environment, by file, and by names of others."""

import json
import socket
from pathlib import Path

import pytest

from tests.cli.live import batuta, process, server

WORKER = """\
import batuta, threading

BOTH = threading.Barrier(2, timeout=20)

@batuta.task("pair", concurrency=1)
def pair() -> dict:
    BOTH.wait()
    return {}
"""
PAIR = {
    "name": "pairs",
    "tasks": [
        {
            "name": "fork",
            "taskReferenceName": "fork",
            "type": "FORK_JOIN",
            "forkTasks": [
                [{"name": "pair", "taskReferenceName": "a"}],
                [{"name": "pair", "taskReferenceName": "b"}],
            ],
        },
        {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["a", "b"]},
    ],
}


def test_config_tells_used_from_unused_and_masks_secrets(tmp_path: Path) -> None:
    given = "CONDUCTOR_AUTH_KEY=me\nFAL_KEY=hunter2\nREDIS_PASSWORD=hunter2\n"
    (tmp_path / ".env").write_text(given, "utf-8")
    more = {"PGHOST": "db", "PGUSER": "me", "PGPASSWORD": "hunter2", "METRICS_PORT": "9090"}

    as_text = batuta("config", cwd=tmp_path, **more)
    as_json = batuta("config", "-o", "json", cwd=tmp_path, **more)

    assert as_text.returncode == as_json.returncode == 0, as_text.stderr
    assert "hunter2" not in as_text.stdout + as_json.stdout
    rows = {row["name"]: row for row in json.loads(as_json.stdout)}
    assert rows["db"]["value"] == "postgresql://me:***@db/"
    assert rows["db"]["source"] == "PGHOST"
    assert rows["port"]["isUsed"]
    assert rows["METRICS_PORT"]["source"] == "METRICS_PORT"
    assert rows["METRICS_PORT"]["note"].startswith("not used yet")
    assert rows["CONDUCTOR_AUTH_KEY"]["source"] == "CONDUCTOR_AUTH_KEY in .env"
    assert not rows["CONDUCTOR_AUTH_KEY"]["isUsed"]
    assert rows["redis_password"]["value"] == "***"
    assert rows["fal_key"]["value"] == "***"
    lines = {line.split()[0]: line for line in as_text.stdout.splitlines()}
    assert "not used yet: keys of clients" in lines["CONDUCTOR_AUTH_KEY"]


def test_the_example_file_can_be_printed_and_used(tmp_path: Path) -> None:
    example = batuta("config", "--env-example", cwd=tmp_path)
    changed = example.stdout.replace("#BATUTA_PORT=8080", "BATUTA_PORT=1234")
    (tmp_path / "mine.env").write_text(changed, "utf-8")

    shown = batuta("config", "--env-file", "mine.env", "-o", "json", cwd=tmp_path)

    changes = [row for row in json.loads(shown.stdout) if row["source"] != "default"]
    assert [(row["name"], row["value"], row["source"]) for row in changes] == [
        ("port", "1234", "BATUTA_PORT in mine.env")
    ]


def test_serve_says_which_names_it_does_not_use(tmp_path: Path) -> None:
    options = ("serve", "--port", "0", "--db", str(tmp_path / "runs.db"))
    with process(*options, METRICS_PORT="9090", NODE_ENV="production") as running:
        running.wait_for(r"serves at")

    [line] = [line for line in running.lines if "not used" in line]
    assert "METRICS_PORT" in line
    assert "NODE_ENV" not in line, "nothing will ever need it, so nothing is missing"


def test_a_server_takes_its_port_from_the_name_that_platforms_set(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with process("serve", "--db", str(tmp_path / "runs.db"), PORT=str(port)) as running:
        assert running.wait_for(r"serves at http://127\.0\.0\.1:(\d+)")[1] == str(port)


def test_a_setting_without_an_option_of_its_own_has_a_flag(tmp_path: Path) -> None:
    with server(tmp_path / "runs.db", "--body-bytes-max", "1000", "--no-strict") as url:
        big = json.dumps(PAIR | {"description": "x" * 1_000})
        (tmp_path / "big.json").write_text(big, "utf-8")
        done = batuta("def", "apply", str(tmp_path / "big.json"), "--server", url)
    assert done.returncode == 7
    assert "1000" in done.stderr.replace(",", "")

    wrong = batuta("serve", "--drain-ms", "soon", "--db", str(tmp_path / "runs.db"))
    assert wrong.returncode == 7
    assert "'drain_ms' (from flag) is 'soon'" in wrong.stderr


@pytest.mark.parametrize("place", ["worker", "serve"])
def test_worker_concurrency_counts_over_what_a_function_says(tmp_path: Path, place: str) -> None:
    """Two tasks that wait for each other end only where one worker does both at once."""
    (tmp_path / "pair.py").write_text(WORKER, "utf-8")
    (tmp_path / "pairs.json").write_text(json.dumps(PAIR), "utf-8")
    run = ("run", str(tmp_path / "pairs.json"), "--watch", "--timeout", "30")
    module = str(tmp_path / "pair.py")

    if place == "serve":
        with server(tmp_path / "runs.db", "--workers", module, WORKER_CONCURRENCY="2") as url:
            done = batuta(*run, CONDUCTOR_URL=f"{url}/api")
    else:
        more = {"WORKER_ID": "w-seven", "POLL_INTERVAL_MS": "100", "WORKER_CONCURRENCY": "2"}
        with (
            server(tmp_path / "runs.db") as url,
            process("worker", module, CONDUCTOR_URL=url, **more) as working,
        ):
            working.wait_for("worker w-seven polls")
            done = batuta(*run, CONDUCTOR_URL=f"{url}/api")
            seen = batuta("queue", "list", "--server", url)
            assert "w-seven" in seen.stdout

    assert done.returncode == 0, done.stderr
