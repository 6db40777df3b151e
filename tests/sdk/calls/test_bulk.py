"""WorkflowBulkResourceApi: an operation on many runs, each succeeding or failing for itself."""

import pytest
from conductor.client.http.api.workflow_bulk_resource_api import WorkflowBulkResourceApi
from conductor.client.http.models.bulk_response import BulkResponse
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk

NOBODY = "01a1f82b-0000-7000-8000-000000000000"
TOO_MANY = 1001


@pytest.fixture
def bulk(sdk: Sdk) -> WorkflowBulkResourceApi:
    return WorkflowBulkResourceApi(sdk.workflows.api_client)


@pytest.fixture
def runs(sdk: Sdk, chain: str) -> list[str]:
    return [sdk.start(chain, number) for number in range(3)]


def _statuses(sdk: Sdk, runs: list[str]) -> list[str]:
    return [sdk.workflows.get_workflow(run).status for run in runs]


def _check(answer: BulkResponse, runs: list[str]) -> None:
    """Fail unless these runs succeeded and the one that nobody knows did not."""
    assert sorted(answer.bulk_successful_results) == sorted(runs)
    assert list(answer.bulk_error_results) == [NOBODY]
    assert NOBODY in answer.bulk_error_results[NOBODY]


def test_many_runs_are_paused_and_resumed(
    sdk: Sdk, bulk: WorkflowBulkResourceApi, runs: list[str]
) -> None:
    paused = bulk.pause_workflow([*runs, NOBODY])
    between = _statuses(sdk, runs)
    resumed = bulk.resume_workflow([*runs, NOBODY])
    again = bulk.resume_workflow(runs)

    _check(paused, runs)
    _check(resumed, runs)
    assert (between, _statuses(sdk, runs)) == (["PAUSED"] * 3, ["RUNNING"] * 3)
    assert (again.bulk_successful_results, len(again.bulk_error_results)) == ([], 3)


def test_many_runs_are_terminated_with_a_reason_and_restarted(
    sdk: Sdk, bulk: WorkflowBulkResourceApi, runs: list[str]
) -> None:
    ended = bulk.terminate([*runs, NOBODY], reason="all of them")
    reasons = [sdk.workflows.get_workflow(run).reason_for_incompletion for run in runs]
    restarted = bulk.restart([*runs, NOBODY], use_latest_definitions=True)

    _check(ended, runs)
    _check(restarted, runs)
    assert reasons == ["all of them"] * 3
    assert _statuses(sdk, runs) == ["RUNNING"] * 3


def test_many_failed_runs_are_retried(
    sdk: Sdk, bulk: WorkflowBulkResourceApi, runs: list[str], kind: str
) -> None:
    for _ in runs:
        sdk.report(sdk.tasks.poll_task(kind), "FAILED_WITH_TERMINAL_ERROR")
    before = _statuses(sdk, runs)

    answer = bulk.retry([*runs, NOBODY])

    _check(answer, runs)
    assert (before, _statuses(sdk, runs)) == (["FAILED"] * 3, ["RUNNING"] * 3)


@pytest.mark.parametrize(
    "function", ["pause_workflow", "resume_workflow", "restart", "retry", "terminate"]
)
def test_more_runs_than_the_limit_are_refused(bulk: WorkflowBulkResourceApi, function: str) -> None:
    with pytest.raises(ApiException) as refused:
        getattr(bulk, function)([NOBODY] * TOO_MANY)

    assert refused.value.status == 400
    assert "1000" in refused.value.message
