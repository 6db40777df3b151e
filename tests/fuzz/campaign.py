"""Schemathesis over our own OpenAPI document, against a real server that has real runs.

Each operation is called with what its schema allows and with what it does not. Three passes: one
with names and ids as they come, which are unknown to the server; one with those of a run that
waits on each of its tasks, so that requests get past "no such workflow"; and one of sequences, in
which each request takes its ids from an answer before, by the links of the document: a run is
started, its tasks are polled and reported, it is paused, retried, terminated, read and removed.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.fuzz import hooks
from tests.sdk.server import ROOT, Server

HANG_S = 2.0  # no answer may take longer, but for the waits that a client asks for
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "missing_required_header",
)
# Left out, with the reason. negative_data_rejection: `null` for a number in a query is taken as
# left out, as SDKs send it. positive_data_acceptance: rules that no JSON schema says, such as a
# definition without tasks, are 400s. allow_header_conformance: `Allow` names also the methods of
# a pattern that matches the same path (GET /metadata/workflow/{name} and .../validate).
# content_type_conformance: where Conductor answers null, a 200 is empty and names no media type.

RUNS = 50
# These would remove the runs and the definition whose names a pass gives.
STREAM = "/stream$"  # is not answered in one piece
ENDING = "/remove$|/terminate-remove$"
DEFINITION_PATH = "^/api/metadata/workflow/{name}/{version}$"

DEFINITION = {
    "name": "fuzzed",
    "version": 1,
    "schemaVersion": 2,
    "ownerEmail": "fuzz@example.com",
    "tasks": [
        {
            "name": "fork",
            "taskReferenceName": "fork",
            "type": "FORK_JOIN",
            "forkTasks": [
                [{"name": "work", "taskReferenceName": "work", "type": "SIMPLE"}],
                [{"name": "human", "taskReferenceName": "human", "type": "HUMAN"}],
                [
                    {
                        "name": "pause",
                        "taskReferenceName": "pause",
                        "type": "WAIT",
                        "inputParameters": {"duration": "1 days"},
                    }
                ],
            ],
        },
        {
            "name": "join",
            "taskReferenceName": "join",
            "type": "JOIN",
            "joinOn": ["work", "human", "pause"],
        },
    ],
}


def run(folder: Path, *, phases: str, examples: int, seed: int) -> dict[str, Any]:
    """Fuzz a server of our own; return the report of all passes.

    Args:
        folder: For the server's data and logs; also gets schemathesis' own reports.
        phases: Of schemathesis: `coverage` sends each boundary of each schema, and `fuzzing`
            makes requests up.
        examples: Requests made up for each operation in a pass.
        seed: The same seed makes the same requests.
    """
    server = Server(folder)
    server.start()
    try:
        runs = _make_work(server.api_url)
        passes = {
            "unknown ids": _pass(server, folder / "unknown", [], phases, examples, seed),
            "ids of runs": _pass(server, folder / "known", runs, phases, examples, seed),
            "sequences": _pass(server, folder / "linked", runs, "stateful", 3 * examples, seed),
        }
        _still_works(server.api_url)
        log = server.log
    finally:
        server.kill()
    return {
        "seed": seed,
        "cases": sum(found["cases"] for found in passes.values()),
        "failures": sum(len(found["failures"]) for found in passes.values()),
        "tracebacks": log.count("Traceback"),
        "passes": passes,
    }


def _pass(
    server: Server,
    folder: Path,
    runs: list[dict[str, str]],
    phases: str,
    examples: int,
    seed: int,
) -> dict[str, Any]:
    folder.mkdir()
    command = [
        *(str(Path(sys.executable).with_name("st")), "run"),
        *(f"http://127.0.0.1:{server.port}/api-docs", "--no-color"),
        *("--phases", phases, "--checks", ",".join(CHECKS)),
        *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"),
        *("--max-response-time", str(HANG_S), "--request-timeout", "10"),
        *("--suppress-health-check", "all", "--warnings", "off"),
        *("--report", "json", "--report-json-path", "report.json"),
        *("--exclude-path-regex", _left_out(phases, runs)),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BATUTA_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        hooks.GIVEN: json.dumps(runs),
        **({hooks.LINKED: "1"} if phases == "stateful" else {}),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    (folder / "output.txt").write_text(done.stdout + done.stderr, "utf-8")
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
    except FileNotFoundError:
        raise AssertionError(f"schemathesis did not run:\n{done.stdout}{done.stderr}") from None
    links = re.search(r"API Links:\s+(\d+) covered", done.stdout)
    reached = [sum(part["accepted"] for part in rates.values()) for rates in _rates(report)]
    return {
        "cases": report["test_cases"]["generated"],
        "operations": len(reached) or report["operations"]["tested"],
        "links": int(links[1]) if links else 0,  # followed at least once
        "operations_accepted": sum(map(bool, reached)),  # said 2xx at least once
        "failures": [
            {key: found[key] for key in ("code", "title", "count", "operations")}
            for found in [*report["failures"], *report["errors"]]
        ],
        "output": str(folder / "output.txt"),
    }


def _left_out(phases: str, runs: list[dict[str, str]]) -> str:
    """Return a pattern of the paths that a pass does not call."""
    if phases == "stateful":
        return f"{STREAM}|{DEFINITION_PATH}"  # runs of its own may go
    return f"{STREAM}|{ENDING}|{DEFINITION_PATH}" if runs else STREAM


def _rates(report: dict[str, Any]) -> list[dict[str, dict[str, int]]]:
    return list(report["valid_rates"].values())


def _make_work(api_url: str) -> list[dict[str, str]]:
    """Register a workflow, start runs, and return for each what a request's path may name."""
    _call("POST", f"{api_url}/metadata/taskdefs", [{"name": "work", "ownerEmail": "f@example.com"}])
    _call("POST", f"{api_url}/metadata/workflow", DEFINITION)
    return [_start(api_url) for _ in range(RUNS)]


def _start(api_url: str) -> dict[str, str]:
    workflow_id = _call("POST", f"{api_url}/workflow/fuzzed", {}).decode()
    view = json.loads(_call("GET", f"{api_url}/workflow/{workflow_id}"))
    tasks = {task["referenceTaskName"]: task["taskId"] for task in view["tasks"]}
    return {
        "workflowId": workflow_id,
        "taskId": tasks["work"],
        "taskReferenceName": "human",
        "taskRefName": "pause",
        "status": "COMPLETED",
        "name": "fuzzed",
        "taskType": "work",
    }


def _still_works(api_url: str) -> None:
    """Check that after all of it a run still goes through."""
    _call(
        "POST", f"{api_url}/metadata/taskdefs", [{"name": "after", "ownerEmail": "f@example.com"}]
    )
    task = {"name": "after", "taskReferenceName": "after", "type": "SIMPLE"}
    _call("PUT", f"{api_url}/metadata/workflow", [{**DEFINITION, "name": "after", "tasks": [task]}])
    workflow_id = _call("POST", f"{api_url}/workflow/after", {}).decode()
    polled = json.loads(_call("GET", f"{api_url}/tasks/poll/after?workerid=w"))
    report = {"workflowInstanceId": workflow_id, "taskId": polled["taskId"], "status": "COMPLETED"}
    _call("POST", f"{api_url}/tasks", report)
    status = json.loads(_call("GET", f"{api_url}/workflow/{workflow_id}"))["status"]
    assert status == "COMPLETED", status


def _call(method: str, url: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())
