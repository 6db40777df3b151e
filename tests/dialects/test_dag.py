"""The graph engine, by the numbers of its acceptance scenarios (S1.7)."""

import asyncio
import json
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from batuta.model.command import UpdateTask
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.store.sqlite import SqliteStore
from tests.dialects.conftest import Served, memory, served
from tests.dialects.graphs import (
    BROKEN,
    GREETING,
    above,
    ended,
    graph,
    kept,
    node,
    started,
    status,
    times_ms,
    words,
)

BUNDLED = Path(__file__).parents[3] / "shared" / "data" / "s1"


async def test_s1_01_a_start_answers_a_uuid_without_waiting() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        run_id = await started(server, graph([node("a")]))

        assert str(uuid.UUID(run_id)) == run_id
        assert (await status(server, run_id))["status"] == "queued"
    await store.close()


async def test_s1_02_the_status_of_a_running_run_has_exactly_the_documented_keys() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        run_id = await started(server, graph([node("a"), node("b")], "a>b"))
        [polled] = await server.engine.poll("workflow-tasks", worker_id="w", count=1, wait_ms=0)

        shown = await status(server, run_id)

        assert list(shown) == ["status", "startedAt", "finishedAt", "tasks", "logs"]
        assert shown["status"] == "running"
        assert shown["finishedAt"] is None
        assert list(shown["tasks"][0]) == [
            *("id", "nodeId", "nodeType", "status", "startedAt", "completedAt"),
        ]
        assert words(shown) == {"a": "running", "b": "pending"}
        assert list(shown["logs"][0]) == ["id", "type", "message", "timestamp", "nodeId"]
        assert polled.workflow.workflow_id == run_id
    await store.close()


async def test_s1_03_a_notification_logs_its_rendered_text(server: Served) -> None:
    document = graph([node("in"), node("say", "notification", **GREETING)], "in>say")

    shown = await ended(server, document, {"who": {"name": "Ada"}, "tags": ["x", "y"]})

    assert shown["status"] == "succeeded"
    assert shown["finishedAt"].endswith("Z")
    assert words(shown) == {"in": "completed", "say": "completed"}
    told = [one for one in shown["logs"] if one["type"] == "node-output"]
    assert [one["nodeId"] for one in told] == ["in", "say"]
    assert told[1]["message"] == "Hello Ada, y!"


async def test_s1_04_ten_independent_nodes_are_all_offered_at_once() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        await started(server, graph([node(f"n{number}") for number in range(10)]))

        polled = await server.engine.poll("workflow-tasks", worker_id="w", count=20, wait_ms=0)

        assert len(polled) == 10
    await store.close()


async def test_s1_05_where_two_ways_meet_the_node_runs_once_after_both(server: Served) -> None:
    nodes = [node(name) for name in "abcd"]
    document = graph(nodes, "a>b", "a>c", "b>d", "c>d")
    workflow_id = await kept(server, document)

    for _ in range(20):
        answer = await server.ask(f"POST /workflows/{workflow_id}/execute-async")
        run_id = answer.json["runId"]
        await server.ended(run_id)
        shown = await status(server, run_id)
        assert shown["status"] == "succeeded"
        assert [one["nodeId"] for one in shown["logs"]].count("d") == 1
        start_ms, _ = times_ms(shown, "d")
        assert start_ms >= max(times_ms(shown, "b")[1], times_ms(shown, "c")[1])


@pytest.mark.parametrize(("n", "taken", "left"), [(7, "yes", "no"), (3, "no", "yes")])
async def test_s1_06_the_way_not_taken_is_skipped_and_the_counts_add_up(
    server: Served, n: int, taken: str, left: str
) -> None:
    choose = node("if", "ifElse", condition={"predicates": [above(5)], "combiner": "all"})
    document = graph([choose, node("yes"), node("no")], "if:out-true>yes", "if:out-false>no")

    shown = await ended(server, document, {"n": n})

    assert shown["status"] == "succeeded"
    assert words(shown) == {"if": "completed", taken: "completed", left: "skipped"}
    assert shown["result"] == {
        "completedTasks": 2,
        "failedTasks": 0,
        "skippedTasks": 1,
        "totalTasks": 3,
    }


async def test_s1_07_where_the_ways_of_a_branch_meet_the_node_runs(server: Served) -> None:
    choose = node("if", "ifElse", condition=above(5))
    nodes = [choose, node("yes"), node("no"), node("join", "notification", template="n={{n}}")]
    edges = ("if:out-true>yes", "if:out-false>no", "yes>join", "no>join")

    shown = await ended(server, graph(nodes, *edges), {"n": 9})

    assert words(shown) == {
        "if": "completed",
        "yes": "completed",
        "no": "skipped",
        "join": "completed",
    }
    assert shown["logs"][-1]["message"] == "n=9"


async def test_s1_08_a_failing_node_is_tried_three_times_and_fails_the_run(server: Served) -> None:
    document = graph([node("bad", "ifElse", **BROKEN), node("next")], "bad>next")
    run_id = await started(server, document)

    await server.ended(run_id)

    shown = await status(server, run_id)
    assert shown["status"] == "failed"
    assert words(shown) == {"bad": "failed", "next": "skipped"}
    assert "no_such_operation" in shown["tasks"][0]["error"]
    run = await server.engine.get(run_id)
    attempts = [view.task for view in run.tasks if view.task.node_name == "bad"]
    assert [task.status for task in attempts] == [TaskStatus.FAILED] * 3
    gaps_ms = [after.started_at_ms - before.ended_at_ms for before, after in pairwise(attempts)]
    assert 2_000 <= gaps_ms[0] < 3_500
    assert 4_000 <= gaps_ms[1] < 5_500


async def test_s1_09_all_roots_run(server: Served) -> None:
    document = graph([node("a"), node("b"), node("c")], "a>c", "b>c")

    shown = await ended(server, document)

    assert set(words(shown).values()) == {"completed"}


@pytest.mark.parametrize(("n", "run"), [(50, {"small", "big"}), (15, {"small"}), (1, set())])
async def test_s1_10_every_match_of_a_decision_is_followed(
    server: Served, n: int, run: set[str]
) -> None:
    decide = node("d", "decision", decisions=[above(10, id="small"), above(40, id="big")])
    nodes = [decide, node("small"), node("big")]

    shown = await ended(server, graph(nodes, "d:out-small>small", "d:out-big>big"), {"n": n})

    assert shown["status"] == "succeeded"
    done = {name for name, word in words(shown).items() if word == "completed"}
    assert done == {"d", *run}


async def test_s1_11_a_delay_before_three_nodes_counts_once(server: Served) -> None:
    wait = node("wait", "delay", delayType="seconds", delayValue=1)
    nodes = [wait, node("a"), node("b"), node("c")]

    shown = await ended(server, graph(nodes, "wait>a", "wait>b", "wait>c"))

    _, waited_ms = times_ms(shown, "wait")
    starts_ms = [times_ms(shown, name)[0] - waited_ms for name in "abc"]
    assert all(1_000 <= start_ms < 2_000 for start_ms in starts_ms)


async def test_s1_12_a_cancelled_run_starts_nothing_more() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        run_id = await started(server, graph([node("a"), node("b")], "a>b"))
        [polled] = await server.engine.poll("workflow-tasks", worker_id="w", count=1, wait_ms=0)

        answer = await server.ask(f"POST /workflows/runs/{run_id}/cancel")

        assert (answer.status, answer.json) == (201, {"cancelled": True})
        shown = await status(server, run_id)
        assert shown["status"] == "failed"
        assert shown["cancelled"] is True
        assert words(shown) == {"a": "skipped", "b": "skipped"}
        assert shown["logs"][-1]["message"] == "Workflow run cancelled"
        again = await server.ask(f"POST /workflows/runs/{run_id}/cancel")
        assert again.status == 409
        assert again.json["message"] == "Cannot cancel run in status: failed"
        # The node that was running ends, and nothing comes of it.
        await server.engine.update(
            UpdateTask(
                workflow_id=run_id,
                task_id=polled.lease.task_id,
                status=TaskStatus.COMPLETED,
                output=Payload.of({"payload": {}, "handles": [], "log": {}}),
            )
        )
        assert await server.engine.poll("workflow-tasks", worker_id="w", wait_ms=0) == []
        assert words(await status(server, run_id)) == {"a": "skipped", "b": "skipped"}
    await store.close()


async def test_s1_13_what_is_unknown_is_not_found(server: Served) -> None:
    unknown = uuid.uuid5(uuid.NAMESPACE_URL, "x")

    run = await server.ask(f"GET /workflows/runs/{unknown}/status")
    start = await server.ask(f"POST /workflows/{unknown}/execute-async", {})

    assert run.json == {
        "message": "Workflow run not found",
        "error": "Not Found",
        "statusCode": 404,
    }
    assert (start.status, start.json["message"]) == (404, "Workflow not found")
    assert (await server.ask(f"GET /workflows/{unknown}")).status == 404
    assert (await server.ask(f"POST /workflows/runs/{unknown}/cancel")).status == 404
    assert (await server.ask(f"DELETE /workflows/{unknown}")).json == {"deleted": True}


async def test_s1_14_a_synchronous_run_answers_its_logs_and_is_listed(server: Served) -> None:
    document = graph([node("in"), node("say", "notification", template="Hi {{n}}")], "in>say")
    workflow_id = await kept(server, document)

    answer = await server.ask(f"POST /workflows/{workflow_id}/execute", {"input": {"n": 4}})

    assert answer.status == 201
    assert [one["content"] for one in answer.json["logs"]] == [
        *("Run started", '{"n":4}', "Hi 4", "Run finished"),
    ]
    assert (
        answer.json["logs"][2] | {"kind": "notification", "nodeId": "say", "name": "SAY"}
        == (answer.json["logs"][2])
    )
    [listed] = (await server.ask(f"GET /workflows/{workflow_id}/runs")).json
    assert listed["id"] == answer.json["runId"]
    assert listed["status"] == "succeeded"
    assert listed["finishedAt"] >= listed["startedAt"]


async def test_s1_14_a_synchronous_run_that_fails_says_so() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        workflow_id = await kept(server, graph([node("a"), node("b")], "a>b"))
        waiting = asyncio.create_task(server.ask(f"POST /workflows/{workflow_id}/execute"))
        [polled] = await server.engine.poll("workflow-tasks", wait_ms=2_000)
        await server.engine.update(
            UpdateTask(
                workflow_id=polled.lease.workflow_id,
                task_id=polled.lease.task_id,
                status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
                reason="it broke",
            )
        )

        answer = await waiting

    await store.close()
    assert answer.json["status"] == "failed"
    told = [(one["kind"], one["nodeId"], one["content"]) for one in answer.json["logs"]]
    assert told[:2] == [("system", None, "Run started"), ("error", "a", "it broke")]
    assert told[2][2].startswith("Run failed: ")


async def test_s1_15_a_run_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "batuta.db")
    store = await SqliteStore.open(path)
    async with served(store, has_workers=False) as server:
        run_id = await started(server, graph([node("a"), node("b")], "a>b"), {"n": 1})
        [polled] = await server.engine.poll("workflow-tasks", wait_ms=2_000)
        done = Payload.of({"payload": {"n": 2}, "handles": [], "log": {"content": "by hand"}})
        lease = polled.lease
        await server.engine.update(
            UpdateTask(
                workflow_id=lease.workflow_id,
                task_id=lease.task_id,
                status=TaskStatus.COMPLETED,
                output=done,
            )
        )
    await store.close()

    store = await SqliteStore.open(path)
    async with served(store) as server:
        await server.ended(run_id)
        shown = await status(server, run_id)
    await store.close()

    assert shown["status"] == "succeeded"
    told = [(one["nodeId"], one["message"]) for one in shown["logs"][1:]]
    assert told == [("a", "by hand"), ("b", '{"n":2}')], "what was committed is not done again"


async def test_s1_15_the_task_of_a_lost_worker_is_leased_for_a_limited_time() -> None:
    store = memory()
    async with served(store, has_workers=False) as server:
        await started(server, graph([node("a")]))

        [polled] = await server.engine.poll("workflow-tasks", wait_ms=2_000)

        assert polled.lease.expires_at_ms - polled.lease.polled_at_ms == 30_000
    await store.close()


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (graph([node("a"), node("b")], "a>b", "b>a"), "edges"),
        (graph([node("a")], "a>a"), "edges"),
        (graph([]), "workflow.nodes"),
        (graph([node("a")], "a>x"), "workflow.edges.0.targetId"),
        (graph([node("a"), node("a")]), "workflow.nodes.1.base.id"),
        (graph([node("a", "teleport")]), "workflow.nodes.0.base.type"),
        (graph([node("a", "delay", delayType="days", delayValue=400), node("b")], "a>b"), "edges"),
        (graph([node("a", "decision", decisions=5)]), "workflow.nodes.0.base.config.decisions"),
        ({**graph([node("a")]), "colour": "red"}, "colour"),
        ({"name": "", "workflow": {"nodes": 1, "edges": []}}, "name"),
        ([], "must be"),
    ],
)
async def test_s1_18_what_cannot_run_is_refused(server: Served, document: Any, field: str) -> None:
    answer = await server.ask("POST /workflows", document)

    assert answer.status == 400
    assert (answer.json["error"], answer.json["statusCode"]) == ("Bad Request", 400)
    assert any(one.startswith(field) for one in answer.json["message"]), answer.json
    assert (await server.ask("GET /workflows")).json == []


@pytest.mark.skipif(not BUNDLED.is_dir(), reason=f"{BUNDLED} is not there")
@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("simple-weather-alert", {"city": "Oslo"}, "Weather Report for Oslo"),
        ("temperature-alert-system", {"city": "Dubai"}, "HOT WEATHER ALERT"),
        ("temperature-alert-system", {"city": "Oslo"}, "Normal weather"),
        ("person-enrichment", {"firstName": 'A"da', "company": "Acme"}, "Acme"),
        ("linkedin-lead-qualification", {"title": "CTO", "lead_source": "linkedin"}, "HIGH VALUE"),
        ("linkedin-lead-qualification", {"title": "Intern"}, "Below Threshold"),
        ("smart-building-cooling-system", {"zone": "server_room"}, "TEMPERATURE ALERT"),
        ("simple-notification", {"recipient": "Ada", "message": "hi"}, "Message for Ada"),
        ("advanced-building-cooling-system", {}, "URGENT: Cooling System Alert"),
    ],
)
async def test_s1_19_the_bundled_workflows_run_verbatim(
    server: Served, name: str, given: dict[str, Any], text: str
) -> None:
    document = json.loads((BUNDLED / f"{name}.json").read_text("utf-8"))

    shown = await ended(server, document, given)

    assert shown["status"] == "succeeded"
    assert not [one for one in shown["logs"] if one["type"] == "error"]
    said = [one["message"] for one in shown["logs"] if one["type"] == "node-output"]
    assert text in said[-1], said
    assert "{{" not in said[-1]


async def test_s1_20_the_health_check_says_ok(server: Served) -> None:
    answer = await server.ask("GET /health")

    assert answer.status == 200
    assert (answer.json["status"], answer.json["healthy"]) == ("ok", True)
    assert answer.json["timestamp"].endswith("Z")
    assert answer.json["conductorUrl"] == "http://localhost:8080/api"
