"""The server and its page."""

import re

from batuta.cli.checklist.item import AbsentError
from batuta.cli.verify.plant.bench import Bench, timed
from batuta.cli.verify.plant.scene import expect, good_pipeline
from batuta.cli.verify.plant.wire import fetch

METRIC_NAMES = (
    "conductor_workflow_execution_total",
    "conductor_workflow_execution_duration_seconds",
    "conductor_workflow_active_count",
    "conductor_task_execution_total",
    "k1_firmware_builds_total",
)


def starts(bench: Bench, _: str) -> str:
    """It starts without a word of trouble."""
    trouble = bench.server.child.trouble()
    expect(not trouble, f"it says {trouble[:1]}")
    return f"it serves at {bench.server.url}"


def healthy(bench: Bench, _: str) -> str:
    """It says that it is well."""
    found = bench.server.call("get", "/health")
    expect(found["healthy"] is True, f"it says {found}")
    return "GET /health says healthy: true"


def search(bench: Bench, _: str) -> str:
    """It finds runs."""
    run = good_pipeline(bench)
    query = f"workflowId%20%3D%20'{run['workflowId']}'"
    found = bench.server.call("get", f"/workflow/search?query={query}")
    expect(found["totalHits"] == 1, f"it finds {found['totalHits']} of one")
    return "a run is found by its id"


def page(bench: Bench, _: str) -> str:
    """The page is there, with what it loads."""
    status, content = fetch(f"{bench.server.url}/")
    expect(status == 200, f"GET / answers {status}")
    assets = re.findall(r'(?:src|href)="/?(assets/[^"]+)"', content.decode("utf-8", "replace"))
    for asset in assets:
        status, _content = fetch(f"{bench.server.url}/{asset}")
        expect(status == 200, f"GET /{asset} answers {status}")
    return f"GET / and {len(assets)} files that it loads"


def page_of_runs(bench: Bench, _: str) -> str:
    """The page's own data has the latest runs."""
    run = good_pipeline(bench)
    page(bench, "")
    shown = {one["workflowId"] for one in bench.server.call("get", "/batuta/status")["recent"]}
    expect(run["workflowId"] in shown, "a run that has just ended is not among them")
    return f"it shows the latest {len(shown)} runs"


def get(bench: Bench, path: str) -> str:
    """A call answers."""
    seconds = timed(bench.server, path.removeprefix("/api"))
    return f"GET {path} answers in {seconds * 1_000:.0f} ms"


def swagger(bench: Bench, _: str) -> str:
    """The API's pages are where Conductor has them."""
    status, _content = fetch(f"{bench.server.url}/swagger-ui/index.html")
    if status == 404:
        raise AbsentError("the API's pages are /docs and /api-docs; there is none at /swagger-ui")
    expect(status == 200, f"it answers {status}")
    return "GET /swagger-ui/index.html"


def metrics(bench: Bench, _: str) -> str:
    """The metrics can be read."""
    return f"{len(_metrics(bench).splitlines())} lines at /actuator/prometheus"


def metric_names(bench: Bench, _: str) -> str:
    """They have the names that dashboards and alerts read."""
    good_pipeline(bench)
    text = _metrics(bench)
    missing = [name for name in METRIC_NAMES if name not in text]
    expect(not missing, f"there is no {', '.join(missing)}")
    return f"all {len(METRIC_NAMES)} names are there"


def _metrics(bench: Bench) -> str:
    status, content = fetch(f"{bench.server.url}/actuator/prometheus")
    if status == 404:
        raise AbsentError("metrics of the server come later")
    expect(status == 200, f"it answers {status}")
    return content.decode("utf-8", "replace")
