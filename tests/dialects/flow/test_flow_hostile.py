"""Flows that cannot be meant: refused with the field and the fault, and nothing is started."""

import json
from typing import Any

import pytest

from batuta.dialects.flow import dialect
from tests.dialects.conftest import Served
from tests.dialects.flow.flows import doing, echo, ended, node, outputs, records, ref

ID = "nodes[0].id must be a string that is not empty"
BRACES = "nodes[1].config.x.outputKey may hold no braces"


@pytest.mark.parametrize(
    ("nodes", "error"),
    [
        ([None], "nodes[0] must be an object"),
        ([["id", "a"]], "nodes[0] must be an object"),
        ([{"type": "echo"}], ID),
        ([{"id": 7, "type": "echo"}], ID),
        ([{"id": "  ", "type": "echo"}], ID),
        ([{"id": "a" * 256, "type": "echo"}], "nodes[0].id must be 255 characters at most"),
        ([{"id": "a"}], "nodes[0].type must be a string that is not empty"),
        ([{"id": "a", "type": {}}], "nodes[0].type must be a string that is not empty"),
        ([node("a"), node("a")], "nodes[1].id 'a' is taken by nodes[0]"),
        ([node("a", more={"config": []})], "nodes[0].config must be an object"),
        ([node("a", more={"config": "x"})], "nodes[0].config must be an object"),
        ([node("a", more={"execution": 1})], "nodes[0].execution must be an object"),
        (
            [node("a", more={"execution": {"mode": "both"}})],
            "nodes[0].execution.mode must be one of parallel, sequential",
        ),
        (
            [node("a", more={"execution": {"waitForAll": "yes"}})],
            "nodes[0].execution.waitForAll must be true or false",
        ),
        ([node("a", more={"retry": 3})], "nodes[0].retry must be an object"),
        (
            [node("a", more={"retry": {"count": -1}})],
            "nodes[0].retry.count must be a whole number from 0 to 100",
        ),
        (
            [node("a", more={"retry": {"count": True}})],
            "nodes[0].retry.count must be a whole number from 0 to 100",
        ),
        (
            [node("a", more={"retry": {"count": False}})],
            "nodes[0].retry.count must be a whole number from 0 to 100",
        ),
        (
            [node("a", more={"execution": {"mode": []}})],
            "nodes[0].execution.mode must be one of parallel, sequential",
        ),
        (
            [node("a", more={"retry": {"delaySeconds": 1.5}})],
            "nodes[0].retry.delaySeconds must be a whole number from 0 to 604800",
        ),
        (
            [node("a", more={"retry": {"backoff": "never"}})],
            "nodes[0].retry.backoff must be one of fixed, linear, exponential",
        ),
        (
            [node("a", more={"timeoutSeconds": 0})],
            "nodes[0].timeoutSeconds must be a whole number from 1 to 604800",
        ),
        (
            [node("a", more={"timeoutSeconds": 10**30})],
            "nodes[0].timeoutSeconds must be a whole number from 1 to 604800",
        ),
        ([node("a"), node("b", x=ref(7, "k"))], "nodes[1].config.x.nodeId must be a string"),
        ([node("a"), node("b", x=ref("a", {}))], "nodes[1].config.x.outputKey must be a string"),
        (
            [node("a"), node("b", x=[{"y": ref("a", "k" * 256)}])],
            "nodes[1].config.x[0].y.outputKey must be 255 characters at most",
        ),
        ([node("a"), node("b", x=ref("a", "k}${workflow.input"))], BRACES),
        ([node("a"), node("b", x=ref("a", "{"))], BRACES),
    ],
)
async def test_a_faulty_node_is_refused_by_its_field(
    server: Served, nodes: list[Any], error: str
) -> None:
    async with doing(server, echo=echo):
        answer = await server.ask("POST /workflow/run", {"nodes": nodes})

    assert (answer.status, answer.json) == (400, {"error": error})
    assert (await server.engine.status()).counts == {}


async def test_every_fault_is_told_up_to_a_limit(server: Served) -> None:
    both = await server.ask("POST /workflow/run", {"nodes": [{"id": "a"}, {"type": "echo"}]})
    many = await server.ask("POST /workflow/run", {"nodes": [{}] * 500})

    assert both.json["error"].count("must be a string") == 2
    assert many.json["error"].endswith("; and 980 more")


async def test_an_unknown_node_type_is_refused_by_its_name(server: Served) -> None:
    async with doing(server, echo=echo):
        nodes = [node("a"), node("b", "no_such_type"), node("c", "echo:other")]
        answer = await server.ask("POST /workflow/run", {"nodes": nodes})

    assert answer.status == 400
    told = answer.json["error"]
    assert "nodes[1].type is unknown: 'no_such_type'" in told
    assert "nodes[2].type is unknown: 'echo:other'" in told
    assert "nodes[0]" not in told


async def test_a_worker_whose_hands_are_full_is_there(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.ask("GET /api/tasks/poll/slow")
    body = {"nodes": [node("a", "slow")]}
    assert (await server.ask("POST /workflow/run", body)).status == 200
    monkeypatch.setattr(dialect, "POLLED_MS", -60_000)  # no poll is late enough

    assert (await server.ask("POST /workflow/run", body)).status == 400
    assert len(await server.engine.poll("slow")) == 1
    assert (await server.ask("POST /workflow/run", body)).status == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"workflowName": 5}, "workflowName must be a string"),
        ({"workflowName": "n" * 256}, "workflowName must be 255 characters at most"),
    ],
)
async def test_a_name_that_is_none_is_refused(server: Served, body: Any, error: str) -> None:
    answer = await server.ask("POST /workflow/run", {"nodes": [node("a")], **body})

    assert (answer.status, answer.json) == (400, {"error": error})


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff",
        b'{"nodes":[{"id":"a","type":"echo","config":{"x":"\\ud800"}}]}',
        b'{"nodes":[{"id":"a","type":"echo","config":{"x":1e999}}]}',
        b'{"nodes":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
async def test_a_body_that_is_no_json_is_refused_in_our_words(server: Served, raw: bytes) -> None:
    answer = await server.ask("POST /workflow/run", raw=raw)

    assert answer.status == 400
    assert list(answer.json) == ["error"]


async def test_too_many_nodes_are_refused(server: Served) -> None:
    nodes = [node(f"n{number}") for number in range(1_001)]

    answer = await server.ask("POST /workflow/run", {"nodes": nodes})

    assert (answer.status, answer.json) == (400, {"error": "nodes must have 1000 items at most"})


async def test_what_looks_like_an_expression_is_a_text(server: Served) -> None:
    config = {
        "a": "${workflow.input.workflowName}",
        "b": "$${x} ${",
        "${c}": ["${node_1.output}", {"d": "}${"}],
        "_type": "no reference",
    }
    async with doing(server, echo=echo):
        found = await ended(server, node("${x}", **config))

    assert outputs(found) == [{**config, "nodeType": "echo"}]
    assert found["nodeStatuses"] == [{"id": "${x}", "status": "completed"}]


async def test_a_config_s_keys_may_be_any_text_beside_a_reference(server: Served) -> None:
    keys = ["a b", "${k}", "}", "it's", 'say "x"', "", "a.b", "*", "[0]", "ä", "b\\c", "n" * 300]
    config = {key: [number, None] for number, key in enumerate(keys)}
    async with doing(server, echo=echo):
        found = await ended(
            server, node("a", v=42), node("b", **config, _type="x", r=ref("a", "v"))
        )

    assert outputs(found)[1] == {**config, "_type": "x", "r": 42, "nodeType": "echo"}
    assert list(outputs(found)[1])[: len(keys)] == keys


@pytest.mark.parametrize("key", ["a'b", 'a"b', "a\\b", "a b", "ä", "a.b.", "[0]", "*", "..x", "$"])
async def test_an_output_s_key_is_a_key_whatever_it_looks_like(server: Served, key: str) -> None:
    async with doing(server, echo=echo):
        found = await ended(server, node("a", **{key: 42}), node("b", x=ref("a", key)))

    assert outputs(found)[1]["x"] == 42


@pytest.mark.parametrize("node_id", ["__proto__", "node_2", "workflow", "../../etc", "a\nb", "ü"])
async def test_a_node_s_id_may_be_any_text(server: Served, node_id: str) -> None:
    async with doing(server, echo=echo):
        found = await ended(server, node(node_id, v=1), node("b", v=ref(node_id, "v")))

    assert outputs(found)[1]["v"] == 1
    assert found["results"][0]["nodeId"] == node_id


async def test_a_type_that_the_engine_knows_is_a_worker_s_all_the_same(server: Served) -> None:
    async with doing(server, TERMINATE=echo):
        found = await ended(server, node("a", "TERMINATE", terminationStatus="FAILED"))

    assert found["status"] == "completed"
    assert outputs(found) == [{"terminationStatus": "FAILED", "nodeType": "TERMINATE"}]


async def test_huge_configs_are_carried_whole(server: Served) -> None:
    text = "x" * 900_000  # the server of these tests takes bodies of a megabyte
    async with doing(server, echo=echo):
        found = await ended(server, node("a", text=text), node("b", text=ref("a", "text")))

    assert [len(one["text"]) for one in outputs(found)] == [len(text)] * 2


@pytest.mark.parametrize("body", [{"reason": 5}, {"reason": "x" * 1_001}])
async def test_a_reason_that_is_none_is_refused(server: Served, body: Any) -> None:
    answer = await server.ask("POST /workflow/any/cancel", body)

    expected = {"error": "reason must be a string of 1,000 characters at most"}
    assert (answer.status, answer.json) == (400, expected)


async def test_a_wrong_method_or_path_is_refused_in_our_words(server: Served) -> None:
    for line, wanted in (("PUT /workflow/run", 405), ("GET /workflow/x/y/z/w", 404)):
        answer = await server.ask(line)
        assert answer.status == wanted
        assert list(json.loads(answer.body)) == ["error"]
    assert await records(server) == []
