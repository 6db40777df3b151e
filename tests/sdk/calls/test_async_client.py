"""AsyncTaskResourceApi, the SDK's only client of coroutines: poll and report, each way."""

from collections.abc import AsyncIterator

import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.api.async_task_resource_api import AsyncTaskResourceApi
from conductor.client.http.async_api_client import AsyncApiClient
from conductor.client.http.async_rest import ApiException
from conductor.client.http.models.task import Task
from conductor.client.http.models.task_result import TaskResult

from tests.sdk.conftest import Sdk


@pytest.fixture
async def api(sdk: Sdk) -> AsyncIterator[AsyncTaskResourceApi]:
    async with AsyncApiClient(Configuration(server_api_url=sdk.api_url)) as client:
        yield AsyncTaskResourceApi(client)


def _result(task: Task, status: str = "COMPLETED") -> TaskResult:
    result = TaskResult(task_id=task.task_id, workflow_instance_id=task.workflow_instance_id)
    result.status, result.worker_id = status, "hand"
    return result


async def test_a_chain_is_polled_and_reported_by_coroutines(
    sdk: Sdk, api: AsyncTaskResourceApi, chain: str, kind: str
) -> None:
    one, two = sdk.start(chain), sdk.start(chain)

    [first] = await api.batch_poll(kind, workerid="hand", count=1, timeout=100)
    second = await api.update_task_v2(body=_result(first))
    answer = await api.update_task(body=_result(second))
    rest = await api.batch_poll(kind, workerid="hand", count=5, timeout=100)
    nothing = await api.batch_poll(kind, workerid="hand", count=5, timeout=50)

    assert answer == second.task_id
    assert {first.workflow_instance_id, second.workflow_instance_id} <= {one, two}
    assert (first.worker_id, second.worker_id) == ("hand", "hand")
    assert len(rest) == 2
    assert nothing == []


async def test_an_update_v2_with_nothing_more_to_do_gives_nothing(
    sdk: Sdk, api: AsyncTaskResourceApi, chain: str, kind: str
) -> None:
    sdk.start(chain)
    [first] = await api.batch_poll(kind, count=1, timeout=100)

    nothing = await api.update_task_v2(body=_result(first, "FAILED_WITH_TERMINAL_ERROR"))

    assert nothing is None


async def test_a_report_on_an_unknown_task_is_an_exception(
    sdk: Sdk, api: AsyncTaskResourceApi, chain: str
) -> None:
    run_id = sdk.start(chain)
    unknown = TaskResult(task_id="no-such-task", workflow_instance_id=run_id, status="COMPLETED")

    for report in (api.update_task, api.update_task_v2):
        with pytest.raises(ApiException) as refused:
            await report(body=unknown)
        assert refused.value.status == 404
        assert "no-such-task" in str(refused.value.body)
