"""The calls of the official SDKs that Conductor's open-source server answers, and our share.

A call of these groups is shown by a test, or one of the words below says why not.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.api.test_contract_rows import WHY_LATER

CONTRACT = Path(__file__).parents[4] / "shared" / "contract" / "wire-calls.json"
NO_CONTRACT = "the SDKs' calls are not here: ../shared/contract is absent on this machine"
# Conductor's handlers of the groups workflow, task, metadata, workflow bulk, queue admin, admin,
# health and version. Events, schedules, secrets, environment and agents are other groups.
HANDLERS = {
    "WorkflowResource",
    "WorkflowMessageQueueResource",
    "TaskResource",
    "MetadataResource",
    "WorkflowBulkResource",
    "QueueAdminResource",
    "AdminResource",
    "HealthCheckResource",
    "VersionResource",
}


# What an SDK cannot do itself, though the server answers.
CANNOT: dict[str, dict[tuple[str, str], str]] = {
    "python": {
        ("WorkflowResourceApi", "get_execution_status_task_list"): (
            "answered, and this version of the SDK cannot read any answer: it has no "
            "`TaskListSearchResultSummary`"
        ),
    },
    "javascript": {},
}


@dataclass(frozen=True, order=True)
class Call:
    """A function of an SDK's client and the request it makes."""

    client: str
    function: str
    method: str
    path: str

    @property
    def key(self) -> tuple[str, str]:
        return self.client, self.function

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


def calls_of(sdk: str) -> list[Call]:
    """Give the calls of an SDK that Conductor's server answers in these groups, sorted."""
    if not CONTRACT.is_file():
        return []
    return sorted(
        Call(row["client"], row["function"], row["method"], row["path"])
        for row in json.loads(CONTRACT.read_text("utf-8"))["calls"]
        if row["sdk"] == sdk
        and row["oss"] == "oss"
        and row["oss_handler"].partition(".")[0] in HANDLERS
    )


def why_not(sdk: str, call: Call) -> str | None:
    """Say why a call is not shown; None when it is."""
    return CANNOT[sdk].get(call.key) or WHY_LATER.get(call.line)


def pattern(path: str) -> re.Pattern[str]:
    """Give what matches the requests of a path with variables."""
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
