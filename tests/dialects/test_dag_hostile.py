"""What nobody should send to the graph engine: refused in its own words, and nothing kept."""

import json
from typing import Any

import pytest

from batuta.dialects.dag.logic import LogicError, evaluate
from tests.dialects.conftest import Served
from tests.dialects.graphs import above, ended, graph, kept, node, status, words

WRONG = (None, True, 7, -1.5, "text", [], [1], {}, {"a": {}})


def deep(levels: int, operation: str = "!") -> Any:
    """Return a rule in a rule in a rule."""
    rule: Any = {"var": "value"}
    for _ in range(levels):
        rule = {operation: rule}
    return rule


async def refused(
    server: Served, line: str, body: Any = None, *, raw: bytes | None = None
) -> list[str]:
    """Make a request that is answered 400 in the dialect's words; return its sentences."""
    answer = await server.ask(line, body, raw=raw)
    assert answer.status == 400, answer.body
    assert answer.json.keys() == {"message", "error", "statusCode"}
    assert (answer.json["error"], answer.json["statusCode"]) == ("Bad Request", 400)
    told = answer.json["message"]
    return told if isinstance(told, list) else [told]


@pytest.mark.parametrize("field", ["name", "nodes", "edges", "node", "base", "id", "type", "edge"])
async def test_a_wrong_type_anywhere_is_a_sentence_about_its_field(
    server: Served, field: str
) -> None:
    for value in WRONG:
        document = graph([node("a"), node("b")], "a>b")
        flow = document["workflow"]
        match field:
            case "name":
                document["name"] = value
            case "nodes" | "edges":
                flow[field] = value
            case "node":
                flow["nodes"][0] = value
            case "base":
                flow["nodes"][0]["base"] = value
            case "id" | "type":
                flow["nodes"][0]["base"][field] = value
            case _:
                flow["edges"][0]["sourceId"] = value
        fits = (field == "name" and value == "text") or (field == "edges" and value == [])
        if not fits:
            told = await refused(server, "POST /workflows", document)
            assert all(len(one) < 400 for one in told)
    assert len((await server.ask("GET /workflows")).json) <= 1


async def test_ten_thousand_nodes_and_edges_are_refused(server: Served) -> None:
    nodes = [{"base": {"id": f"n{number}", "type": "inputText"}} for number in range(10_000)]
    edges = [{"sourceId": "a", "targetId": "b"}] * 10_001
    two = {"nodes": [node("a"), node("b")], "edges": edges}

    too_many = await refused(server, "POST /workflows", graph(nodes))
    ways = await refused(server, "POST /workflows", {"name": "many", "workflow": two})

    assert too_many == ["workflow.nodes must have 1000 items at most"]
    assert ways == ["workflow.edges must have 10000 items at most"]


async def test_a_thousand_nodes_in_a_circle_are_refused_and_named(server: Served) -> None:
    names = [f"n{number}" for number in range(1_000)]
    ways = [f"{one}>{other}" for one, other in zip(names, [*names[1:], "n0"], strict=True)]

    [told] = await refused(server, "POST /workflows", graph([node(n) for n in names], *ways))

    assert told.startswith("edges ")
    assert "lead round" in told


@pytest.mark.parametrize("levels", [51, 85])
async def test_a_rule_too_deep_to_evaluate_is_refused_when_it_is_kept(
    server: Served, levels: int
) -> None:
    condition = {"predicates": [{"targetField": "n", "validationLogic": deep(levels)}]}

    [told] = await refused(
        server, "POST /workflows", graph([node("a", "ifElse", condition=condition)])
    )

    place = "workflow.nodes.0.base.config.condition.predicates.0.validationLogic"
    assert told == f"{place} must not nest deeper than 50 levels"


async def test_a_rule_as_deep_as_may_be_is_evaluated(server: Served) -> None:
    condition = {"targetField": "n", "validationLogic": deep(49)}

    shown = await ended(server, graph([node("a", "ifElse", condition=condition)]), {"n": 0})

    assert shown["status"] == "succeeded"


async def test_a_body_too_deep_to_read_is_refused(server: Served) -> None:
    body = json.dumps(graph([node("a", condition=1)])).replace(
        '"condition": 1', '"condition": ' + "[" * 5_000 + "]" * 5_000
    )

    told = await refused(server, "POST /workflows", raw=body.encode())

    assert "nests deeper" in told[0]


DOUBLED = {"reduce": [{"var": "value"}, {"cat": [{"var": "accumulator"}] * 2}, "xx"]}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (DOUBLED, "a text of more than"),
        ({"reduce": [{"var": "value"}, {"merge": [{"var": "accumulator"}] * 2}, [1]]}, "more than"),
        ({"reduce": [{"var": "value"}, [{"var": "accumulator"}] * 2, 1]}, "steps"),
        ({"substr": ["text", {"/": [1, 0]}]}, "substr cannot be applied"),
        ({"map": [{"var": "value"}, {"map": [DOUBLED["reduce"][0], 1]}]}, ""),
    ],
)
def test_a_rule_that_grows_without_end_is_stopped(rule: Any, told: str) -> None:
    value = list(range(400))

    if not told:
        assert len(evaluate(rule, {"value": value})) == len(value)
        return
    with pytest.raises(LogicError, match=told):
        evaluate(rule, {"value": value})


@pytest.mark.parametrize(
    "run_id",
    ["..%2F..%2Fetc%2Fpasswd", "%00", "a%0Ab", "x" * 5_000, "%F0%9F%92%A9", "01a1f824", "-1"],
)
async def test_an_id_that_is_none_is_not_found(server: Served, run_id: str) -> None:
    for line in (
        f"GET /workflows/{run_id}",
        f"GET /workflows/runs/{run_id}/status",
        f"POST /workflows/runs/{run_id}/cancel",
        f"POST /workflows/{run_id}/execute-async",
        f"GET /workflows/{run_id}/runs",
        f"GET /api-templates/{run_id}",
    ):
        # Where several front doors have a path, the API words what none of them can read.
        answer = await server.ask(line.replace(" /", " /d/dag/"))
        assert answer.status in {400, 404}, (line, answer.body)
        assert answer.json["statusCode"] == answer.status


@pytest.mark.parametrize(
    "node_id",
    ["../../etc/passwd", "${workflow.input}", "a__1", "x" * 5_000, "\U0001f4a9 ", "graph"],
)
async def test_a_node_may_be_called_anything(server: Served, node_id: str) -> None:
    shown = await ended(server, graph([node(node_id), node("b")], f"{node_id}>b"))

    assert words(shown) == {node_id: "completed", "b": "completed"}


@pytest.mark.parametrize("value", [float("1e308"), 10**4_000, -5])
async def test_a_delay_beyond_all_bounds_is_refused_or_none(server: Served, value: Any) -> None:
    document = graph([node("a", "delay", delayType="days", delayValue=value), node("b")], "a>b")
    if value == -5:
        assert (await ended(server, document))["status"] == "succeeded"
        return

    [told] = await refused(server, "POST /workflows", document)

    assert told.startswith("edges ")


async def test_a_config_of_wrong_types_is_data_or_a_failed_node_and_never_hangs(
    server: Served,
) -> None:
    nodes = [
        node("call", "apiCall", url=5, headers=[1, {"key": 2}], expectedStatusCodes=["x", {}]),
        node("choose", "decision", decisions=[1, {"id": {}}, {"predicates": "all"}]),
        node("if", "ifElse", condition=[above(1)]),
        node("wait", "delay", delayType={}, delayValue=[]),
        node("say", "notification", template={"a": 1}),
    ]
    nodes[3]["base"]["config"]["delayMs"] = 1
    run_id = ""
    workflow_id = await kept(server, graph(nodes))
    run_id = (await server.ask(f"POST /workflows/{workflow_id}/execute-async")).json["runId"]
    await server.ended(run_id)

    shown = await status(server, run_id)

    assert shown["status"] == "succeeded"
    assert words(shown) == dict.fromkeys(["call", "choose", "if", "wait", "say"], "completed")


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\xff", b'{"name": NaN}', b"[" * 100_000])
async def test_what_is_no_json_is_refused(server: Served, body: bytes) -> None:
    for line in ("POST /workflows", "POST /api-templates"):
        await refused(server, line, raw=body)
