"""Definitions, as the server has them."""

from batuta.cli.verify.plant.bench import Bench, definitions
from batuta.cli.verify.plant.scene import expect
from batuta.model.error import BatutaError


def task(bench: Bench, name: str) -> str:
    """A task is registered as its file says."""
    found = bench.server.call("get", f"/metadata/taskdefs/{name}")
    _, tasks = definitions()
    wanted = next(one for one in tasks if one["name"] == name)
    other = [key for key, value in wanted.items() if found.get(key) != value]
    expect(not other, f"it has another {', '.join(other)}")
    return f"{found['retryCount']} retries, {found['timeoutSeconds']} s"


def workflow(bench: Bench, name: str) -> str:
    """A workflow is registered with each of its tasks."""
    found = bench.server.call("get", f"/metadata/workflow/{name}?version=1")
    workflows, _ = definitions()
    wanted = next(one for one in workflows if one["name"] == name)
    names = [one["taskReferenceName"] for one in found["tasks"]]
    expect(names == [one["taskReferenceName"] for one in wanted["tasks"]], f"its tasks are {names}")
    return f"version {found['version']} with {len(names)} tasks at its top"


def valid(bench: Bench, _: str) -> str:
    """Each is accepted by the server's own validation."""
    workflows, _tasks = definitions()
    for one in workflows:
        try:
            bench.server.call("post", "/metadata/workflow/validate", one)
        except BatutaError as error:
            expect(False, f"{one['name']}: {error.message}")
    return f"{len(workflows)} definitions"
