"""The section of docs/reference/compatibility.md that says which calls of the SDKs are shown.

Run this file to write it from the SDKs' calls, where ../shared/contract is. The tests hold it
against that list, and against what they really called.
"""

import re
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.sdk.calls.contract import Call, calls_of, why_not

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "compatibility.md"
BEGIN = "<!-- SDKs: written by tests/sdk/calls/page.py -->"
END = "<!-- end of SDKs -->"
NAMES = {"python": "conductor-python 2.0.0", "javascript": "@io-orkes/conductor-javascript 4.0.0"}
# The list's name for requests that no generated class makes.
RAW = "raw client.request (legacy alias or agent client)"
HEAD = """\
## Official SDKs

The packages as they are published, against a live server. Of their calls, those of the groups above
that Conductor's open-source server answers: **shown** calls are made by the tests in `tests/sdk`,
answered, and their answers and errors checked. The other calls of the SDKs are answered as
Conductor's open-source server answers them: 404, or 405. SDKs of other languages are not tested.
"""
NOTES = {
    "python": """\
Also its `TaskHandler`, `TaskRunner`, `AsyncTaskRunner` and `WorkflowExecutor`.
""",
    "javascript": """\
Also its `TaskManager`, `TaskRunner`, `TaskHandler` and `WorkflowExecutor`. The package does not
export AdminResource, QueueAdminResource, VersionResource and `getExecutionStatusTaskList`: their
requests were made by the client's own `get` and `post`.
""",
}
_ROW = re.compile(r"^\| (\S.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
_NAME = re.compile(r"`([^`]+)`")


def table(sdk: str, calls: Sequence[Call]) -> str:
    """Return the table of one SDK."""
    lines = [
        f"### {NAMES[sdk]}",
        "",
        NOTES[sdk],
        "| client | calls shown | calls not shown, and why |",
        "|---|---|---|",
    ]
    for client, group in groupby(calls, key=lambda call: call.client):
        rows = list(group)
        shown = [f"`{call.function}`" for call in rows if not why_not(sdk, call)]
        others = [f"`{call.function}`: {why_not(sdk, call)}" for call in rows if why_not(sdk, call)]
        name = "`client.get`" if client == RAW else client
        lines.append(f"| {name} | {', '.join(shown)} | {'; '.join(others)} |")
    return "\n".join([*lines, ""])


def section() -> str:
    """Return the section as it is to be."""
    tables = [table(sdk, calls_of(sdk)) for sdk in NAMES]
    return "\n".join([BEGIN, HEAD, *tables, END])


def written() -> str:
    """Return the section as it is on the page."""
    text = PAGE.read_text("utf-8")
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def claimed(sdk: str) -> set[tuple[str, str]]:
    """Give the calls that the page says are shown, by client and function."""
    part = written().split(f"### {NAMES[sdk]}")[1].split("\n###")[0]
    return {
        (RAW if client.startswith("`") else client, name)
        for client, shown, _ in _ROW.findall(part)
        if client != "client"
        for name in _NAME.findall(shown)
    }


if __name__ == "__main__":
    if not calls_of("python"):
        sys.exit("the SDKs' calls are not here")
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if rest else "\n"
    PAGE.write_text(before.rstrip() + "\n\n" + section() + after, "utf-8")
