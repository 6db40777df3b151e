"""Search by the SDK: its search call, and runs by correlation id."""

from collections.abc import Callable

import pytest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


@pytest.fixture
def chain(sdk: Sdk, name: Name) -> str:
    sdk.define_task(name("step"))
    sdk.define_chain(name("chain"), [name("step")])
    return name("chain")


def test_a_search_finds_what_was_started(sdk: Sdk, chain: str) -> None:
    ended, running = sdk.start(chain, "x"), sdk.start(chain)
    sdk.workflows.terminate_workflow(ended, "not wanted")

    page = sdk.workflows.search(
        query=f"workflowType='{chain}' AND status IN (TERMINATED, FAILED)", size=10
    )
    every = sdk.workflows.search(query=f"workflowType={chain}", free_text="*")

    [found] = page.results
    assert (found.workflow_id, found.status, found.version) == (ended, "TERMINATED", 1)
    assert found.reason_for_incompletion == "not wanted"
    assert found.input == "{given=x}"
    assert {one.workflow_id for one in every.results} == {ended, running}


def test_a_wrong_query_is_an_error_that_names_the_field(sdk: Sdk) -> None:
    with pytest.raises(ApiException) as refused:
        sdk.workflows.search(query="colour=red")

    assert refused.value.status == 400
    assert "unknown field 'colour'" in refused.value.message


def test_open_runs_are_listed_by_type(sdk: Sdk, chain: str) -> None:
    ended, running = sdk.start(chain), sdk.start(chain)
    sdk.workflows.terminate_workflow(ended)

    listed = sdk.workflows.workflowResourceApi.get_running_workflow(chain)

    assert listed == [running]


def test_runs_are_found_by_correlation_id(sdk: Sdk, chain: str, name: Name) -> None:
    request = StartWorkflowRequest(name=chain, version=1, correlation_id=name("order"))
    run_id = sdk.workflows.start_workflow(request)

    found = sdk.workflows.get_by_correlation_ids(
        chain, [name("order"), "none"], include_completed=True, include_tasks=True
    )

    assert set(found) == {name("order"), "none"}
    assert [run.workflow_id for run in found[name("order")]] == [run_id]
    assert len(found[name("order")][0].tasks) == 1
    assert found["none"] == []
