"""A simple workflow, whose one task the check does itself."""

from batuta.cli.verify.plant.bench import Bench, Json
from batuta.cli.verify.plant.scene import expect, once

NAME, TASK = "verify-simple", "verify_simple_task"
DOCUMENT: Json = {
    "name": NAME,
    "version": 1,
    "outputParameters": {"sum": "${add.output.sum}"},
    "tasks": [
        {
            "name": TASK,
            "taskReferenceName": "add",
            "type": "SIMPLE",
            "inputParameters": {"a": "${workflow.input.a}", "b": 2},
        }
    ],
}


@once
def played(bench: Bench) -> Json:
    """Start it, take its task, do it; note what it was at each moment."""
    server = bench.server
    server.call("put", "/metadata/workflow", [DOCUMENT])
    workflow_id = server.begin(NAME, {"a": 40})
    seen = [_task(bench, workflow_id)["status"]]
    polled = server.call("get", f"/tasks/poll/{TASK}?workerid=verify")
    seen.append(_task(bench, workflow_id)["status"])
    expect(polled, "the poll brought no task")
    given = polled["inputData"]
    report = {
        "workflowInstanceId": workflow_id,
        "taskId": polled["taskId"],
        "status": "COMPLETED",
        "outputData": {"sum": given["a"] + given["b"]},
    }
    server.call("post", "/tasks", report)
    seen.append(_task(bench, workflow_id)["status"])
    return {"id": workflow_id, "seen": seen, "polled": polled, "run": server.end(workflow_id)}


def started(bench: Bench, _: str) -> str:
    """The start is answered with an id."""
    return f"its id is {played(bench)['id']}"


def visible(bench: Bench, _: str) -> str:
    """It is among the runs that the page shows."""
    workflow_id = played(bench)["id"]
    found = bench.server.call("get", "/batuta/status")["recent"]
    expect(workflow_id in {one["workflowId"] for one in found}, "it is not among them")
    return f"it is among the latest {len(found)}, which the page shows"


def picked_up(bench: Bench, _: str) -> str:
    """A worker is given its task."""
    polled = played(bench)["polled"]
    expect(polled["workerId"] == "verify", f"{polled.get('workerId')} has it")
    return f"task {polled['taskId']}"


def states(bench: Bench, _: str) -> str:
    """Its states come in order."""
    seen = played(bench)["seen"]
    expect(seen == ["SCHEDULED", "IN_PROGRESS", "COMPLETED"], f"it was {seen}")
    return " -> ".join(seen)


def completed(bench: Bench, _: str) -> str:
    """The run completes."""
    status = played(bench)["run"]["status"]
    expect(status == "COMPLETED", f"it is {status}")
    return str(status)


def output(bench: Bench, _: str) -> str:
    """Its output is what its task gave."""
    found = played(bench)["run"]["output"]
    expect(found == {"sum": 42}, f"it is {found}")
    return str(found)


def _task(bench: Bench, workflow_id: str) -> Json:
    found: Json = bench.server.call("get", f"/workflow/{workflow_id}")["tasks"][0]
    return found
