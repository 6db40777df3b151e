"""Paths, nodes and errors of the graph engine beside its numbered scenarios. Source: S1.1, S1.3."""

from typing import Any

import pytest

from tests.dialects.conftest import Served, memory, served
from tests.dialects.graphs import ended, graph, kept, node, started, words


async def test_a_workflow_is_kept_changed_listed_and_removed(server: Served) -> None:
    workflow_id = await kept(server, graph([node("a"), node("b")], "a>b"))

    found = (await server.ask(f"GET /workflows/{workflow_id}")).json
    assert found["edges"][0]["id"] == "a->b"
    flat = await server.ask(f"PUT /workflows/{workflow_id}", {**found, "name": "new"})
    nested = await server.ask(f"PUT /workflows/{workflow_id}", graph([node("z")]))
    neither = await server.ask(f"PUT /workflows/{workflow_id}", {"name": "x"})

    assert (flat.status, flat.json["name"]) == (200, "new")
    assert nested.json["nodes"] == [node("z")]
    assert nested.json["createdAt"] == found["createdAt"]
    assert neither.status == 400
    [listed] = (await server.ask("GET /workflows")).json
    assert listed == {
        "id": workflow_id,
        "name": "a graph",
        "updatedAt": nested.json["updatedAt"],
    }
    assert (await server.ask(f"DELETE /workflows/{workflow_id}")).json == {"deleted": True}
    assert (await server.ask(f"GET /workflows/{workflow_id}")).status == 404


async def test_a_run_is_shown_under_its_workflow_and_only_there(server: Served) -> None:
    document = graph([node("a")])
    workflow_id, other_id = await kept(server, document), await kept(server, document)
    answer = await server.ask(f"POST /workflows/{workflow_id}/execute", {})
    run_id = answer.json["runId"]

    for tail in ("", "/status", "/logs"):
        assert (await server.ask(f"GET /workflows/{workflow_id}/runs/{run_id}{tail}")).status == 200
        other = await server.ask(f"GET /workflows/{other_id}/runs/{run_id}{tail}")
        assert other.status == 404
    plain = await server.ask(f"GET /workflows/runs/{run_id}/logs")
    assert [one["type"] for one in plain.json["logs"]] == ["system", "node-output"]
    assert (await server.ask(f"POST /workflows/{other_id}/runs/{run_id}/cancel")).status == 404


async def test_trigger_finds_the_door_whose_workflow_it_is(server: Served) -> None:
    workflow_id = await kept(server, graph([node("a")]))

    ours = await server.ask(f"POST /workflows/{workflow_id}/trigger", {"input": {}})
    theirs = await server.ask("POST /workflows/sample-user-signup/trigger", {"payload": {}})
    nobody = await server.ask("POST /workflows/nothing/trigger", {})

    assert (ours.status, list(ours.json)) == (201, ["runId"])
    assert (theirs.status, "instanceId" in theirs.json) == (202, True)
    assert nobody.status == 404
    assert "definition" in nobody.json["message"], "in the words of the first that was asked"


async def test_a_run_is_a_workflow_of_the_engine_too(server: Served) -> None:
    run_id = await started(server, graph([node("a")]))
    await server.ended(run_id)

    shown = (await server.ask(f"GET /api/workflow/{run_id}")).json

    assert shown["status"] == "COMPLETED"
    assert [task["taskType"] for task in shown["tasks"]] == ["DAG", "workflow-tasks"]


async def test_a_call_that_fails_is_data_for_the_nodes_behind_it(server: Served) -> None:
    call = node("call", "apiCall", url="http://localhost:3000/workflows/api/mock/{{what}}")
    choose = node(
        "if",
        "ifElse",
        condition={"targetField": "success", "validationLogic": {"==": [{"var": "value"}, True]}},
    )
    nodes = [call, choose, node("ok"), node("sad", "notification", template="{{status}} {{error}}")]

    shown = await ended(
        server,
        graph(nodes, "call>if", "if:out-true>ok", "if:out-false>sad"),
        {"what": "nothing"},
    )

    assert shown["status"] == "succeeded"
    assert words(shown)["ok"] == "skipped"
    assert shown["logs"][-1]["message"] == "404 HTTP 404"


async def test_a_target_that_is_not_allowed_is_data_too(server: Served) -> None:
    call = node("call", "apiCall", url="http://169.254.169.254/latest/meta-data")
    nodes = [call, node("say", "notification", template="{{status}} {{error}}")]

    shown = await ended(server, graph(nodes, "call>say"))

    assert shown["logs"][-1]["message"].startswith("0 ")
    assert "metadata" in shown["logs"][-1]["message"]


async def test_what_an_author_writes_is_no_expression_of_the_engine(server: Served) -> None:
    nodes = [node("${x}", "notification", template="${workflow.input} {{ n }}")]

    shown = await ended(server, graph(nodes), {"n": "${workflow.workflowId}"})

    assert shown["tasks"][0]["nodeId"] == "${x}"
    assert shown["logs"][-1]["message"] == "${workflow.input} ${workflow.workflowId}"


async def test_the_mock_service_answers_over_http_too(server: Served) -> None:
    weather = await server.ask("GET /workflows/api/test-weather?city=Oslo")
    cooling = await server.ask("POST /workflows/api/mock/building/ac/control", {"zone": "z"})

    assert weather.json["city"] == "Oslo"
    assert cooling.json["zone"] == "z"


@pytest.mark.parametrize("body", [[], {"input": 3}, {"inputs": {}}])
async def test_a_start_with_a_wrong_body_is_refused(server: Served, body: Any) -> None:
    workflow_id = await kept(server, graph([node("a")]))

    answer = await server.ask(f"POST /workflows/{workflow_id}/execute-async", body)

    assert answer.status == 400
    assert isinstance(answer.json["message"], list)
    assert (await server.ask(f"GET /workflows/{workflow_id}/runs")).json == []


async def test_a_node_left_out_is_shown_by_the_engine_in_its_turn(server: Served) -> None:
    choose = node("if", "ifElse", condition={"targetField": "n"})
    document = graph([choose, node("yes"), node("no")], "if:out-true>yes", "if:out-false>no")
    run_id = await started(server, document, {"n": 1})
    await server.ended(run_id)

    tasks = (await server.ask(f"GET /api/workflow/{run_id}")).json["tasks"]

    assert [task["seq"] for task in tasks] == [1, 2, 3, 4]
    [left] = [task for task in tasks if task["status"] == "SKIPPED"]
    assert left["referenceTaskName"] == "no"
    assert "left out" in left["reasonForIncompletion"]


async def test_templates_of_calls_are_kept_changed_grouped_and_removed(server: Served) -> None:
    given = {"name": "Ask", "category": "Own", "url": "http://example.com/{{x}}", "method": "GET"}

    made = await server.ask("POST /api-templates", {**given, "headers": [{"key": "a"}]})
    where = f"/api-templates/{made.json['id']}"
    changed = await server.ask(f"PUT {where}", {"name": "Ask twice", "id": made.json["id"]})
    listed = (await server.ask("GET /api-templates")).json
    grouped = (await server.ask("GET /api-templates/grouped")).json

    assert made.status == 201
    assert made.json.items() >= {**given, "isBundled": False}.items()
    assert changed.json["name"] == "Ask twice"
    assert changed.json["headers"] == [{"key": "a"}]
    assert listed[0] == (await server.ask(f"GET {where}")).json == changed.json
    assert [one["id"] for one in grouped["Own"]] == [made.json["id"]]
    assert len(grouped["Mock services"]) == len(listed) - 1
    assert (await server.ask(f"DELETE {where}")).json == {"deleted": True}
    gone = await server.ask(f"GET {where}")
    assert (gone.status, gone.json["message"]) == (404, "API template not found")


async def test_each_bundled_template_is_a_call_that_succeeds(server: Served) -> None:
    templates = (await server.ask("GET /api-templates")).json
    assert all(one["isBundled"] for one in templates)
    nodes = [
        node(
            one["id"],
            "apiCall",
            **{k: one[k] for k in ("url", "method", "bodyTemplate") if k in one},
        )
        for one in templates
    ]

    shown = await ended(server, graph(nodes), {"city": "Oslo", "zone": "lobby"})

    said = [one["message"] for one in shown["logs"] if one["type"] == "node-output"]
    assert len(said) == len(nodes)
    assert all(" 200 " in one for one in said), said


async def test_a_bundled_template_stays_as_it_is(server: Served) -> None:
    for line in ("PUT /api-templates/test-weather", "DELETE /api-templates/test-weather"):
        answer = await server.ask(line, {"name": "mine"})
        assert (answer.status, answer.json["error"]) == (409, "Conflict")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "the body must be an object"),
        ({"name": "x"}, "url must be a string that is not empty"),
        ({"url": "x"}, "name must be a string that is not empty"),
        ({"name": "x", "url": 1}, "url must be a string"),
        ({"name": "x", "url": "y", "headers": {}}, "headers must be an array"),
        ({"name": "x", "url": "y", "timeoutMs": True}, "timeoutMs must be a positive number"),
        ({"name": "x", "url": "y", "colour": 1}, "colour should not exist"),
    ],
)
async def test_a_template_that_cannot_be_a_call_is_refused(
    server: Served, body: Any, told: str
) -> None:
    answer = await server.ask("POST /api-templates", body)

    assert answer.status == 400
    assert told in answer.json["message"]


async def test_the_queues_are_shown_with_what_waits_and_what_is_in_hand() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        await started(server, graph([node("a"), node("b"), node("c")]))
        await server.engine.poll("workflow-tasks", worker_id="w", count=1, wait_ms=0)

        shown = (await server.ask("GET /workflows/queues")).json
        known = (await server.ask("GET /api/batuta/status")).json["queues"]

    await store.close()
    assert shown == [
        {"name": "workflow-tasks", "waiting": 2, "active": 1},
        {"name": "workflow-dependencies", "waiting": 0, "active": 0},
    ]
    depths = {one["queue"]: (one["ready"], one["leased"]) for one in known}
    assert (depths["workflow-tasks"], depths["workflow-dependencies"]) == ((2, 1), (0, 0))
