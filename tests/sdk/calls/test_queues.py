"""TaskResourceApi: the queues and who polls them, and tasks found by a search."""

import pytest
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk


def test_all_queues_are_counted_with_what_workers_hold(sdk: Sdk, chain: str, kind: str) -> None:
    api = sdk.tasks.taskResourceApi
    for number in range(3):
        sdk.start(chain, number)
    sdk.tasks.poll_task(kind)

    assert api.all()[kind] == 2
    assert api.all_verbose()[kind] == {"a": {"size": 2, "uacked": 1}}  # Conductor has one shard, a
    assert api.size(task_type=[kind, "nobody"])[kind] == 2


def test_the_last_poll_of_every_queue_is_shown(sdk: Sdk, kind: str) -> None:
    sdk.tasks.poll_task(kind, worker_id="first", domain="here")
    sdk.tasks.poll_task(kind, worker_id="second")

    every = sdk.tasks.taskResourceApi.get_all_poll_data()

    ours = {(data.domain, data.worker_id) for data in every if data.queue_name == kind}
    assert ours == {("here", "first"), (None, "second")}


def test_a_requeue_answers_how_many_tasks_are_ready(sdk: Sdk, chain: str, kind: str) -> None:
    runs = [sdk.start(chain, number) for number in range(2)]

    answer = sdk.tasks.taskResourceApi.requeue_pending_task(kind)

    assert answer == "2"
    given = sdk.tasks.batch_poll_tasks(kind, count=5, timeout_in_millisecond=50)
    assert sorted(task.workflow_instance_id for task in given) == sorted(runs)


def test_tasks_are_found_by_a_search(sdk: Sdk, chain: str, kind: str) -> None:
    api = sdk.tasks.taskResourceApi
    run_id, other = sdk.start(chain), sdk.start(chain)
    sdk.report(sdk.tasks.poll_task(kind), n=1)
    query = f"taskType='{kind}' AND status IN (COMPLETED, SCHEDULED)"

    found = api.search1(query=query, size=10, sort="updateTime:DESC")
    whole = api.search_v21(query=f"{query} AND workflowId={run_id}", size=10)

    statuses = sorted((one.workflow_id, one.status) for one in found.results)
    assert statuses == sorted([(run_id, "COMPLETED"), (run_id, "SCHEDULED"), (other, "SCHEDULED")])
    assert {task.reference_task_name for task in whole.results} == {"t0", "t1"}
    assert whole.results[0].workflow_instance_id == run_id


@pytest.mark.parametrize("function", ["search1", "search_v21"])
def test_a_search_for_an_unknown_field_of_tasks_is_refused(sdk: Sdk, function: str) -> None:
    with pytest.raises(ApiException) as refused:
        getattr(sdk.tasks.taskResourceApi, function)(query="colour=red")

    assert refused.value.status == 400
    assert "unknown field 'colour'" in refused.value.message
