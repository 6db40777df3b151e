"""`batuta def` against a real server: what a folder of definitions becomes, and its way back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.live import batuta, server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("def") / "runs.db") as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Give a folder with a workflow of two versions and its task, named after the test."""
    name = request.node.name
    write(tmp_path / "flows" / "both.json", [workflow(name, 1), workflow(name, 2)])
    write(tmp_path / "task.json", {"name": name, "retryCount": 1})
    return tmp_path


def workflow(name: str, version: int) -> dict[str, Any]:
    tasks = [{"name": name, "taskReferenceName": "r"}]
    return {"name": name, "version": version, "tasks": tasks}


def write(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")


def results(stdout: str) -> list[str]:
    return [one["result"] for one in json.loads(stdout)]


def test_what_is_new_is_created_and_what_has_changed_updated(url: str, folder: Path) -> None:
    apply = ("def", "apply", str(folder), "--server", url)

    first = batuta(*apply)
    second = batuta(*apply)
    write(folder / "task.json", {"name": folder_name(folder), "retryCount": 2})
    third = batuta(*apply, "-o", "json")

    assert first.returncode == second.returncode == third.returncode == 0, first.stderr
    name = folder_name(folder)
    assert first.stdout.splitlines() == [
        f"task {name} created",
        f"workflow {name} v1 created",
        f"workflow {name} v2 created",
    ]
    assert [line.split()[-1] for line in second.stdout.splitlines()] == ["unchanged"] * 3
    assert results(third.stdout) == ["updated", "unchanged", "unchanged"]


def folder_name(folder: Path) -> str:
    name: str = json.loads((folder / "task.json").read_text("utf-8"))["name"]
    return name


def test_a_dry_run_does_nothing(url: str, folder: Path) -> None:
    apply = ("def", "apply", str(folder), "--server", url)

    dry = batuta(*apply, "--dry-run")
    wet = batuta(*apply)

    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.count("would be created") == 3
    assert wet.stdout.count("created") == 3


def test_a_fault_names_its_file_and_path_and_stops_no_other(url: str, folder: Path) -> None:
    name = folder_name(folder)
    twice = {"name": "t", "taskReferenceName": "same"}
    faulty = {"name": "faulty", "timeoutSeconds": -1, "tasks": [twice, twice]}
    write(folder / "faulty.json", [workflow(name, 3), faulty])
    (folder / "broken.json").write_text('{"name": ', "utf-8")

    done = batuta("def", "apply", str(folder), "-o", "json", "--server", url)

    assert done.returncode == 7
    lines = done.stderr.strip().splitlines()
    assert any("broken.json is not JSON, line 1" in line for line in lines)
    at = f"{folder / 'faulty.json'}[1]: faulty: "
    assert any(at in line and "timeoutSeconds" in line for line in lines)
    assert any(at in line and "same" in line for line in lines)
    assert sorted(results(done.stdout)) == ["created"] * 4 + ["invalid"]


def test_definitions_are_listed_and_read(url: str, folder: Path) -> None:
    name = folder_name(folder)
    batuta("def", "apply", str(folder), "--server", url)

    listed = batuta("def", "list", "--server", url)
    latest = batuta("def", "get", name, "--server", url)
    first = batuta("def", "get", name, "--version", "1", "-o", "json", "--server", url)
    task = batuta("def", "get", name, "--task", "--server", url)

    rows = [line.split()[:3] for line in listed.stdout.splitlines()]
    assert ["workflow", name, "2"] in rows
    assert ["task", name, "-"] in rows
    assert json.loads(latest.stdout)["version"] == 2
    assert json.loads(first.stdout)["version"] == 1
    assert json.loads(task.stdout)["retryCount"] == 1


def test_what_is_exported_is_unchanged_when_applied(url: str, folder: Path, tmp_path: Path) -> None:
    name = folder_name(folder)
    batuta("def", "apply", str(folder), "--server", url)
    out = tmp_path / "exported"

    exported = batuta("def", "export", str(out), "--server", url)
    applied = batuta("def", "apply", str(out), "-o", "json", "--server", url)

    assert str(out / "workflows" / f"{name}.v2.json") in exported.stdout.splitlines()
    assert set(results(applied.stdout)) == {"unchanged"}
    document = json.loads((out / "tasks" / f"{name}.json").read_text("utf-8"))
    assert "createTime" not in document


def test_what_is_exported_makes_another_server_the_same(
    url: str, folder: Path, tmp_path: Path
) -> None:
    batuta("def", "apply", str(folder), "--server", url)
    batuta("def", "export", str(tmp_path / "one"), "--server", url)

    with server(tmp_path / "other.db") as other:
        applied = batuta("def", "apply", str(tmp_path / "one"), "--server", other)
        batuta("def", "export", str(tmp_path / "two"), "--server", other)

    assert applied.returncode == 0, applied.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def contents(folder: Path) -> dict[str, str]:
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.json")}
    assert found
    return found


def test_a_definition_is_deleted_once_that_was_confirmed(url: str, folder: Path) -> None:
    name = folder_name(folder)
    batuta("def", "apply", str(folder), "--server", url)
    delete = ("def", "delete", name, "--server", url)

    asked = batuta(*delete, "--version", "1")
    vague = batuta(*delete, "--yes")
    done = batuta(*delete, "--version", "1", "--yes")
    task = batuta(*delete, "--task", "--yes")

    assert (asked.returncode, vague.returncode) == (2, 2)
    assert "--version" in vague.stderr
    assert done.stdout == f"deleted workflow {name} v1\n"
    assert task.returncode == 0, task.stderr
    assert batuta("def", "get", name, "--version", "1", "--server", url).returncode == 5
    assert batuta("def", "get", name, "--server", url).returncode == 0
    assert batuta("def", "get", name, "--task", "--server", url).returncode == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["apply", "absent.json"], 5, "absent.json"),
        (["get", "absent"], 5, "absent"),
        (["get", "absent", "--task"], 5, "absent"),
        (["delete", "absent", "--version", "1", "--yes"], 5, "absent"),
        (["export", "/proc/self/exported"], 1, "/proc/self/exported"),
        (["list", "--server", "http://127.0.0.1:9"], 3, "127.0.0.1:9"),
    ],
)
def test_an_error_is_one_clear_line_with_its_exit_code(
    url: str, arguments: list[str], code: int, words: str
) -> None:
    done = batuta("def", *arguments, CONDUCTOR_SERVER_URL=url)

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
