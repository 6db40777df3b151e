"""`POST /api/workflow/test`: workflows run with mocked results, in a time of their own."""

import asyncio
from typing import Any

import pytest

from batuta.runtime.engine import Engine
from batuta.runtime.rehearsal import rehearse, stage
from tests.api.client import Answer, Client
from tests.api.conftest import names, polled, simple, workflow

HOUR_MS = 3_600_000
Mocks = dict[str, list[dict[str, Any] | None]]


async def rehearsed(
    client: Client, *tasks: dict[str, Any], mocks: Mocks | None = None, **more: Any
) -> Answer:
    """Test an inline definition of these tasks."""
    body = {"name": "w", "workflowDef": workflow(*tasks), "taskRefToMockOutput": mocks or {}}
    return await client.ask("POST /api/workflow/test", body | more)


async def run_of(
    client: Client, *tasks: dict[str, Any], mocks: Mocks | None = None, **more: Any
) -> dict[str, Any]:
    answer = await rehearsed(client, *tasks, mocks=mocks, **more)
    assert answer.status == 200, answer.body
    run: dict[str, Any] = answer.json
    return run


def trail(run: dict[str, Any]) -> list[tuple[str, str]]:
    return [(task["referenceTaskName"], task["status"]) for task in run["tasks"]]


def task_of(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": kind, **more}


def child(name: str, workflow_name: str, **more: Any) -> dict[str, Any]:
    params = {"name": workflow_name, "version": 1}
    return task_of("SUB_WORKFLOW", name, subWorkflowParam=params, **more)


def switch(name: str, value: str, **cases: list[dict[str, Any]]) -> dict[str, Any]:
    return task_of(
        "SWITCH",
        name,
        evaluatorType="value-param",
        expression="it",
        inputParameters={"it": value},
        decisionCases=cases,
    )


async def test_a_run_takes_the_way_that_its_mocks_lead(client: Client) -> None:
    chosen = switch("which", "${ask.output.city}", NYC=[simple("fly")], LA=[simple("drive")])

    run = await run_of(
        client,
        task_of("HTTP", "ask", inputParameters={"uri": "http://nowhere.invalid", "method": "GET"}),
        chosen,
        mocks={"ask": [{"output": {"city": "NYC"}}], "fly": [{"status": "COMPLETED"}]},
        input={"x": 1},
        correlationId="c-1",
    )

    assert run["status"] == "COMPLETED"
    assert trail(run) == [("ask", "COMPLETED"), ("which", "COMPLETED"), ("fly", "COMPLETED")]
    assert run["tasks"][0]["outputData"] == {"city": "NYC"}
    assert (run["input"], run["correlationId"]) == ({"x": 1}, "c-1")


async def test_each_attempt_takes_the_next_result_and_waits_out_its_delay(client: Client) -> None:
    await client.ask(
        "POST /api/metadata/taskdefs",
        [{"name": "a", "retryCount": 2, "retryDelaySeconds": 3600, "responseTimeoutSeconds": 10}],
    )

    run = await run_of(
        client,
        simple("a"),
        mocks={"a": [{"status": "FAILED", "output": {"n": 1}}, {"output": {"n": 2}}]},
    )

    first, second = run["tasks"]
    assert run["status"] == "COMPLETED"
    assert (first["status"], first["outputData"], first["retryCount"]) == ("FAILED", {"n": 1}, 0)
    assert (second["status"], second["outputData"], second["retryCount"]) == (
        "COMPLETED",
        {"n": 2},
        1,
    )
    assert second["startTime"] - first["endTime"] == HOUR_MS


async def test_a_task_takes_the_time_that_its_mock_says(client: Client) -> None:
    run = await run_of(
        client, simple("a"), mocks={"a": [{"executionTime": 5_000, "queueWaitTime": 2_000}]}
    )

    [task] = run["tasks"]
    assert task["startTime"] - task["scheduledTime"] == 2_000
    assert task["endTime"] - task["startTime"] == 5_000
    assert task["queueWaitTime"] == 2_000
    assert task["pollCount"] == 1


async def test_branches_take_their_time_side_by_side(client: Client) -> None:
    fork = task_of("FORK_JOIN", "fork", forkTasks=[[simple("slow")], [simple("quick")]])

    run = await run_of(
        client,
        fork,
        task_of("JOIN", "join", joinOn=["slow", "quick"]),
        mocks={"slow": [{"executionTime": 9_000}], "quick": [{"executionTime": 1_000}]},
    )

    assert run["status"] == "COMPLETED"
    assert run["endTime"] - run["createTime"] == 9_000


async def test_a_mock_slower_than_its_response_timeout_is_timed_out(client: Client) -> None:
    definition = {"name": "a", "retryCount": 1, "retryDelaySeconds": 0}
    await client.ask("POST /api/metadata/taskdefs", [definition | {"responseTimeoutSeconds": 60}])

    run = await run_of(
        client, simple("a"), mocks={"a": [{"executionTime": 60_001}, {"executionTime": 60_000}]}
    )

    assert names(run["tasks"], "status") == ["TIMED_OUT", "COMPLETED"]


async def test_a_report_in_progress_takes_the_next_result(client: Client) -> None:
    run = await run_of(
        client,
        simple("a"),
        task_of("HUMAN", "sign"),
        mocks={
            "a": [{"status": "IN_PROGRESS", "output": {"at": 50}}, {"output": {"at": 100}}],
            "sign": [{"status": "IN_PROGRESS"}, {"output": {"by": "me"}}],
        },
    )

    worked, signed = run["tasks"]
    assert run["status"] == "COMPLETED"
    assert (worked["pollCount"], worked["outputData"]) == (2, {"at": 100})
    assert signed["outputData"] == {"by": "me"}


async def test_a_loop_takes_a_result_for_each_pass(client: Client) -> None:
    loop = task_of(
        "DO_WHILE",
        "loop",
        loopCondition="$.loop['iteration'] < 3",
        inputParameters={"loop": "${loop}"},
        loopOver=[simple("a")],
    )

    run = await run_of(
        client,
        loop,
        mocks={"a": [{"output": {"n": 1}}, {"output": {"n": 3}}], "a__2": [{"output": {"n": 2}}]},
    )

    outputs = [task["outputData"] for task in run["tasks"] if task["taskType"] == "a"]
    assert run["status"] == "COMPLETED"
    assert outputs == [{"n": 1}, {"n": 2}, {"n": 3}], "the name of a pass goes before the bare one"


async def test_a_wait_of_a_week_takes_no_time(client: Client) -> None:
    run = await run_of(
        client,
        task_of("WAIT", "week", inputParameters={"duration": "7 days"}),
        simple("a"),
        mocks={"a": [{}]},
    )

    assert run["status"] == "COMPLETED"
    assert run["endTime"] - run["createTime"] == 7 * 24 * HOUR_MS


async def test_a_wait_with_a_result_ends_by_it(client: Client) -> None:
    run = await run_of(
        client,
        task_of("WAIT", "week", inputParameters={"duration": "7 days"}),
        mocks={"week": [{"output": {"early": True}, "executionTime": 1_000}]},
    )

    assert run["endTime"] - run["createTime"] == 1_000
    assert run["output"] == {"early": True}


async def test_a_task_without_a_mock_is_a_fault_that_names_it(client: Client) -> None:
    fork = task_of("FORK_JOIN", "fork", forkTasks=[[simple("a")], [simple("b")], [simple("c")]])

    answer = await rehearsed(
        client, fork, task_of("JOIN", "join", joinOn=["a", "b", "c"]), mocks={"b": [{}]}
    )

    assert answer.status == 400
    assert "task 'a' of type 'a' has no mock" in answer.json["message"]
    assert [one["path"] for one in answer.json["validationErrors"]] == [
        "taskRefToMockOutput.a",
        "taskRefToMockOutput.c",
    ]


async def test_results_that_are_used_up_are_a_fault_that_names_the_attempt(client: Client) -> None:
    answer = await rehearsed(client, simple("a"), mocks={"a": [{"status": "FAILED"}]})

    assert answer.status == 400
    assert answer.json["validationErrors"][0]["path"] == "taskRefToMockOutput.a"
    assert "(attempt 2) needs another result: the 1 result given" in answer.json["message"]


async def test_no_results_leave_a_task_open(client: Client) -> None:
    run = await run_of(client, simple("a"), task_of("HUMAN", "sign"), mocks={"a": [{}], "sign": []})

    assert run["status"] == "RUNNING"
    assert trail(run) == [("a", "COMPLETED"), ("sign", "IN_PROGRESS")]


async def test_the_limits_of_a_task_that_stays_open_come(client: Client) -> None:
    definition = {"name": "a", "retryCount": 0, "pollTimeoutSeconds": 30}
    await client.ask("POST /api/metadata/taskdefs", [definition])

    run = await run_of(client, simple("a"), mocks={"a": []})

    assert run["status"] == "TIMED_OUT"
    assert run["endTime"] - run["createTime"] == 30_000


async def test_a_sub_workflow_runs_with_the_mocks_of_its_own_request(client: Client) -> None:
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("a"), name="inner")])

    run = await run_of(
        client,
        child("part", "inner"),
        subWorkflowTestRequest={
            "part": {"name": "inner", "taskRefToMockOutput": {"a": [{"output": {"n": 7}}]}}
        },
    )

    assert run["status"] == "COMPLETED"
    assert run["output"]["n"] == 7
    assert run["tasks"][0]["subWorkflowId"]


async def test_a_sub_workflow_with_a_result_is_not_run(client: Client) -> None:
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("a"), name="inner")])

    run = await run_of(
        client,
        child("part", "inner", optional=True),
        child("other", "inner"),
        mocks={
            "part": [{"status": "FAILED", "executionTime": 500}],
            "other": [{"output": {"n": 8}}],
        },
    )

    assert trail(run) == [("part", "COMPLETED_WITH_ERRORS"), ("other", "COMPLETED")]
    assert run["output"]["n"] == 8


async def test_a_mock_missing_in_a_sub_workflow_is_named_by_its_path(client: Client) -> None:
    inner = workflow(simple("a"), name="unregistered")

    answer = await rehearsed(
        client,
        child("part", "unregistered"),
        subWorkflowTestRequest={"part": {"name": "unregistered", "workflowDef": inner}},
    )

    assert answer.status == 400
    [fault] = answer.json["validationErrors"]
    assert fault["path"] == "subWorkflowTestRequest.part.taskRefToMockOutput.a"


async def test_nothing_is_kept_and_nobody_can_poll(client: Client, engine: Engine) -> None:
    started = {"startWorkflow": {"name": "w", "version": 1}}
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("never"))])
    before = await engine.status()
    task = simple("a")
    failing = workflow(
        task_of("START_WORKFLOW", "apart", inputParameters=started), task, failureWorkflow="w"
    )

    answer = await client.ask(
        "POST /api/workflow/test",
        {
            "workflowDef": failing,
            "taskRefToMockOutput": {"a": [{"status": "FAILED_WITH_TERMINAL_ERROR"}]},
        },
    )

    run = answer.json
    after = await engine.status()
    assert run["status"] == "FAILED"
    assert after.counts == before.counts
    assert after.recent == before.recent
    assert after.queues == before.queues
    assert (await client.ask(f"GET /api/workflow/{run['workflowId']}")).status == 404
    for kind in ("a", "never"):
        assert (await client.ask(f"GET /api/tasks/poll/{kind}")).status == 204


async def test_a_registered_definition_is_tested_by_name_and_version(client: Client) -> None:
    await client.ask(
        "PUT /api/metadata/workflow",
        [workflow(simple("a")), workflow(simple("b"), version=2)],
    )
    body = {"name": "w", "taskRefToMockOutput": {"a": [{}], "b": [{}]}}

    latest = (await client.ask("POST /api/workflow/test", body)).json
    first = (await client.ask("POST /api/workflow/test", body | {"version": 1})).json
    unknown = await client.ask("POST /api/workflow/test", body | {"version": 3})

    assert (trail(latest), trail(first)) == ([("b", "COMPLETED")], [("a", "COMPLETED")])
    assert unknown.status == 404


async def test_a_registered_run_is_not_disturbed(client: Client) -> None:
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("a"))])
    started = await client.ask("POST /api/workflow", {"name": "w"})

    await client.ask("POST /api/workflow/test", {"name": "w", "taskRefToMockOutput": {"a": [{}]}})

    assert (await polled(client))["workflowInstanceId"] == started.body.decode()


@pytest.mark.parametrize(
    ("mock", "path"),
    [
        ({"status": "DONE"}, "taskRefToMockOutput.a[0].status"),
        ({"output": [1]}, "taskRefToMockOutput.a[0].output"),
        ({"executionTime": -1}, "taskRefToMockOutput.a[0].executionTime"),
        ({"queueWaitTime": 2**62}, "taskRefToMockOutput.a[0].queueWaitTime"),
        ({"executionTime": "soon"}, "taskRefToMockOutput"),
    ],
)
async def test_a_faulty_mock_is_refused_by_its_path(
    client: Client, mock: dict[str, Any], path: str
) -> None:
    answer = await rehearsed(client, simple("a"), mocks={"a": [mock]})

    assert answer.status == 400
    assert answer.json["validationErrors"][0]["path"].startswith(path)


async def test_a_workflow_that_never_ends_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "STEPS_MAX", 50)
    forever = task_of(
        "DO_WHILE",
        "loop",
        loopCondition="true",
        loopOver=[task_of("WAIT", "day", inputParameters={"duration": "1 day"})],
    )

    answer = await rehearsed(client, forever)

    assert answer.status == 400
    assert "more than 50 steps" in answer.json["message"]


async def test_too_much_data_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BYTES_MAX", 50_000)

    answer = await rehearsed(client, simple("a"), mocks={"a": [{"output": {"x": "y" * 60_000}}]})

    assert answer.status == 400
    assert "more than 50000 bytes" in answer.json["message"]


async def test_a_test_that_takes_too_long_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearse, "REHEARSAL_S_MAX", 0.0)

    answer = await rehearsed(client, simple("a"), mocks={"a": [{}]})

    assert answer.status == 400
    assert "seconds" in answer.json["message"]


async def test_more_tests_than_a_node_does_at_once_are_told_to_come_again(client: Client) -> None:
    waits = [
        task_of("WAIT", f"w{number}", inputParameters={"duration": "1 day"}) for number in range(50)
    ]

    answers = await asyncio.gather(
        *(rehearsed(client, *waits) for _ in range(rehearse.REHEARSALS_MAX + 1))
    )

    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] * rehearse.REHEARSALS_MAX + [429]
    assert (await rehearsed(client, waits[0])).status == 200, "their places are free again"


async def test_a_dag_is_rehearsed_with_its_conditions_and_delays(client: Client) -> None:
    edges = [
        {"from": "a", "to": "b", "when": "$.n > 1", "delayMs": HOUR_MS},
        {"from": "a", "to": "c", "when": "$.n <= 1"},
    ]
    nodes = [simple("a"), simple("b"), simple("c")]
    dag = task_of("DAG", "g", dagTasks=nodes, dagEdges=edges)
    mocks: Mocks = {"a": [{"status": "COMPLETED", "output": {"n": 2}}]}

    run = await run_of(client, dag, mocks=mocks | {"b": [{"status": "COMPLETED"}]})

    assert run["status"] == "COMPLETED"
    assert set(trail(run)) == {
        ("g", "COMPLETED"),
        ("a", "COMPLETED"),
        ("b", "COMPLETED"),
        ("c", "SKIPPED"),
    }
    assert run["endTime"] - run["startTime"] >= HOUR_MS
