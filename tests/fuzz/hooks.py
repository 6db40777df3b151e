"""What schemathesis loads: requests wait shortly, and may name runs and tasks that exist."""

import itertools
import json
import os
from typing import Any

GIVEN = "BATUTA_TEST_FUZZ_GIVEN"  # the environment variable with what exists, as JSON
LINKED = "BATUTA_TEST_FUZZ_LINKED"  # set: ids come from the answers before, by the links
_REPORTS = {"/api/tasks", "/api/tasks/update-v2"}
# The waits that a client may ask for: an operation that has one is always asked for a short one,
# unless what is asked for is refused anyway.
_WAITS = {"timeout": 50, "timeoutMillis": 50, "waitForSeconds": 1}
_turns = itertools.count()


def before_call(context: Any, case: Any, _: dict[str, Any]) -> None:
    """Put what exists into the path, and into a worker's report on a task; wait shortly."""
    for parameter in context.operation.query:
        if parameter.name in _WAITS:
            asked = (case.query or {}).get(parameter.name)
            if asked is None or isinstance(asked, int) or asked == "null":
                case.query = {**(case.query or {}), parameter.name: _WAITS[parameter.name]}
    runs = json.loads(os.environ[GIVEN])
    if not runs:
        return
    path = case.path_parameters or {}
    run = runs[next(_turns) % len(runs)]
    if LINKED in os.environ:
        _name_what_exists(context, case, run)
        return
    if context.operation.path in _REPORTS:
        if isinstance(case.body, dict):
            ids = {"workflowInstanceId": run["workflowId"], "taskId": run["taskId"]}
            # Every other one keeps a status that may be no status.
            right = {"status": "IN_PROGRESS"} if next(_turns) % 2 else {}
            case.body = {**case.body, **ids, **right}
        return
    case.path_parameters = {name: run.get(name, value) for name, value in path.items()}


def _name_what_exists(context: Any, case: Any, run: dict[str, str]) -> None:
    """Have a sequence begin with a definition and a queue that exist; the rest it knows."""
    operation = f"{context.operation.method.upper()} {context.operation.path}"
    if operation == "POST /api/workflow" and isinstance(case.body, dict):
        case.body = {**case.body, "name": run["name"]}
    elif operation in ("POST /api/workflow/{name}", "GET /api/tasks/poll/{taskType}"):
        path = case.path_parameters or {}
        case.path_parameters = {name: run.get(name, value) for name, value in path.items()}


if GIVEN in os.environ:  # else this is not a process of schemathesis: importing it takes 0.5 s
    import schemathesis

    schemathesis.hook(before_call)
if LINKED in os.environ:
    # The id of a run that was started is a plain text, and the links begin with it.
    schemathesis.deserializer("text/plain")(lambda _context, response: response.content.decode())
