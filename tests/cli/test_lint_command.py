"""`batuta def lint`: definitions judged without a server, and by what a server knows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.live import ROOT, batuta, environment, process, server

AWAY = {"CONDUCTOR_SERVER_URL": "http://127.0.0.1:1/api"}  # nobody listens there


def task(ref: str, type_: str = "SIMPLE", **fields: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": type_, **fields}


def workflow(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "deploy", "version": 3, "tasks": list(tasks), **fields}


CLEAN = workflow(task("a"), task("b", inputParameters={"x": "${a.output.y}"}))
FORK = task("f", "FORK_JOIN", forkTasks=[[task("a")], [task("b")]])
END = task("end", "TERMINATE", inputParameters={"terminationStatus": "COMPLETED"})
RETRIED = {"name": "a", "retryCount": 3, "retryDelaySeconds": 60}


def written(folder: Path, *documents: Any) -> Path:
    for number, document in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(document), "utf-8")
    return folder


def test_a_clean_definition_ends_with_0_and_needs_no_server(tmp_path: Path) -> None:
    done = batuta("def", "lint", str(written(tmp_path, CLEAN)), **AWAY)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 definition, 0 faults, 0 warnings\n"


@pytest.mark.parametrize(
    ("documents", "path", "code"),
    [
        (
            [workflow(task("a"), outputParameters={"x": "${gone.output.y}"})],
            "outputParameters.x",
            "UNKNOWN_REFERENCE",
        ),
        ([workflow(END, task("a"))], "tasks[1]", "UNREACHABLE"),
        (
            [workflow(FORK, task("j", "JOIN", joinOn=["a"]))],
            "tasks[1].joinOn",
            "JOIN_MISSES_BRANCH",
        ),
        (
            [workflow(task("a"), timeoutSeconds=60), RETRIED],
            "tasks[0].retryCount",
            "RETRY_EXCEEDS_LIMIT",
        ),
        (
            [workflow(task("a", inputParameters={"password": "hunter22"}))],
            "tasks[0].inputParameters.password",
            "SECRET_IN_CLEAR",
        ),
        (
            [workflow(task("w", "WAIT", inputParameters={"duration": "2 m"}), timeoutSeconds=60)],
            "tasks[0].inputParameters.duration",
            "WAIT_EXCEEDS_LIMIT",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_a_warning_names_file_definition_path_and_code_and_ends_with_1(
    tmp_path: Path, documents: list[dict[str, Any]], path: str, code: str
) -> None:
    folder = written(tmp_path, *documents)

    done = batuta("def", "lint", str(folder), **AWAY)
    ignored = batuta("def", "lint", str(folder), "--ignore", code.lower(), **AWAY)

    assert done.returncode == 1, done.stderr
    first, *_, counts = done.stdout.splitlines()
    assert first.startswith(f"{folder / '0.json'}: deploy v3: {path}: {code}: ")
    assert counts.endswith("0 faults, 1 warning")
    assert "hunter22" not in done.stdout
    assert ignored.returncode == 0, ignored.stdout


def test_a_fault_ends_with_7_and_stands_beside_the_warnings_of_others(tmp_path: Path) -> None:
    faulty = workflow(task("a"), task("a"))
    folder = written(tmp_path, faulty, workflow(END, task("z")), {"name": "t", "retryCount": -1})

    done = batuta("def", "lint", str(folder), "-o", "json", **AWAY)

    assert done.returncode == 7
    first, second, third = json.loads(done.stdout)
    assert [one["code"] for one in first["faults"]] == ["FAULT"]
    assert "a should be unique" in first["faults"][0]["message"]
    assert [one["code"] for one in second["warnings"]] == ["UNREACHABLE"]
    assert (third["kind"], third["faults"][0]["path"]) == ("task", "retryCount")


def test_what_is_a_fault_is_not_told_as_a_warning_again(tmp_path: Path) -> None:
    folder = written(tmp_path, workflow(task("a", inputParameters={"x": "${gone.output.y}"})))

    done = batuta("def", "lint", str(folder), **AWAY)

    assert done.returncode == 7
    assert done.stdout.splitlines()[-1] == "1 definition, 1 fault, 0 warnings"


def test_a_wrong_type_names_its_field(tmp_path: Path) -> None:
    folder = written(tmp_path, {"name": "x", "tasks": {"a": 1}}, {"name": "y", "retryCount": "x"})

    done = batuta("def", "lint", str(folder), "-o", "json", **AWAY)

    assert done.returncode == 7
    found = json.loads(done.stdout)
    assert [(one["kind"], one["faults"][0]["path"]) for one in found] == [
        ("workflow", "tasks"),
        ("task", "retryCount"),
    ]


def test_standard_input_is_judged_too() -> None:
    def lint(text: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "batuta", "def", "lint", "-"]
        return subprocess.run(
            command, cwd=ROOT, env=environment(**AWAY), input=text, capture_output=True, check=False
        )

    clean = lint(json.dumps([CLEAN]).encode())
    warned = lint(json.dumps([CLEAN, workflow(END, task("z"))]).encode())
    broken = lint(b'{"name": ')
    strange = lint(b"\xff\xfe")

    assert (clean.returncode, warned.returncode) == (0, 1)
    assert warned.stdout.startswith(b"standard input[1]: deploy v3: tasks[1]: UNREACHABLE")
    assert broken.returncode == strange.returncode == 7
    assert b"standard input is not JSON, line 1 column" in broken.stderr
    assert b"standard input is not UTF-8" in strange.stderr
    assert b"Traceback" not in broken.stderr + strange.stderr


def test_strict_refuses_what_conductor_refuses(tmp_path: Path) -> None:
    lenient = workflow(
        {
            "name": "s",
            "taskReferenceName": "s",
            "type": "SUB_WORKFLOW",
            "inputParameters": {"name": "child", "version": 1},
        }
    )
    folder = written(tmp_path, lenient)

    accepted = batuta("def", "lint", str(folder), **AWAY)
    refused = batuta("def", "lint", str(folder), "--strict", **AWAY)
    told = batuta("def", "lint", str(folder), BATUTA_STRICT="true", **AWAY)

    assert accepted.returncode == 0, accepted.stdout
    assert refused.returncode == told.returncode == 7
    assert "subWorkflowParam" in refused.stdout


def test_a_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    folder = written(tmp_path, workflow(END, task("z")))
    (folder / "broken.json").write_text("{", "utf-8")

    files = [str(folder / name) for name in ("absent.json", "broken.json", "0.json")]
    done = batuta("def", "lint", *files, **AWAY)

    assert done.returncode == 5, "the first failure is that a file is absent"
    assert "absent.json" in done.stderr
    assert "broken.json is not JSON, line 1" in done.stderr
    assert "UNREACHABLE" in done.stdout


def test_wrong_usage_is_said(tmp_path: Path) -> None:
    nothing = batuta("def", "lint")
    unknown = batuta("def", "lint", str(written(tmp_path, CLEAN)), "--ignore", "NOBODY")

    assert nothing.returncode == unknown.returncode == 2
    assert "standard input" in nothing.stderr
    assert "UNKNOWN_REFERENCE" in unknown.stderr


def test_a_registered_name_needs_its_server() -> None:
    done = batuta("def", "lint", "deploy", **AWAY)

    assert done.returncode == 3
    assert "batuta serve" in done.stderr


def test_a_server_knows_task_definitions_and_who_polls(tmp_path: Path) -> None:
    file = written(tmp_path, workflow(task("polled"), task("lonely"), timeoutSeconds=60)) / "0.json"
    task_file = tmp_path / "task.json"
    task_file.write_text(json.dumps(RETRIED | {"name": "polled"}), "utf-8")
    module = tmp_path / "doer.py"
    module.write_text("import batuta\n\n@batuta.task('polled')\ndef f() -> None: ...\n", "utf-8")
    lint = ("def", "lint", "-o", "json")
    with server(tmp_path / "runs.db") as url, process("worker", str(module), "--server", url) as w:
        w.wait_for("polls")
        batuta("def", "apply", str(file), str(task_file), "--server", url)
        offline = batuta(*lint, str(file), CONDUCTOR_SERVER_URL=url)
        online = batuta(*lint, str(file), "--online", CONDUCTOR_SERVER_URL=url)
        named = batuta(*lint, "deploy", "--version", "3", CONDUCTOR_SERVER_URL=url)
        asked = batuta(*lint, str(file), "--server", url)
        absent = batuta(*lint, "nosuch", "--server", url)

    assert offline.returncode == 0, offline.stdout
    for done in (online, named, asked):
        assert done.returncode == 1, done.stderr
        [found] = json.loads(done.stdout)
        assert [(one["path"], one["code"]) for one in found["warnings"]] == [
            ("tasks[0].retryCount", "RETRY_EXCEEDS_LIMIT"),
            ("tasks[1]", "NOBODY_POLLS"),
        ]
    assert absent.returncode == 5
