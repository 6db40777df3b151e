"""Reading definitions from JSON documents, and giving them back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batuta.core.definition.normalize import (
    DEPTH_MAX,
    read_task_def,
    read_workflow_def,
    to_document,
)
from batuta.core.definition.validate import validate_task_def, validate_workflow_def
from batuta.model.definition import RetryLogic, TaskDef, WorkflowDef, WorkflowTask
from batuta.model.error import Fault, InvalidError


def workflow(*tasks: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "w", "tasks": list(tasks), **fields}


def simple(ref: str, **fields: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, **fields}


def faults_of(document: Any, *, strict: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(InvalidError) as caught:
        read_workflow_def(document, strict=strict)
    return [(fault.path, fault.message) for fault in caught.value.faults]


def test_the_defaults_of_a_workflow_are_conductors() -> None:
    """Rule a.1: version 1, schemaVersion 2, restartable, ALERT_ONLY, timeoutSeconds 0."""
    document = to_document(read_workflow_def(workflow()))

    assert document == {
        "name": "w",
        "version": 1,
        "tasks": [],
        "inputParameters": [],
        "outputParameters": {},
        "schemaVersion": 2,
        "restartable": True,
        "workflowStatusListenerEnabled": False,
        "timeoutPolicy": "ALERT_ONLY",
        "timeoutSeconds": 0,
        "variables": {},
        "inputTemplate": {},
        "enforceSchema": True,
        "metadata": {},
        "maskedFields": [],
        "createTime": 0,
        "updateTime": 0,
    }


def test_the_defaults_of_a_task_def_are_conductors() -> None:
    """Rule a.4: 3 retries, FIXED 60 s, response 3600 s, TIME_OUT_WF, scale 1."""
    document = to_document(read_task_def({"name": "t"}))

    assert document == {
        "name": "t",
        "retryCount": 3,
        "timeoutSeconds": 0,
        "timeoutPolicy": "TIME_OUT_WF",
        "responseTimeoutSeconds": 3600,
        "totalTimeoutSeconds": 0,
        "retryLogic": "FIXED",
        "retryDelaySeconds": 60,
        "backoffScaleFactor": 1,
        "maxRetryDelaySeconds": 0,
        "backoffJitterMs": 0,
        "rateLimitPerFrequency": 0,
        "rateLimitFrequencyInSeconds": 1,
        "inputKeys": [],
        "outputKeys": [],
        "inputTemplate": {},
        "runtimeMetadata": [],
        "taskStatusListenerEnabled": True,
        "enforceSchema": False,
        "createTime": 0,
        "updateTime": 0,
    }


def test_null_means_absent_and_unknown_fields_are_ignored() -> None:
    """Rule 0: unknown JSON properties ignored; null for a primitive = default."""
    read = read_workflow_def(
        workflow(simple("a", type=None, retryCount=None, inputParameters=None, callback=True))
    )

    assert read == WorkflowDef(name="w", tasks=[WorkflowTask(name="a", task_reference_name="a")])


def test_nulls_within_maps_are_kept_and_null_fields_are_left_out() -> None:
    """Rule 0, gotcha 8: null bean properties are omitted; nulls inside maps are kept."""
    document = workflow(simple("a", inputParameters={"x": None}, sink=None), ownerEmail=None)

    echoed = to_document(read_workflow_def(document))

    assert echoed["tasks"][0]["inputParameters"] == {"x": None}
    assert "sink" not in echoed["tasks"][0]
    assert "ownerEmail" not in echoed


def test_numbers_and_booleans_written_as_text_are_read() -> None:
    """Jackson coerces scalars; only a text that is no number is a fault."""
    read = read_workflow_def(
        workflow(simple("a", retryCount="2", optional="true", description=7), version=2.0)
    )

    assert (read.version, read.tasks[0].retry_count) == (2, 2)
    assert read.tasks[0].optional is True
    assert read.tasks[0].description == "7"


@pytest.mark.parametrize("number", [-(2**31), 2**31 - 1])
def test_an_integer_may_be_as_large_as_javas(number: int) -> None:
    assert read_workflow_def(workflow(version=number)).version == number
    assert [path for path, _ in faults_of(workflow(version=number * 2))] == ["version"]


def test_all_faults_are_reported_with_their_paths() -> None:
    document = workflow(
        simple("a"),
        simple("b", forkTasks=[[], [simple("c", inputParameters=[])]]),
        simple(
            "d",
            type="SWITCH",
            decisionCases={"true": [simple("e", retryCount="x", retryLogic="SOON")]},
            subWorkflowParam={"version": "latest", "workflowDefinition": "mine"},
        ),
        "f",
        restartable="maybe",
        version=2**40,
        inputParameters={},
    )

    assert faults_of(document) == [
        ("version", "expected an integer from -2147483648 to 2147483647, got 1099511627776"),
        ("tasks[1].forkTasks[1][0].inputParameters", "expected an object, got a list"),
        ("tasks[2].decisionCases.true[0].retryCount", "expected an integer, got 'x'"),
        (
            "tasks[2].decisionCases.true[0].retryLogic",
            "expected one of FIXED, EXPONENTIAL_BACKOFF, LINEAR_BACKOFF, got 'SOON'",
        ),
        (
            "tasks[2].subWorkflowParam.version",
            "expected a whole number or one ${...} expression, got 'latest'",
        ),
        (
            "tasks[2].subWorkflowParam.workflowDefinition",
            "expected an object or one ${...} expression, got 'mine'",
        ),
        ("tasks[3]", "expected an object, got 'f'"),
        ("inputParameters", "expected a list, got an object"),
        ("restartable", "expected true or false, got 'maybe'"),
    ]


def test_the_message_of_the_error_names_the_definition_and_every_fault() -> None:
    with pytest.raises(InvalidError) as caught:
        read_task_def({"name": "t", "retryCount": [], "timeoutSeconds": True})

    assert caught.value.message == (
        "task definition 't' cannot be read: retryCount: expected an integer, got a list;"
        " timeoutSeconds: expected an integer, got true"
    )
    assert caught.value.faults[0] == Fault("retryCount", "expected an integer, got a list", [])


@pytest.mark.parametrize("document", [None, 3, "x", [], [{}], True, float("nan")])
def test_what_is_no_object_is_refused(document: Any) -> None:
    [(path, message)] = faults_of(document)

    assert path == ""
    assert message.startswith("expected an object, got ")


def nested(levels: int) -> dict[str, Any]:
    value: Any = {}
    for _ in range(levels - 3):
        value = {"x": value}
    return workflow(simple("a"), outputParameters={"deep": value})


def test_a_document_nests_only_so_deep() -> None:
    assert read_workflow_def(nested(DEPTH_MAX)).name == "w"
    [(path, message)] = faults_of(nested(DEPTH_MAX + 1))
    assert path == ""
    assert message == "the workflow definition nests deeper than 100 levels; use sub-workflows"
    assert faults_of(nested(200_000)) == [(path, message)]


def test_the_deepest_tree_of_tasks_is_read_judged_and_given_back() -> None:
    task = simple("t0")
    # The workflow, its list and the innermost task are three levels; each loop adds two.
    for number in range(1, (DEPTH_MAX - 3) // 2 + 1):
        task = simple(f"t{number}", type="DO_WHILE", loopCondition="false", loopOver=[task])

    read = read_workflow_def(workflow(task))

    assert read_workflow_def(to_document(read)) == read
    assert validate_workflow_def(read, strict=True) == []
    assert faults_of(workflow(simple("top", loopOver=[task])))


def test_a_response_timeout_left_out_shrinks_to_the_timeout() -> None:
    """Contract S2.2: default the response timeout to min(3600, timeoutSeconds) when absent."""
    short = read_task_def({"name": "t", "timeoutSeconds": 60})
    long = read_task_def({"name": "t", "timeoutSeconds": 9000, "responseTimeoutSeconds": None})
    given_one = read_task_def({"name": "t", "timeoutSeconds": 60, "responseTimeoutSeconds": 90})

    assert short.response_timeout_seconds == 60
    assert long.response_timeout_seconds == 3600
    assert given_one.response_timeout_seconds == 90


def test_strict_refuses_the_timeout_alone_as_conductor_does() -> None:
    """Gotcha 13: TaskDef {timeoutSeconds: 60} is rejected, because 3600 > 60."""
    strict = read_task_def({"name": "t", "timeoutSeconds": 60}, strict=True)

    assert strict.response_timeout_seconds == 3600
    assert [fault.path for fault in validate_task_def(strict, strict=True)] == [
        "responseTimeoutSeconds"
    ]


def test_output_keys_may_be_an_object_unless_strict() -> None:
    """Contract S2.2: capture_performance_metrics has an object for outputKeys, kept verbatim."""
    document = {"name": "t", "outputKeys": {"metrics": {"fps": "number"}}}

    assert to_document(read_task_def(document))["outputKeys"] == {"metrics": {"fps": "number"}}
    with pytest.raises(InvalidError) as caught:
        read_task_def(document, strict=True)
    assert [fault.path for fault in caught.value.faults] == ["outputKeys"]


K1_CHILD = {
    "subWorkflowName": "firmware-ci-cd-pipeline",
    "subWorkflowVersion": 1,
    "workflowInput": {"repo": "${workflow.input.repo}"},
}


@pytest.mark.parametrize(
    "inputs",
    [
        K1_CHILD,
        {
            "name": "firmware-ci-cd-pipeline",
            "version": "1",
            "input": {"repo": "${workflow.input.repo}"},
        },
        {
            "subWorkflowName": "firmware-ci-cd-pipeline",
            "subWorkflowVersion": 1,
            "repo": "${workflow.input.repo}",
        },
    ],
)
def test_a_sub_workflow_may_be_named_in_the_input(inputs: dict[str, Any]) -> None:
    """Contract S2.2: name/version/input in inputParameters and no subWorkflowParam: an alias."""
    read = read_workflow_def(workflow(simple("s", type="SUB_WORKFLOW", inputParameters=inputs)))

    task = read.tasks[0]
    assert task.sub_workflow_param is not None
    assert task.sub_workflow_param.name == "firmware-ci-cd-pipeline"
    assert task.sub_workflow_param.version == 1
    assert task.input_parameters == {"repo": "${workflow.input.repo}"}


def test_strict_does_not_look_for_the_sub_workflow_in_the_input() -> None:
    document = workflow(simple("s", type="SUB_WORKFLOW", inputParameters=K1_CHILD))

    read = read_workflow_def(document, strict=True)

    assert read.tasks[0].sub_workflow_param is None
    assert read.tasks[0].input_parameters == K1_CHILD


def test_a_sub_workflow_given_properly_keeps_its_input() -> None:
    document = workflow(
        simple("s", type="SUB_WORKFLOW", inputParameters=K1_CHILD, subWorkflowParam={"name": "x"})
    )

    assert read_workflow_def(document).tasks[0].input_parameters == K1_CHILD


def test_a_faulty_alias_is_reported_where_it_stands() -> None:
    inputs = {"subWorkflowName": [], "subWorkflowVersion": "newest"}

    assert faults_of(workflow(simple("s", type="SUB_WORKFLOW", inputParameters=inputs))) == [
        ("tasks[0].inputParameters.subWorkflowName", "expected text, got a list"),
        (
            "tasks[0].inputParameters.subWorkflowVersion",
            "expected a whole number or one ${...} expression, got 'newest'",
        ),
    ]


def test_an_inline_definition_gives_the_sub_workflow_its_name() -> None:
    """Rule a.2: with an inline object, `name` reads as the inline def's name."""
    params = {"name": "ignored", "workflowDefinition": workflow(simple("x"))}
    document = workflow(simple("s", type="SUB_WORKFLOW", subWorkflowParam=params))

    read = read_workflow_def(document).tasks[0].sub_workflow_param

    assert read is not None
    assert read.name == "w"
    assert isinstance(read.workflow_definition, WorkflowDef)


def test_a_sub_workflow_may_be_one_expression() -> None:
    """Rule a.2: workflowDefinition is an object or one "${...}" string."""
    params = {"name": "n", "version": "${a.output.v}", "workflowDefinition": "${a.output.def}"}
    document = workflow(simple("s", type="SUB_WORKFLOW", subWorkflowParam=params))

    read = read_workflow_def(document).tasks[0].sub_workflow_param

    assert read is not None
    assert (read.version, read.workflow_definition) == ("${a.output.v}", "${a.output.def}")


def test_retries_and_timeouts_of_a_workflow_task_are_read() -> None:
    """Contract S2.2: honour retryLogic, retryDelaySeconds and timeoutSeconds per task."""
    task = simple("a", retryCount=3, retryLogic="EXPONENTIAL_BACKOFF", retryDelaySeconds=60)

    read = read_workflow_def(workflow(task | {"timeoutSeconds": 180})).tasks[0]

    assert read.retry_logic is RetryLogic.EXPONENTIAL_BACKOFF
    assert (read.retry_count, read.retry_delay_seconds, read.timeout_seconds) == (3, 60, 180)


def field_names(cls: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(cls)]


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${a.b}", "12", "FIXED", "true", "SUB_WORKFLOW", "DO_WHILE", "1 day"])
)
keys = st.sampled_from(
    [
        *field_names(WorkflowDef),
        *field_names(WorkflowTask),
        *field_names(TaskDef),
        *("workflowDefinition", "subWorkflowName", "duration", "until", "waitTime", ""),
    ]
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)
tasks = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["WAIT", "SUB_WORKFLOW", "SWITCH", "FORK_JOIN", "JOIN", ""])},
        optional={
            "inputParameters": anything,
            "taskReferenceName": st.text(max_size=4),
            "subWorkflowParam": anything,
            "loopOver": anything,
            "forkTasks": anything,
            "joinOn": anything,
            "decisionCases": anything,
            "taskDefinition": anything,
        },
    ),
    max_size=3,
)
documents = anything | st.fixed_dictionaries({"name": anything, "tasks": tasks})


@settings(max_examples=300, deadline=None)
@given(documents, st.booleans())
def test_any_document_is_read_and_judged_or_refused(document: Any, strict: bool) -> None:  # noqa: FBT001
    try:
        read = read_workflow_def(document, strict=strict)
    except InvalidError:
        return

    validate_workflow_def(read, strict=strict)
    assert msgspec.json.encode(read_workflow_def(to_document(read), strict=strict)) == (
        msgspec.json.encode(read)
    )


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, scalars | anything, max_size=8), st.booleans())
def test_any_task_document_is_read_and_judged_or_refused(document: Any, strict: bool) -> None:  # noqa: FBT001
    try:
        read = read_task_def(document, strict=strict)
    except InvalidError:
        return

    validate_task_def(read, strict=strict)
    assert msgspec.json.encode(read_task_def(to_document(read), strict=strict)) == (
        msgspec.json.encode(read)
    )
