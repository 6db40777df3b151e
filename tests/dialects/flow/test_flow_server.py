"""Flows on a real server: killed between two nodes and started again, and looked at by doctor."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.flow.flows import node, ref
from tests.sdk.server import ROOT, Server, eventually

WORKERS = """
import pathlib
import threading
import batuta

HERE = pathlib.Path(__file__).parent


def note(name):
    with (HERE / "calls").open("a") as calls:
        calls.write(name + chr(10))


@batuta.task("first")
def first(nodeId, config):
    note("first")
    return {"text": config["text"].upper()}


@batuta.task("gate")
def gate(nodeId, config):
    note(nodeId)
    while not (HERE / f"go-{nodeId}").exists():
        threading.Event().wait(0.01)
    return {"said": f"{config['said']} {nodeId}".strip()}


@batuta.task("second")
def second(nodeId, config):
    note("second")
    while not (HERE / "go").exists():
        threading.Event().wait(0.01)
    return {"text": config["text"] + "!"}
"""


def ask(server: Server, line: str, body: Any = None) -> Any:
    """Send a request and return its document."""
    method, path = line.split(" ")
    url = f"http://127.0.0.1:{server.port}{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "nodes.py").write_text(WORKERS, "utf-8")
    found = Server(tmp_path)
    found.start("--workers", str(tmp_path / "nodes.py"))
    yield found
    (tmp_path / "go").touch()
    found.stop()


@pytest.mark.slow
def test_s0_20_killed_between_two_nodes_it_goes_on_with_the_second(
    server: Server, tmp_path: Path
) -> None:
    nodes = [node("a", "first", text="once"), node("b", "second", text=ref("a", "text"))]
    body = {"workflowName": "Killed", "nodes": nodes}
    workflow_id = ask(server, "POST /workflow/run", body)["workflowId"]

    def words() -> list[str]:
        found = ask(server, f"GET /workflow/{workflow_id}/status")
        return [one["status"] for one in found["nodeStatuses"]]

    def calls() -> list[str]:
        return (tmp_path / "calls").read_text("utf-8").split()

    eventually(lambda: words() == ["completed", "running"], "the second node is in hand")
    eventually(lambda: calls() == ["first", "second"], "its worker has begun")
    before = ask(server, f"GET /workflow/{workflow_id}/status")
    server.kill()
    server.start("--workers", str(tmp_path / "nodes.py"))
    after = ask(server, f"GET /workflow/{workflow_id}/status")
    assert after["results"] == before["results"]
    (tmp_path / "go").touch()
    eventually(lambda: words() == ["completed", "completed"], "the flow completes")

    assert calls() == ["first", "second", "second"]
    [record] = ask(server, "GET /workflow/history")
    assert (record["status"], record["workflowName"]) == ("completed", "Killed")
    outputs = [one["data"]["output"]["text"] for one in record["results"]]
    assert outputs == ["ONCE", "ONCE!"]
    server.check_log()


@pytest.mark.slow
def test_s0_20_killed_at_every_node_it_repeats_none_that_has_ended(
    server: Server, tmp_path: Path
) -> None:
    names = ["one", "two", "three"]
    before = [None, *names]
    nodes = [
        node(name, "gate", said=ref(last, "said") if last else "")
        for name, last in zip(names, before, strict=False)
    ]
    workflow_id = ask(server, "POST /workflow/run", {"nodes": nodes})["workflowId"]
    where = f"GET /workflow/{workflow_id}/status"

    def calls() -> list[str]:
        file = tmp_path / "calls"
        return file.read_text("utf-8").split() if file.exists() else []

    for name in names:
        eventually(lambda: name in calls(), f"node {name} is being done")  # noqa: B023
        assert ask(server, where)["currentNodeId"] == name
        server.kill()
        (tmp_path / f"go-{name}").touch()
        server.start("--workers", str(tmp_path / "nodes.py"))
    eventually(lambda: ask(server, where)["status"] == "completed", "the flow completes")

    assert calls() == [name for name in names for _ in "12"]
    results = ask(server, where)["results"]
    assert results[-1]["data"]["output"]["said"] == "one two three"
    assert len(ask(server, "GET /workflow/history")) == 1
    server.check_log()


@pytest.mark.slow
def test_the_example_runs_and_its_receiver_is_told(tmp_path: Path) -> None:
    secret = "a secret of tests"
    receiver = subprocess.Popen(
        [sys.executable, "-m", "examples.flow.receiver", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "BATUTA_FLOW_CALLBACK_SECRET": secret},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None, "it is a pipe"
    url = receiver.stdout.readline().split()[-1]
    server = Server(tmp_path)
    workers = str(ROOT / "examples" / "flow" / "workers.py")
    try:
        server.start("--ai", "fake", "--workers", workers, "--flow-callback-secret", secret)
        flow = json.loads((ROOT / "examples" / "flow" / "flow.json").read_text("utf-8"))
        forged = urllib.request.Request(url, b"{}", {"webhook-timestamp": "1"}, method="POST")
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(forged, timeout=10)
        refused.value.close()
        workflow_id = ask(server, "POST /workflow/run", {**flow, "callbackUrl": url})["workflowId"]
        told = receiver.stdout.readline()
        results = ask(server, f"GET /workflow/{workflow_id}/results")["results"]
    finally:
        server.stop()
        receiver.kill()
        receiver.wait()
        receiver.stdout.close()

    assert told == "workflow.completed A loud tale\n"
    first, second = (one["data"]["output"]["text"] for one in results)
    assert second == f"{first.upper()}!"


@pytest.mark.slow
def test_s0_19_doctor_says_what_the_original_s_status_script_says(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    for name in ("one", "two"):
        body = {"workflowName": name, "nodes": [node("a", "second", text="t")]}
        workflow_id = ask(server, "POST /workflow/run", body)["workflowId"]
        eventually(
            lambda: ask(server, f"GET /workflow/{workflow_id}/status")["status"] == "completed",  # noqa: B023
            "the flow completes",
        )

    command = [sys.executable, "-m", "batuta", "doctor", "--port", str(server.port), "-o", "json"]
    command += ["--db", str(tmp_path / "batuta.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}["flows"]
    assert done.returncode == 0, done.stdout
    assert found["text"].startswith("workflow-backend is ok, its engine at http://127.0.0.1:")
    assert found["text"].endswith("2 flows in the history")
    assert [line.split()[1:] for line in found["details"]] == [
        ["completed", "two"],
        ["completed", "one"],
    ]
