"""`batuta doctor`, `batuta reset` and `batuta completion`: what they find, move and print."""

import json
import os
import pty
import select
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.client import Client
from tests.cli.live import READY_S, ROOT, batuta, environment, process, server

ALONE = {"name": "alone", "tasks": [{"name": "nobody", "taskReferenceName": "r"}]}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database with a run, left by a server that has stopped."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "alone.json").write_text(json.dumps(ALONE), "utf-8")
    with server(folder / "runs.db", "--load", str(folder)) as url, closing(Client(url)) as client:
        client.post("/workflow/alone", {})
    return folder / "runs.db"


@pytest.fixture
def db(filled: Path, tmp_path: Path) -> Path:
    """Give a copy of it."""
    copy = tmp_path / "runs.db"
    copy.write_bytes(filled.read_bytes())
    return copy


@pytest.fixture
def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def findings(stdout: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(stdout)["findings"]}


def test_a_sound_node_is_found_sound(db: Path, free_port: str) -> None:
    text = batuta("doctor", "--db", str(db), "--port", free_port)
    document = batuta("doctor", "--db", str(db), "--port", free_port, "-o", "json")

    assert text.returncode == document.returncode == 0, text.stdout
    found = findings(document.stdout)
    assert "1 runs, scanned: all rules hold" in found["database"]["text"]
    assert f"SQLite {sqlite_version()}" in found["versions"]["text"]
    assert found["port"]["text"].endswith("is free")
    assert found["sandbox"]["state"] in ("ok", "warning")
    assert [line.split()[1] for line in text.stdout.splitlines()[: len(found)]] == list(found)


def sqlite_version() -> str:
    import apsw

    return apsw.sqlite_lib_version()


def test_a_node_that_was_never_used_is_left_unused(tmp_path: Path, free_port: str) -> None:
    done = batuta("doctor", "--port", free_port, cwd=tmp_path, PYTHONPATH=str(ROOT))

    assert done.returncode == 0, done.stdout
    assert "is not there yet" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_damage_in_the_database_is_found(db: Path, free_port: str) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("DELETE FROM queue")
        connection.commit()

    text = batuta("doctor", "--db", str(db), "--port", free_port)
    document = batuta("doctor", "--db", str(db), "--port", free_port, "-o", "json")

    assert text.returncode == document.returncode == 1
    assert "a worker's live task is queued, leased or delayed" in text.stdout
    assert findings(document.stdout)["database"]["state"] == "bad"
    assert json.loads(document.stdout)["isWell"] is False


def test_a_database_in_use_is_named_with_its_server_and_not_scanned(db: Path) -> None:
    with process("serve", "--port", "0", "--db", str(db)) as running:
        url = running.wait_for(r"serves at (http://\S+)")[1]
        port = url.rpartition(":")[2]

        done = batuta("doctor", "--db", str(db), "--port", port, "-o", "json")

        found = findings(done.stdout)
        assert done.returncode == 0, done.stdout
        assert f"process {running.process.pid}" in found["database"]["text"]
        assert "batuta" in found["port"]["text"]


def quarantine(db: Path) -> None:
    """Have a message of the database's run fail too often."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(
            "INSERT INTO send (workflow_id, doc, attempts, retry_at, error)"
            " SELECT id, CAST(? AS BLOB), 5, NULL, 'planted' FROM workflow",
            (json.dumps({"type": "resume"}),),
        )
        connection.commit()


def test_quarantined_rows_are_found_and_tried_again_without_a_server(
    db: Path, free_port: str
) -> None:
    quarantine(db)
    where = ("--db", str(db), "--port", free_port)

    found = batuta("doctor", *where)
    retried = batuta("doctor", *where, "--retry")
    after = batuta("doctor", *where)

    assert found.returncode == 1
    assert "1 messages or timers failed too often" in found.stdout
    assert "1 quarantined rows are tried again" in retried.stdout
    assert retried.returncode == after.returncode == 0, after.stdout


def test_quarantined_rows_are_found_and_tried_again_by_the_server(db: Path) -> None:
    quarantine(db)
    with process("serve", "--port", "0", "--db", str(db)) as running:
        url = running.wait_for(r"serves at (http://\S+)")[1]
        port = url.rpartition(":")[2]
        with closing(Client(url)) as client:
            assert client.get("/batuta/status")["quarantined"] == 1

            found = batuta("doctor", "--db", str(db), "--port", port, "-o", "json")
            retried = batuta("doctor", "--db", str(db), "--port", port, "--retry", "-o", "json")

            assert found.returncode == 1
            [detail] = findings(found.stdout)["quarantine"]["details"]
            assert "failed 5 times: planted" in detail
            assert "1 quarantined rows" in findings(retried.stdout)["quarantine"]["text"]


def test_a_port_of_another_program_is_bad(db: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        done = batuta("doctor", "--port", port, "-o", "json", BATUTA_DB=str(db))

    assert done.returncode == 1
    assert "another program" in findings(done.stdout)["port"]["text"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.db", b"this is no database at all" * 100, "cannot be read"),
        ("folder/of/none.db", None, "is not there yet"),
    ],
)
def test_what_is_no_database_is_said(
    tmp_path: Path, free_port: str, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    done = batuta("doctor", "--db", str(path), "--port", free_port)

    assert done.returncode == (1 if content else 0), done.stdout
    assert words in done.stdout


def test_a_reset_asks_and_keeps_the_old_database(db: Path, free_port: str) -> None:
    before = db.read_bytes()
    blob = db.with_name(f"{db.name}-blobs") / "payload"
    blob.parent.mkdir(exist_ok=True)
    blob.write_text("{}", "utf-8")
    asked = batuta("reset", "--db", str(db))
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert db.read_bytes() == before

    done = batuta("reset", "--db", str(db), "--yes")

    assert done.returncode == 0, done.stderr
    assert not db.exists()
    [kept] = db.parent.glob("runs-20*/runs.db")
    assert f"is now {kept};" in done.stdout
    assert (kept.with_name(blob.parent.name) / "payload").exists(), "its large payloads go with it"
    checked = batuta("doctor", "--db", str(kept), "--port", free_port)
    assert "1 runs, scanned" in checked.stdout


def test_a_reset_leaves_a_database_in_use_alone(db: Path) -> None:
    with server(db) as url:
        done = batuta("reset", "--db", str(db), "--yes")

        assert batuta("workflow", "list", "--server", url).stdout.endswith("1 of 1 runs\n")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("db", "code", "words"),
    [("absent.db", 5, "absent.db"), ("postgresql://me@there/db", 7, "PostgreSQL")],
)
def test_what_cannot_be_reset_is_said(tmp_path: Path, db: str, code: int, words: str) -> None:
    done = batuta("reset", "--db", db, "--yes", cwd=tmp_path)

    assert done.returncode == code
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def on_a_terminal(answer: str, *arguments: str, **more: str) -> tuple[int, str]:
    """Run a command with a terminal, type an answer, and give its code and what was shown."""
    ours, theirs = pty.openpty()
    kept = {name: text for name, text in environment().items() if name != "NO_COLOR"}
    command = [sys.executable, "-m", "batuta", *arguments]
    child = subprocess.Popen(
        command, env=kept | more, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    try:
        while select.select([ours], [], [], READY_S)[0]:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            shown += part
        return child.wait(READY_S), shown.decode()
    finally:
        os.close(ours)
        if child.poll() is None:
            child.kill()
            child.wait()


@pytest.mark.parametrize(("answer", "is_moved"), [("n\n", False), ("y\n", True)])
def test_a_person_is_asked(db: Path, answer: str, is_moved: bool) -> None:  # noqa: FBT001
    code, shown = on_a_terminal(answer, "reset", "--db", str(db))

    assert "begin with an empty one? [y/N]" in shown
    assert db.exists() is not is_moved
    assert code == (0 if is_moved else 130), shown


@pytest.mark.parametrize(
    ("settings", "has_colour"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False)]
)
def test_a_terminal_has_colour_unless_it_is_not_wanted(
    db: Path,
    free_port: str,
    settings: dict[str, str],
    has_colour: bool,  # noqa: FBT001
) -> None:
    code, shown = on_a_terminal("", "doctor", "--db", str(db), "--port", free_port, **settings)

    assert code == 0, shown
    assert ("\x1b[" in shown) is has_colour


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    done = batuta("completion", shell)

    assert done.returncode == 0, done.stderr
    assert "_BATUTA_COMPLETE" in done.stdout


def test_commands_are_completed_as_a_shell_asks() -> None:
    words = {"_BATUTA_COMPLETE": "bash_complete", "COMP_WORDS": "batuta workflow re"}

    done = batuta(COMP_CWORD="2", **words)

    offered = [line.partition(",")[2] for line in done.stdout.splitlines()]
    assert offered == ["rerun", "restart", "resume", "retry"]


def test_an_unknown_shell_is_a_usage_error() -> None:
    done = batuta("completion", "cmd")

    assert done.returncode == 2
    assert "fish" in done.stderr


def test_a_shell_is_offered_what_the_server_has(db: Path) -> None:
    def offered(*words: str, server_url: str) -> set[str]:
        line = {"COMP_WORDS": " ".join(("batuta", *words)), "COMP_CWORD": str(len(words))}
        done = batuta(**line, _BATUTA_COMPLETE="bash_complete", CONDUCTOR_SERVER_URL=server_url)
        assert done.stderr == ""
        return {one.removeprefix("plain,") for one in done.stdout.split()}

    with server(db) as url:
        [run] = json.loads(batuta("workflow", "list", "-o", "json", "--server", url).stdout)[
            "results"
        ]
        name, run_id = run["workflowName"], run["workflowId"]

        assert offered("workflow", "get", run_id[:3], server_url=url) == {run_id}
        assert offered("why", "zz", server_url=url) == set()
        assert offered("workflow", "start", name[:1], server_url=url) == {name}
    assert offered("workflow", "get", run_id[:3], server_url=url) == set(), "nobody answers now"
