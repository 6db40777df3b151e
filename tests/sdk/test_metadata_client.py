"""OrkesMetadataClient: workflow and task definitions, registered, read back and deleted."""

import json
from collections.abc import Callable

import pytest
from conductor.client.http.models.task_def import TaskDef
from conductor.client.http.models.workflow_def import WorkflowDef
from conductor.client.http.models.workflow_task import WorkflowTask
from conductor.client.http.rest import ApiException

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


def _definition(name: str, version: int = 1, description: str = "") -> WorkflowDef:
    step = WorkflowTask(
        name="step",
        task_reference_name="first",
        type="SIMPLE",
        input_parameters={"given": "${workflow.input.given}"},
    )
    return WorkflowDef(
        name=name,
        version=version,
        description=description,
        tasks=[step],
        input_parameters=["given"],
        output_parameters={"end": "${first.output.result}"},
        owner_email="sdk@batuta.example",
        schema_version=2,
        restartable=True,
        timeout_seconds=600,
        timeout_policy="TIME_OUT_WF",
    )


def test_a_definition_is_read_back_as_it_was_registered(sdk: Sdk, name: Name) -> None:
    sdk.metadata.register_workflow_def(_definition(name("wf"), description="the first"))

    found = sdk.metadata.get_workflow_def(name("wf"), version=1)

    assert (found.name, found.version, found.description) == (name("wf"), 1, "the first")
    assert found.tasks[0].task_reference_name == "first"
    assert found.tasks[0].input_parameters == {"given": "${workflow.input.given}"}
    assert found.output_parameters == {"end": "${first.output.result}"}
    assert (found.timeout_seconds, found.timeout_policy) == (600, "TIME_OUT_WF")
    assert found.owner_email == "sdk@batuta.example"


def test_what_was_read_can_be_registered_again(sdk: Sdk, name: Name) -> None:
    sdk.metadata.register_workflow_def(_definition(name("wf")))
    found = sdk.metadata.get_workflow_def(name("wf"))
    found.version = 2

    sdk.metadata.update_workflow_def(found)

    assert sdk.metadata.get_workflow_def(name("wf"), version=2).tasks[0].name == "step"


def test_without_a_version_the_latest_is_meant(sdk: Sdk, name: Name) -> None:
    for version in (1, 3, 2):
        sdk.metadata.update_workflow_def(_definition(name("wf"), version))

    latest = sdk.metadata.get_workflow_def(name("wf"))
    versions = {d.version for d in sdk.metadata.get_all_workflow_defs() if d.name == name("wf")}

    assert latest.version == 3
    assert versions == {1, 2, 3}


def test_an_existing_definition_is_replaced_only_when_that_was_said(sdk: Sdk, name: Name) -> None:
    sdk.metadata.register_workflow_def(_definition(name("wf"), description="old"))

    with pytest.raises(ApiException) as refused:
        sdk.metadata.register_workflow_def(_definition(name("wf")), overwrite=False)
    sdk.metadata.register_workflow_def(_definition(name("wf"), description="new"), overwrite=True)

    assert refused.value.status == 409
    assert name("wf") in refused.value.message
    assert sdk.metadata.get_workflow_def(name("wf")).description == "new"


def test_a_deleted_definition_is_gone_and_its_other_versions_stay(sdk: Sdk, name: Name) -> None:
    sdk.metadata.register_workflow_def(_definition(name("wf"), 1))
    sdk.metadata.register_workflow_def(_definition(name("wf"), 2))

    sdk.metadata.unregister_workflow_def(name("wf"), 2)

    assert sdk.metadata.get_workflow_def(name("wf")).version == 1
    with pytest.raises(ApiException) as gone:
        sdk.metadata.get_workflow_def(name("wf"), version=2)
    assert gone.value.status == 404


def test_a_tag_call_deletes_no_definition(sdk: Sdk, name: Name) -> None:
    sdk.metadata.register_workflow_def(_definition(name("wf")))

    with pytest.raises(ApiException) as refused:
        sdk.metadata.unregister_workflow_def(name("wf"), "tags")

    assert refused.value.status == 400
    assert sdk.metadata.get_workflow_def(name("wf")).version == 1


def test_a_faulty_definition_is_refused_with_all_its_faults(sdk: Sdk, name: Name) -> None:
    faulty = _definition(name("wf"))
    twin = WorkflowTask(name="step", task_reference_name="first", type="SIMPLE")
    loop = WorkflowTask(name="loop", task_reference_name="loop", type="DO_WHILE")
    faulty.tasks = [*faulty.tasks, twin, loop]

    with pytest.raises(ApiException) as refused:
        sdk.metadata.register_workflow_def(faulty)

    assert refused.value.status == 400
    assert refused.value.message == "Validation failed, check below errors for detail."
    faults = json.loads(refused.value.body)["validationErrors"]
    assert any("first" in fault["message"] for fault in faults), faults
    assert any("tasks[2]" in fault["path"] for fault in faults), faults


def test_a_task_definition_is_registered_changed_and_deleted(sdk: Sdk, name: Name) -> None:
    kind = name("kind")
    sdk.metadata.register_task_def(
        TaskDef(
            name=kind,
            description="compiles",
            retry_count=4,
            retry_logic="EXPONENTIAL_BACKOFF",
            retry_delay_seconds=3,
            timeout_seconds=30,
            timeout_policy="TIME_OUT_WF",
            response_timeout_seconds=10,
            input_keys=["source"],
            output_keys=["binary"],
        )
    )
    found = sdk.metadata.get_task_def(kind)
    found.retry_count = 9
    sdk.metadata.update_task_def(found)
    changed = sdk.metadata.get_task_def(kind)
    listed = {task.name for task in sdk.metadata.get_all_task_defs()}
    sdk.metadata.unregister_task_def(kind)

    assert (changed.retry_count, changed.retry_logic) == (9, "EXPONENTIAL_BACKOFF")
    assert (changed.retry_delay_seconds, changed.timeout_policy) == (3, "TIME_OUT_WF")
    assert (changed.timeout_seconds, changed.response_timeout_seconds) == (30, 10)
    assert (changed.input_keys, changed.output_keys) == (["source"], ["binary"])
    assert kind in listed
    with pytest.raises(ApiException) as gone:
        sdk.metadata.get_task_def(kind)
    assert gone.value.status == 404
    assert kind in gone.value.message


def test_changing_an_unknown_task_definition_is_refused(sdk: Sdk, name: Name) -> None:
    with pytest.raises(ApiException) as refused:
        sdk.metadata.update_task_def(TaskDef(name=name("unknown")))

    assert refused.value.status == 404
    assert name("unknown") in refused.value.message
