"""The recorded definitions, what they are given, and what is expected of them."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.corpus.plausible import Json, Plan, all_tasks, inline_children, plan_of
from tests.corpus.walker import Library, Prediction, Walker

# Which way a run takes at its switches: the first case, the second, and none that is named.
VARIANTS = (0, 1, 9)

# Refused with a 400 that names the field, as Conductor does (rule a.1: schemaVersion is 2).
REFUSED = {"068-main_workflow.json": "schemaVersion"}

# What a task of a type would do outside; a generic worker answers it, as one of the user's would.
OUTSIDE = {
    # No definition takes the host of its URL from an input, so no local server can stand in.
    "http": ("HTTP calls a URL; the server is told to leave that to workers", {"HTTP"}),
    "event": ("EVENT tells a queue", {"EVENT"}),
    "messages": ("PULL_WORKFLOW_MESSAGES reads a queue of messages", {"PULL_WORKFLOW_MESSAGES"}),
    "ai": (
        "a model, an index, an agent or a tool server is called",
        {
            "AGENT",
            "CALL_MCP_TOOL",
            "GENERATE_IMAGE",
            "GENERATE_PDF",
            "GENERATE_VIDEO",
            "GET_AGENT_CARD",
            "LIST_MCP_TOOLS",
            "LLM_CHAT_COMPLETE",
            "LLM_GENERATE_EMBEDDINGS",
            "LLM_SEARCH_INDEX",
        },
    ),
}
ALONE = "alone"  # no outside calls at all

# Sub-workflows that definitions name and the corpus has not: each is one task.
CHILDREN = (
    "PopulationMinMax",
    "complex_wf_signal_test_subworkflow_1",
    "integration_test_wf",
    "process_region",
    "some subwf",
    "some workflow",
    "sub_flow_1",
    "sub_workflow",
    "test_task_failed_sub_wf",
)

# Where texts would not do: inputs and outputs that scripts compute with.
_ORDERS = [
    {
        "id": number,
        "customer": {"name": f"c{number % 2}", "email": "c@example.org"},
        "items": [{"name": "pen", "price": 100 * number, "qty": 2}],
        "amount": 100 * number,
    }
    for number in (1, 2, 3)
]
GIVEN: dict[str, dict[str, Json]] = {
    "023-deep_research_agent.json": {
        "decompose": {"result": {"subtopics": ["a", "b"]}},
        "review_coverage": {"result": {"sufficient": True, "nextSubtopics": [], "gaps": []}},
    },
    "038-saga_order_compensation.json": {
        "workflow": {
            "failedWorkflow": {
                "input": {"orderId": "o-1"},
                "tasks": [{"status": "COMPLETED", "referenceTaskName": "charge_payment"}],
            }
        }
    },
    "067-sync_task_variable_updates.json": {
        "workflow": {"persons": [{"email": "p@example.org", "id": 1, "age": 7}]}
    },
    "097-workflow_that_starts_another_workflow.json": {
        "workflow": {"startWorkflow": {"name": "some subwf", "version": 1}}
    },
    "204-jq_advanced_demo.json": {"workflow": {"orders": _ORDERS}},
    "207-mixed_tasks_demo.json": {"fetch_data_ref": {"orders": _ORDERS}},
}


class Case(msgspec.Struct, frozen=True):
    """One start of a definition: what is given, and the end it must come to."""

    key: str
    file: str
    definition: Json
    plans: dict[str, Plan]
    expected: Prediction

    @property
    def given(self) -> Json:
        """The input of the start."""
        return self.plans[self.definition["name"]].input


def load(folder: Path) -> dict[str, Json]:
    """Return the recorded documents by the name of their file."""
    paths = sorted(folder.glob("[0-9]*.json"))
    return {path.name: json.loads(path.read_text("utf-8")) for path in paths}


# The ways that do not end COMPLETED, and what ends them. All others do.
NOT_COMPLETED = {
    "016-conductor_agent_cancel.json/0": ("TERMINATED", "a TERMINATE beside the agent"),
    "079-DO_While_with_Decision_task.json/0": (
        "FAILED",
        "a script calls `get` of Java's List, which JavaScript's lists have not",
    ),
    "086-FanInOutNestedSubWorkflowTest.json/1": (
        "FAILED",
        "a JOIN waits for a task of the case not taken; OSS waits for ever",
    ),
    "086-FanInOutNestedSubWorkflowTest.json/9": ("FAILED", "as the one above"),
    "092-ConditionalTerminateWorkflow.json/1": ("FAILED", "a TERMINATE in the second case"),
    "094-test_terminate_task_failed_wf.json/0": ("FAILED", "a TERMINATE in its way"),
    "173-multi_level_approval.json/0": ("TERMINATED", "a TERMINATE when somebody rejects"),
    "174-quality_gate_demo.json/0": ("FAILED", "a TERMINATE when the tests did not pass"),
    "210-terminate_demo.json/0": ("FAILED", "a TERMINATE when the order is not valid"),
}


def stub(name: str) -> Json:
    """Return a definition of one task, for a sub-workflow that nobody recorded."""
    step = {"name": "generic_step", "taskReferenceName": "generic_step", "type": "SIMPLE"}
    return {"name": name, "version": 1, "tasks": [step]}


def registered(documents: dict[str, Json]) -> list[Json]:
    """Return all that a server is told before runs begin."""
    accepted = [document for file, document in documents.items() if file not in REFUSED]
    return [*map(stub, CHILDREN), *accepted]


def library_of(documents: dict[str, Json]) -> Library:
    """Return what can be named as a sub-workflow, by name and version (0: the only one)."""
    found: Library = {}
    for document in [*documents.values(), *map(stub, CHILDREN)]:
        for version in (0, document.get("version") or 1):
            found[document["name"], version] = document
    return found


def class_of(document: Json) -> str:
    """Say what a definition calls outside; also what it makes or brings along for a fork."""
    inside = [document, *inline_children(document)]
    types = {task.get("type") for one in inside for task in all_tasks(one["tasks"])}
    types |= set(re.findall(r"['\"]([A-Z_]{4,})['\"]", json.dumps(document).replace("\\", "")))
    return next((name for name, (_, own) in reversed(OUTSIDE.items()) if types & own), ALONE)


def cases_of(documents: dict[str, Json]) -> Iterator[Case]:
    """Yield a case for each way through each definition; ways that are the same come once."""
    library = library_of(documents)
    made_up = {"name": "made_up", "tasks": []}
    others = {
        variant: {one["name"]: plan_of(one, variant) for one in [*library.values(), made_up]}
        for variant in VARIANTS
    }
    for file, definition in documents.items():
        if file in REFUSED:
            continue
        seen: list[Any] = []
        for variant in VARIANTS:
            inside = [*inline_children(definition), definition]
            own = {one["name"]: plan_of(one, variant) for one in inside}
            plans = others[variant] | own
            _give(plans[definition["name"]], GIVEN.get(file, {}))
            given = plans[definition["name"]].input
            expected = Walker(library, plans, definition).walk(given)
            way = (expected.status, _whole_trail(expected))
            if way not in seen:
                seen.append(way)
                yield Case(f"{file}/{variant}", file, definition, plans, expected)


def _give(plan: Plan, given: dict[str, Json]) -> None:
    for name, values in given.items():
        target = plan.input if name == "workflow" else plan.outputs.setdefault(name, {})
        target.update(values)


def _whole_trail(expected: Prediction) -> Counter[tuple[str, str]]:
    inner = [_whole_trail(child) for child in expected.children.values()]
    return sum(inner, Counter(expected.trail))
