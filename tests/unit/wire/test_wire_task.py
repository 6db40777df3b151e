"""Records as Conductor's JSON, field by field (semantics a.5 and a.6)."""

import json
from typing import Any

import msgspec
import pytest

from batuta.api.wire import (
    SNAPSHOTS_MAX,
    polled_body,
    status_body,
    task_body,
    to_ms,
    workflow_body,
)
from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.graph import Graph, Snapshot
from batuta.model.execution import Lease, Task, TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.view import Polled, RunView, TaskView

NOW_MS = 1_790_000_000_000
TASK_DEF = {
    "name": "work",
    "retryCount": 2,
    "responseTimeoutSeconds": 30,
    "rateLimitPerFrequency": 5,
    "rateLimitFrequencyInSeconds": 10,
    "isolationGroupId": "iso",
    "executionNameSpace": "space",
}
_number = iter(range(10_000))


def node(name: str, ref: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": ref or name, "type": "SIMPLE", **more}


def graph(*tasks: dict[str, Any], task_def: dict[str, Any] | None = None) -> Graph:
    definition = read_workflow_def({"name": "w", "version": 3, "tasks": list(tasks)})
    defs = {} if task_def is None else {"work": read_task_def(task_def)}
    return Graph(Snapshot(workflow=definition, task_defs=defs), f"digest-{next(_number)}")


def record(ref: str = "work", **more: Any) -> Task:
    given = {"seq": 1, "task_id": f"id-{ref}", "task_type": "work", **more}
    return Task(reference_name=ref, **given)


def run(built: Graph, *views: TaskView, **more: Any) -> RunView:
    header = Workflow(
        workflow_id="w1", name="w", definition=built.digest, definition_version=3, **more
    )
    return RunView(
        workflow=header,
        input=EMPTY,
        output=EMPTY,
        variables=EMPTY,
        tasks=list(views),
        graph=built,
    )


def view(task: Task, *, output: Payload = EMPTY, lease: Lease | None = None) -> TaskView:
    return TaskView(task=task, input=EMPTY, output=output, lease=lease)


def lease(task: Task, **more: Any) -> Lease:
    given = {
        "task_id": task.task_id,
        "workflow_id": "w1",
        "queue": "work",
        "worker_id": "me",
        "poll_count": 2,
        "started_at_ms": NOW_MS + 500,
        "polled_at_ms": NOW_MS + 900,
        "expires_at_ms": NOW_MS + 60_000,
        "lease_ms": 30_000,
        "timeout_ms": 0,
    }
    return Lease(**{**given, **more})


def shown(body: Any) -> Any:
    return json.loads(msgspec.json.encode(body))


def shown_task(built: Graph, task: Task, **more: Any) -> Any:
    one = view(task, **more)
    return shown(task_body(run(built, one), one))


def test_a_task_in_a_workers_hands_is_its_record_overlaid_with_the_lease() -> None:
    """DESIGN.md rule 2: a poll writes no task record."""
    task = record(scheduled_at_ms=NOW_MS, updated_at_ms=NOW_MS, callback_after_ms=5_000)

    body = shown_task(graph(node("work")), task, lease=lease(task))

    assert body["status"] == "IN_PROGRESS"
    assert (body["workerId"], body["pollCount"]) == ("me", 2)
    assert (body["startTime"], body["updateTime"]) == (NOW_MS + 500, NOW_MS + 900)
    assert (body["queueWaitTime"], body["callbackAfterSeconds"]) == (500, 0)


def test_a_task_that_nobody_holds_is_its_record() -> None:
    task = record(
        scheduled_at_ms=NOW_MS,
        started_at_ms=NOW_MS + 300,
        updated_at_ms=NOW_MS + 800,
        callback_after_ms=90_000,
        start_delay_ms=7_000,
        poll_count=4,
        worker_id="you",
    )

    body = shown_task(graph(node("work")), task)

    assert (body["status"], body["workerId"], body["pollCount"]) == ("SCHEDULED", "you", 4)
    assert (body["startTime"], body["updateTime"]) == (NOW_MS + 300, NOW_MS + 800)
    assert (body["callbackAfterSeconds"], body["startDelayInSeconds"]) == (90, 7)
    assert body["queueWaitTime"] == 300


def test_a_poller_and_a_reader_see_the_same_task() -> None:
    built = graph(node("work"), task_def=TASK_DEF)
    task = record(scheduled_at_ms=NOW_MS)
    held = lease(task)
    one = view(task, lease=held)
    of_run = run(built, one)
    polled = Polled(
        workflow=of_run.workflow, task=task, input=EMPTY, output=EMPTY, lease=held, graph=built
    )

    assert shown(polled_body(polled)) == shown(task_body(of_run, one))


def test_the_task_definition_is_embedded_twice_and_gives_the_limits() -> None:
    body = shown_task(graph(node("work"), task_def=TASK_DEF), record())

    assert body["taskDefinition"]["retryCount"] == 2
    assert body["workflowTask"]["taskDefinition"] == body["taskDefinition"]
    assert body["responseTimeoutSeconds"] == 30
    assert (body["rateLimitPerFrequency"], body["rateLimitFrequencyInSeconds"]) == (5, 10)
    assert (body["isolationGroupId"], body["executionNameSpace"]) == ("iso", "space")


def test_without_a_task_definition_its_fields_are_absent_or_default() -> None:
    """gotchas.md 14: the default lease is an hour."""
    body = shown_task(graph(node("work")), record())

    assert "taskDefinition" not in body
    assert "isolationGroupId" not in body
    assert (body["responseTimeoutSeconds"], body["rateLimitPerFrequency"]) == (3600, 0)


def test_fields_that_may_be_null_are_left_out_and_all_others_are_there() -> None:
    body = shown_task(graph(node("work")), record())

    absent = {
        "correlationId",
        "domain",
        "workerId",
        "retriedTaskId",
        "reasonForIncompletion",
        "subWorkflowId",
    }
    assert absent.isdisjoint(body)
    assert {"seq": 1, "retryCount": 0, "pollCount": 0, "iteration": 0, "endTime": 0}.items() <= (
        body.items()
    )
    assert (body["retried"], body["executed"], body["loopOverTask"]) == (False, False, False)
    assert (body["inputData"], body["outputData"], body["firstStartTime"]) == ({}, {}, 0)
    assert body["callbackFromWorker"] is True


@pytest.mark.parametrize(
    ("type_", "more", "name"),
    [
        ("SIMPLE", {}, "work"),
        ("HTTP", {}, "work"),
        ("WAIT", {}, "work"),
        ("SWITCH", {"decisionCases": {"x": [node("in")]}}, "SWITCH"),
        ("FORK_JOIN", {"forkTasks": [[node("in")]]}, "FORK"),
        ("JOIN", {"joinOn": []}, "JOIN"),
    ],
)
def test_the_task_definition_name_is_the_name_or_the_type(
    type_: str, more: dict[str, Any], name: str
) -> None:
    """semantics a.6."""
    built = graph(node("work", type=type_, **more))
    task = record(task_type=type_, status=TaskStatus.COMPLETED)

    assert shown_task(built, task)["taskDefName"] == name


def test_a_task_in_a_loop_shows_its_pass_and_its_node() -> None:
    loop = node("loop", type="DO_WHILE", loopOver=[node("work")], loopCondition="false")
    task = record("work__2", node="work", iteration=2)

    body = shown_task(graph(loop), task)

    assert (body["referenceTaskName"], body["iteration"]) == ("work__2", 2)
    assert body["loopOverTask"] is True
    assert body["workflowTask"]["taskReferenceName"] == "work"


def test_a_join_under_way_shows_what_its_branches_gave_so_far() -> None:
    """semantics c.4: filled progressively, without empty outputs; the latest attempt counts."""
    fork = node("fork", type="FORK_JOIN", forkTasks=[[node("a")], [node("b")], [node("c")]])
    built = graph(fork, node("join", type="JOIN", joinOn=["a", "b", "c"]))
    join = record(
        "join", task_type="JOIN", status=TaskStatus.IN_PROGRESS, join_on=("a", "b", "c"), seq=2
    )
    branches = [
        view(record("a", seq=3), output=Payload(b'{"n":1}')),
        view(record("a", seq=4), output=Payload(b'{"n": 2}')),
        view(record("b", seq=5)),
    ]

    of_run = run(built, view(join), *branches)

    assert shown(task_body(of_run, of_run.tasks[0]))["outputData"] == {"a": {"n": 2}}


def test_a_loop_under_way_shows_its_passes_so_far() -> None:
    """semantics c.5."""
    loop = node("loop", type="DO_WHILE", loopOver=[node("a"), node("b")], loopCondition="true")
    task = record("loop", task_type="DO_WHILE", status=TaskStatus.IN_PROGRESS, iteration=2)
    children = [
        view(record("a__1", node="a", iteration=1), output=Payload(b'{"n":1}')),
        view(record("b__1", node="b", iteration=1)),
        view(record("a__2", node="a", iteration=2), output=Payload(b'{"n":2}')),
    ]

    of_run = run(graph(loop), view(task), *children)

    assert shown(task_body(of_run, of_run.tasks[0]))["outputData"] == {
        "iteration": 2,
        "1": {"a": {"n": 1}, "b": {}},
        "2": {"a": {"n": 2}},
    }


def test_a_join_that_has_ended_shows_what_was_stored() -> None:
    built = graph(node("join", type="JOIN", joinOn=["a"]))
    join = record("join", task_type="JOIN", status=TaskStatus.COMPLETED, join_on=("a",))

    assert shown_task(built, join, output=Payload(b'{"a":1}'))["outputData"] == {"a": 1}


def test_a_run_shows_its_header_and_its_definition_with_task_definitions_embedded() -> None:
    inner = node("work", "inner")
    cases = {"x": [inner]}
    switch = node("s", type="SWITCH", evaluatorType="value-param", expression="k")
    built = graph({**switch, "decisionCases": cases}, task_def=TASK_DEF)

    body = shown(
        workflow_body(
            run(
                built,
                view(record("inner")),
                status=WorkflowStatus.FAILED,
                created_at_ms=NOW_MS,
                updated_at_ms=NOW_MS + 2,
                ended_at_ms=NOW_MS + 3,
                correlation_id="c",
                priority=7,
                reason="because",
                parent_id="p",
                parent_task_id="pt",
                failed_references=("inner",),
                failed_names=("work",),
                task_to_domain={"work": "d"},
            )
        )
    )

    assert (body["workflowId"], body["workflowName"], body["workflowVersion"]) == ("w1", "w", 3)
    assert (body["status"], body["reasonForIncompletion"]) == ("FAILED", "because")
    assert (body["createTime"], body["startTime"]) == (NOW_MS, NOW_MS)
    assert (body["updateTime"], body["endTime"]) == (NOW_MS + 2, NOW_MS + 3)
    assert (body["parentWorkflowId"], body["parentWorkflowTaskId"]) == ("p", "pt")
    assert (body["failedReferenceTaskNames"], body["failedTaskNames"]) == (["inner"], ["work"])
    assert (body["taskToDomain"], body["priority"]) == ({"work": "d"}, 7)
    assert (body["ownerApp"], body["history"], body["rateLimited"]) == ("", [], False)
    embedded = body["workflowDefinition"]["tasks"][0]["decisionCases"]["x"][0]
    assert embedded["taskDefinition"]["retryCount"] == 2
    assert body["tasks"][0]["workflowTask"] == embedded


def test_a_payload_that_is_not_loaded_shows_as_an_empty_object() -> None:
    """As one in external storage does (semantics a.5)."""
    body = shown_task(graph(node("work")), record(), output=Payload(None, 10_000))

    assert body["outputData"] == {}


def test_the_light_status_has_output_and_variables_on_demand_only() -> None:
    of_run = run(graph(node("work")))

    assert shown(status_body(of_run, with_output=False, with_variables=False)) == {
        "workflowId": "w1",
        "status": "RUNNING",
    }
    assert shown(status_body(of_run, with_output=True, with_variables=True)) == {
        "workflowId": "w1",
        "status": "RUNNING",
        "output": {},
        "variables": {},
    }


def test_seconds_become_milliseconds_and_never_negative() -> None:
    assert (to_ms(2), to_ms(0), to_ms(-1)) == (2_000, 0, 0)


def test_a_snapshot_is_encoded_once() -> None:
    built = graph(node("work"))
    first, second = (task_body(run(built), view(record())) for _ in range(2))

    assert first.workflow_task is second.workflow_task


def test_encoded_snapshots_do_not_pile_up() -> None:
    built = graph(node("work"))
    first = task_body(run(built), view(record()))
    for _ in range(SNAPSHOTS_MAX):
        other = graph(node("work"))
        task_body(run(other), view(record()))

    again = task_body(run(built), view(record()))

    assert again.workflow_task is not first.workflow_task
    assert shown(again) == shown(first)
