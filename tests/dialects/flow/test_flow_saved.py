"""Saved flows with their versions, and templates to begin with."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from batuta.dialects.flow import catalog
from batuta.dialects.flow.definition import read_nodes
from batuta.dialects.flow.lower import lowered
from batuta.dialects.flow.template import templates
from tests.dialects.conftest import Served, memory, served
from tests.dialects.flow.flows import doing, echo, node, outputs, records, ref, status

FLOWS = "/workflow/flows"
SAMPLES = {
    "sample-story-video-workflow": "story-to-scenes",
    "test-workflow": "test-workflow",
    "test-multi-node-workflow": "test-multi-node-workflow",
}


async def saved(server: Served, *nodes: dict[str, Any], **more: Any) -> Any:
    """Save a flow and return it."""
    answer = await server.ask(f"POST {FLOWS}", {"name": "mine", "nodes": list(nodes), **more})
    assert answer.status == 201, answer.body
    return answer.json


async def test_a_flow_is_saved_read_listed_and_removed(server: Served) -> None:
    made = await saved(server, node("a", text="t"), description="d")
    assert (made["version"], made["nodeCount"]) == (1, 1)
    assert made["nodes"] == [node("a", text="t")]

    assert (await server.ask(f"GET {FLOWS}/{made['id']}")).json == made
    [line] = (await server.ask(f"GET {FLOWS}")).json
    assert line == {name: value for name, value in made.items() if name != "nodes"}

    assert (await server.ask(f"DELETE {FLOWS}/{made['id']}")).json == {"success": True}
    assert (await server.ask(f"GET {FLOWS}")).json == []
    for line in (f"GET {FLOWS}/{made['id']}", f"DELETE {FLOWS}/{made['id']}"):
        answer = await server.ask(line)
        assert (answer.status, answer.json) == (404, {"error": "Flow not found"})


async def test_each_change_is_a_version_and_the_old_ones_stay(server: Served) -> None:
    made = await saved(server, node("a", text="one"))
    where = f"{FLOWS}/{made['id']}"
    changed = await server.ask(f"PUT {where}", {"name": "new", "nodes": [node("a", text="two")]})

    assert (changed.status, changed.json["version"]) == (200, 2)
    assert (await server.ask(f"GET {where}")).json == changed.json
    assert (await server.ask(f"GET {where}?version=1")).json == made
    versions = (await server.ask(f"GET {where}/versions")).json
    assert [(one["version"], one["name"]) for one in versions] == [(2, "new"), (1, "mine")]
    assert (await server.ask(f"GET {FLOWS}")).json[0]["name"] == "new"
    missing = await server.ask(f"GET {where}?version=3")
    assert (missing.status, missing.json) == (404, {"error": "Flow version not found"})


async def test_versions_that_are_saved_at_once_are_all_kept(server: Served) -> None:
    made = await saved(server, node("a"))
    where = f"{FLOWS}/{made['id']}"
    body = {"nodes": [node("a")]}

    answers = await asyncio.gather(*(server.ask(f"PUT {where}", body) for _ in range(8)))

    assert sorted(answer.json["version"] for answer in answers) == list(range(2, 10))
    assert (await server.ask(f"GET {FLOWS}")).json[0]["version"] == 9


async def test_of_very_many_versions_the_newest_are_kept(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "VERSIONS_MAX", 3)
    made = await saved(server, node("a"))
    where = f"{FLOWS}/{made['id']}"
    for _ in range(4):
        await server.ask(f"PUT {where}", {"nodes": [node("a")]})

    versions = (await server.ask(f"GET {where}/versions")).json
    assert [one["version"] for one in versions] == [5, 4, 3]


async def test_a_saved_flow_runs_in_its_last_version_or_another(server: Served) -> None:
    made = await saved(server, node("a", text="one"), node("b", text=ref("a", "text")))
    where = f"{FLOWS}/{made['id']}"
    await server.ask(f"PUT {where}", {"name": "mine", "nodes": [node("a", text="two")]})

    given: list[Any] = []
    async with doing(server, echo=echo):
        for body in ({}, {"version": 1}, {"version": 1, "workflowName": "named"}):
            workflow_id = (await server.ask(f"POST {where}/run", body)).json["workflowId"]
            await server.ended(workflow_id)
            given.append([one["text"] for one in outputs(await status(server, workflow_id))])

    assert given == [["two"], ["one", "one"], ["one", "one"]]
    assert [one["workflowName"] for one in await records(server)] == ["named", "mine", "mine"]


async def test_saved_flows_survive_a_restart() -> None:
    store = memory()
    async with served(store) as server:
        made = await saved(server, node("a"))
    async with served(store) as server:
        assert (await server.ask(f"GET {FLOWS}/{made['id']}")).json == made
    await store.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Nodes array is required"),
        ({"nodes": [{}]}, "nodes[0].id must be a string that is not empty"),
        ({"nodes": [node("a")], "name": 5}, "name must be a string"),
        ({"nodes": [node("a")], "name": "x" * 300}, "name must be a string"),
        ({"nodes": [node("a")], "description": []}, "description must be a string"),
    ],
)
async def test_a_flow_that_could_not_be_run_is_not_saved(
    server: Served, body: Any, error: str
) -> None:
    made = await saved(server, node("a"))
    for line in (f"POST {FLOWS}", f"PUT {FLOWS}/{made['id']}"):
        answer = await server.ask(line, body)
        assert answer.status == 400
        assert error in answer.json["error"]

    assert (await server.ask(f"GET {FLOWS}/{made['id']}/versions")).json[0]["version"] == 1


async def test_templates_are_listed_and_shown(server: Served) -> None:
    lines = {one["name"]: one for one in (await server.ask("GET /workflow/templates")).json}

    assert {name: one["nodeCount"] for name, one in lines.items()} == {
        "story-to-scenes": 10,
        "test-multi-node-workflow": 2,
        "test-workflow": 1,
    }
    for name, one in lines.items():
        shown = (await server.ask(f"GET /workflow/templates/{name}")).json
        assert shown["workflowName"] == one["workflowName"]
        assert len(lowered(read_nodes(shown)).definition.tasks) == one["nodeCount"]


@pytest.mark.parametrize(
    "name", ["nothing", "..%2f..%2fetc%2fpasswd", "%2e%2e", "story-to-scenes.json"]
)
async def test_a_template_that_is_not_there_is_not_found(server: Served, name: str) -> None:
    answer = await server.ask(f"GET /workflow/templates/{name}")

    assert (answer.status, answer.json) == (404, {"error": "Template not found"})


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_template_has_the_nodes_and_references_of_the_original(
    shared_data: Path, sample: str
) -> None:
    original = json.loads((shared_data / "s0" / f"{sample}.json").read_text("utf-8"))

    ours = templates()[SAMPLES[sample]]

    assert [_shape(one) for one in ours.nodes] == [_shape(one) for one in original["nodes"]]


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_original_s_own_flows_can_be_run(shared_data: Path, sample: str) -> None:
    original = json.loads((shared_data / "s0" / f"{sample}.json").read_text("utf-8"))

    definition = lowered(read_nodes(original)).definition

    assert [task.name for task in definition.tasks] == [one["type"] for one in original["nodes"]]


def _shape(one: dict[str, Any]) -> dict[str, Any]:
    """Return a node without the texts that people wrote into it."""
    config = {
        key: value if not isinstance(value, str) or "rompt" not in key else "a text"
        for key, value in one["config"].items()
    }
    return {**one, "config": config}
