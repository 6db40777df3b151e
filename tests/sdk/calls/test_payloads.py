"""TaskResourceApi: where a large payload is uploaded, and a run that is started with it."""

import json
import urllib.request

import pytest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk

LARGE = "x" * 200_000


def test_an_input_that_was_uploaded_is_the_runs(sdk: Sdk, chain: str, kind: str) -> None:
    """The SDK asks for the place; putting the bytes there is left to its user."""
    api = sdk.tasks.taskResourceApi
    place = api.get_external_storage_location1("", "WRITE", "WORKFLOW_INPUT")
    body = json.dumps({"given": LARGE}).encode()
    upload = urllib.request.Request(place.uri, body, method="PUT")
    with urllib.request.urlopen(upload) as answer:
        assert answer.status == 200

    run_id = sdk.workflows.start_workflow(
        StartWorkflowRequest(name=chain, version=1, external_input_payload_storage_path=place.path)
    )
    again = api.get_external_storage_location1(place.path, "READ", "WORKFLOW_INPUT")

    assert again.path == place.path
    assert sdk.tasks.poll_task(kind).input_data == {"number": 0, "given": LARGE}
    assert sdk.workflows.get_workflow(run_id).input == {"given": LARGE}


def test_a_place_for_what_is_no_payload_is_refused(sdk: Sdk) -> None:
    api = sdk.tasks.taskResourceApi

    with pytest.raises(ApiException) as kind:
        api.get_external_storage_location1("", "WRITE", "LOVE_LETTER")
    with pytest.raises(ApiException) as path:
        api.get_external_storage_location1("nowhere/x.json", "READ", "TASK_INPUT")

    assert (kind.value.status, "LOVE_LETTER" in kind.value.message) == (400, True)
    assert (path.value.status, "path" in path.value.message) == (400, True)
