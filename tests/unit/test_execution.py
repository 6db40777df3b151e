"""The derived indexes where no command leads: retired tasks, layers, the journal of both."""

import pytest

from batuta.core.apply import apply
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.draft import Draft
from batuta.core.execution import Execution, Layer
from batuta.core.graph import Graph, Snapshot
from batuta.core.journal import entry_document, fold
from batuta.model.change import (
    Enqueue,
    PutLease,
    PutTask,
    PutWorkflow,
    Release,
    RetireTask,
    SetTimer,
)
from batuta.model.command import TimerKind
from batuta.model.execution import Lease, Task, TaskStatus, Workflow
from batuta.model.payload import EMPTY, Payload
from tests.scenario.driver import START_MS, expand
from tests.scenario.promises import INDEXES, picture, rebuilt

SEED = bytes(16)
FORK = {
    "tasks": [
        {"ref": "f", "type": "FORK_JOIN", "forkTasks": [[{"ref": "a"}], [{"ref": "b"}]]},
        {"ref": "j", "type": "JOIN", "joinOn": ["a", "b"]},
    ]
}


def task(seq: int, name: str, status: TaskStatus = TaskStatus.SCHEDULED, **fields: object) -> Task:
    return Task(
        seq=seq,
        task_id=f"{name}-{seq}",
        reference_name=name,
        task_type=str(fields.pop("task_type", name)),
        status=status,
        queue=name,
        **fields,
    )


def forked() -> Execution:
    graph = Graph(Snapshot(workflow=read_workflow_def(expand(FORK))), "d")
    execution = Execution(Workflow(workflow_id="w", name="main", definition="d", version=1), graph)
    execution.put(task(1, "a", TaskStatus.FAILED, is_retried=True), Payload(b"{}"), None)
    execution.put(task(2, "b", TaskStatus.COMPLETED, is_executed=True), None, Payload(b'{"v":1}'))
    join = task(3, "j", TaskStatus.IN_PROGRESS, task_type="JOIN", join_on=("a", "b"))
    execution.put(join, Payload(b"{}"), None)
    again = task(4, "a", retry_count=1, retried_task_id="a-1")
    execution.put(again, Payload(b"{}"), None)
    return execution


@pytest.mark.parametrize(
    ("seq", "unsettled", "latest_a"), [(1, 1, 4), (2, 2, 4), (3, None, 4), (4, 0, 1)]
)
def test_a_retired_task_is_gone_from_every_index(
    seq: int, unsettled: int | None, latest_a: int
) -> None:
    execution = forked()

    execution.retire(seq)

    fresh = rebuilt(execution)
    for name in INDEXES:
        assert dict(getattr(execution, name)) == dict(getattr(fresh, name)), name
    assert (execution.live_count, execution.active_count) == (
        fresh.live_count,
        fresh.active_count,
    )
    assert execution.size_bytes == fresh.size_bytes
    assert execution.unsettled.get(3) == unsettled
    assert execution.latest["a"] == latest_a


def test_retiring_a_task_that_is_not_there_changes_nothing() -> None:
    execution = forked()
    before = picture(execution)

    execution.retire(99)

    assert picture(execution) == before


def test_a_retired_number_is_not_given_again() -> None:
    execution = forked()
    entries = [(1, 0, entry_document(_puts(execution)))]
    draft = Draft(execution, now_ms=START_MS, seed=SEED, answers={}, environment={})

    draft.note(RetireTask(4))
    added = draft.add(execution.graph.nodes["a"], "", Payload(b"{}"), task_id="n", task_type="a")
    changes = draft.result()
    apply(execution, changes, now_ms=START_MS)
    entries.append((2, START_MS, entry_document(changes)))

    assert added.seq == 5
    assert execution.task("a-4") is None
    workflow, tasks = fold(entries)
    assert workflow == execution.workflow
    assert tasks.keys() == {1, 2, 3, 5}


def test_the_payloads_of_a_run_weigh_and_those_they_replace_weigh_no_more() -> None:
    execution = forked()
    before_bytes = execution.size_bytes
    large, small = Payload.of("x" * 100_000), Payload.of("x" * 100)

    apply(execution, [PutWorkflow(workflow=execution.workflow, output=large)], now_ms=START_MS)
    with_output_bytes = execution.size_bytes
    change = PutWorkflow(workflow=execution.workflow, output=small, variables=large, input=large)
    apply(execution, [change], now_ms=START_MS)

    assert with_output_bytes == before_bytes + large.size_bytes
    grown_bytes = 2 * (large.size_bytes - EMPTY.size_bytes) + small.size_bytes
    assert execution.size_bytes == before_bytes + grown_bytes


def _puts(execution: Execution) -> list[PutTask | PutWorkflow]:
    tasks = [PutTask(task=found) for found in execution.in_order()]
    return [PutWorkflow(workflow=execution.workflow), *tasks]


def test_a_run_without_entries_folds_to_nothing() -> None:
    assert fold([]) == (None, {})


def test_the_journal_keeps_only_what_differs() -> None:
    before = Workflow(workflow_id="w", name="main", definition="d")
    changed = PutWorkflow(workflow=before, changed={"priority": 7})

    assert entry_document([changed]) == b'{"w":{"p":7}}'
    assert entry_document([SetTimer(task_id="", kind=TimerKind.CONTINUE, due_at_ms=1)]) == b"{}"


def test_apply_keeps_leases_and_leaves_the_rest_to_the_store() -> None:
    execution = forked()
    lease = Lease(
        task_id="a-4",
        workflow_id="w",
        queue="a",
        worker_id=None,
        poll_count=1,
        started_at_ms=1,
        polled_at_ms=1,
        expires_at_ms=2,
        lease_ms=1,
        timeout_ms=0,
    )
    queued = Enqueue(task_id="b-2", seq=2, queue="b", at_ms=0, lease_ms=1)

    apply(execution, [PutLease(lease=lease, at_ms=1), queued], now_ms=5)
    held = dict(execution.leases)
    apply(execution, [Release(task_id="a-4", poll_count=1)], now_ms=6)

    assert held == {"a-4": lease}
    assert execution.leases == {}
    assert (execution.workflow.version, execution.workflow.updated_at_ms) == (3, 6)


def test_a_layer_hides_adds_and_replaces_without_touching_what_is_below() -> None:
    below = {"a": 1, "b": 2, "c": 3}
    layer: Layer[str, int] = Layer(below)

    layer["b"] = 20
    layer["d"] = 4
    popped = layer.pop("a"), layer.pop("gone", None)

    assert popped == (1, None)
    assert {key: layer[key] for key in layer} == {"b": 20, "c": 3, "d": 4}
    assert "a" not in layer
    assert layer.get("a", 9) == 9
    assert below == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(KeyError):
        layer["a"]
