"""The rules that a definition must keep, each with the rule of Conductor that it shows."""

from typing import Any

import pytest

from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.definition.validate import validate_task_def, validate_workflow_def
from batuta.model.definition import TaskDef


def task(ref: str, type_: str = "SIMPLE", /, **fields: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": type_, **fields}


def faults_of(*tasks: dict[str, Any], strict: bool = False, **fields: Any) -> list[tuple[str, str]]:
    def_ = read_workflow_def({"name": "w", "tasks": list(tasks), **fields}, strict=strict)
    return [(f.path, f.message) for f in validate_workflow_def(def_, strict=strict)]


def paths_of(*tasks: dict[str, Any], strict: bool = False, **fields: Any) -> list[str]:
    return [path for path, _ in faults_of(*tasks, strict=strict, **fields)]


A = task("a")
JOIN = task("join", "JOIN")


def test_a_plain_workflow_has_no_faults() -> None:
    assert faults_of(A, task("b", inputParameters={"x": "${a.output.y}"})) == []


def test_the_header_of_a_workflow_is_judged() -> None:
    """Rule a.1: name required; tasks non-empty; schemaVersion must be exactly 2."""
    faults = faults_of(name="", schemaVersion=1, version=-1, timeoutSeconds=-5)

    assert faults == [
        ("name", "workflow def has no name; give it one"),
        ("version", "version -1 of workflow def '' is negative; use 1 or more"),
        ("schemaVersion", "schemaVersion 1 of workflow def '' is unknown; use 2"),
        ("timeoutSeconds", "timeoutSeconds -5 of workflow def '' is negative; use 0 for no limit"),
        ("tasks", "workflow def '' has no tasks; give at least one"),
    ]


def test_a_reference_name_is_unique_in_the_whole_tree() -> None:
    """Rule a.3: duplicate taskReferenceName anywhere in the static tree, Conductor's message."""
    faults = faults_of(
        A,
        task("f", "FORK_JOIN", forkTasks=[[task("b")], [task("a")]]),
        JOIN,
        task("s", "SWITCH", evaluatorType="value-param", expression="x", decisionCases={"1": [A]}),
        task("l", "DO_WHILE", loopCondition="false", loopOver=[task("b")]),
    )

    expected = (
        "taskReferenceName: {} should be unique across tasks for a given workflowDefinition: w"
    )
    assert faults == [
        ("tasks[1].forkTasks[1][0].taskReferenceName", expected.format("a")),
        ("tasks[3].decisionCases.1[0].taskReferenceName", expected.format("a")),
        ("tasks[4].loopOver[0].taskReferenceName", expected.format("b")),
    ]


def test_a_name_a_reference_name_and_a_type_are_required() -> None:
    """Rule a.2: name and taskReferenceName are required."""
    assert paths_of({"name": "a"}, {"taskReferenceName": "b"}, task("c", " ")) == [
        "tasks[0].taskReferenceName",
        "tasks[1].name",
        "tasks[2].type",
    ]


@pytest.mark.parametrize("ref", ["workflow", "a__1", "a__2b"])
def test_a_reference_name_that_would_be_misread_is_refused(ref: str) -> None:
    """Gotcha 33: a ref containing `__` is truncated; `workflow` is the root of its own data."""
    assert paths_of(task(ref)) == ["tasks[0].taskReferenceName"]


def test_two_underscores_before_a_letter_are_accepted() -> None:
    assert faults_of(task("a__b")) == []


def test_negative_numbers_of_a_task_are_refused() -> None:
    """Rule a.2: startDelay >= 0."""
    bad = task("a", startDelay=-1, retryCount=-1, retryDelaySeconds=-1, timeoutSeconds=-1)

    assert faults_of(bad | {"responseTimeoutSeconds": -1}) == [
        ("tasks[0].startDelay", "SIMPLE task 'a' has the negative startDelay -1; use 0 for none"),
        ("tasks[0].retryCount", "retryCount -1 of task 'a' is negative; use 0 for none"),
        (
            "tasks[0].timeoutSeconds",
            "timeoutSeconds -1 of task 'a' is negative; use 0 for no limit",
        ),
        (
            "tasks[0].retryDelaySeconds",
            "retryDelaySeconds -1 of task 'a' is negative; use 0 for none",
        ),
        (
            "tasks[0].responseTimeoutSeconds",
            "SIMPLE task 'a' has the negative responseTimeoutSeconds -1",
        ),
    ]


def test_zero_is_not_negative() -> None:
    zeros = ("startDelay", "retryCount", "retryDelaySeconds", "responseTimeoutSeconds")

    assert faults_of(task("a", **dict.fromkeys(zeros, 0)), version=0, timeoutSeconds=0) == []


def test_an_embedded_task_def_is_judged_only_for_negative_numbers() -> None:
    """Conductor itself embeds responseTimeoutSeconds 0 for types that have no registered def."""
    embedded = {"name": "a", "timeoutSeconds": 5, "responseTimeoutSeconds": 9, "retryCount": -1}

    assert paths_of(task("a", taskDefinition=embedded)) == ["tasks[0].taskDefinition.retryCount"]
    assert faults_of(task("a", "WAIT", taskDefinition={"responseTimeoutSeconds": 0})) == []


def test_an_unknown_type_is_a_worker_task() -> None:
    assert faults_of(task("a", "MY_OWN_TYPE"), task("h", "HUMAN"), task("n", "NOOP")) == []


def test_an_expression_of_a_top_level_task_must_name_something() -> None:
    """Rule a.3: for top-level tasks, `a` of `${a.b}` is `workflow`, a ref or an env name."""
    inputs = {
        "fine": ["${workflow.input.x}", "${a.output['k'].v} of ${b.output}", "${ }", "$${nope.x}"],
        "id": "${CPEWF_TASK_ID}",
        "bad": {"deep": [1, None, "see ${typo.output.x}"]},
        "torn": "${a.output[}",
    }

    assert faults_of(A, task("b", inputParameters=inputs)) == [
        (
            "tasks[1].inputParameters.bad.deep[2]",
            (
                "SIMPLE task 'b' reads '${typo.output.x}', but 'typo' is no task of this workflow;"
                " use 'workflow' or a taskReferenceName"
            ),
        ),
        (
            "tasks[1].inputParameters.torn",
            "SIMPLE task 'b' reads '${a.output[}', which is no path; correct or escape it",
        ),
    ]


def test_names_are_not_looked_up_below_the_top_level() -> None:
    """Gotcha 16: undefined-reference checking covers only top-level tasks."""
    lost = task("b", inputParameters={"x": "${typo.output}"})
    inline = {"name": "child", "tasks": [lost]}

    assert faults_of(task("l", "DO_WHILE", loopCondition="false", loopOver=[lost])) == []
    assert (
        faults_of(task("s", "SUB_WORKFLOW", subWorkflowParam={"workflowDefinition": inline})) == []
    )


def test_an_environment_name_resolves_only_when_it_is_allowed() -> None:
    def_ = read_workflow_def(
        {"name": "w", "tasks": [task("a", inputParameters={"x": "${REGION}"})]}
    )

    assert validate_workflow_def(def_, strict=False, environment=["REGION"]) == []
    assert len(validate_workflow_def(def_, strict=False)) == 1


SWITCH = {"evaluatorType": "value-param", "expression": "x", "decisionCases": {"1": [A]}}


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (task("t", "EVENT"), "sink"),
        (task("t", "DECISION", decisionCases={"1": [A]}), "caseValueParam"),
        (task("t", "DECISION", caseExpression="$.x"), "decisionCases"),
        (task("t", "SWITCH", **SWITCH | {"evaluatorType": None}), "evaluatorType"),
        (task("t", "SWITCH", **SWITCH | {"expression": ""}), "expression"),
        (task("t", "SWITCH", **SWITCH | {"decisionCases": {}}), "decisionCases"),
        (task("t", "DYNAMIC"), "dynamicTaskNameParam"),
        (task("t", "SUB_WORKFLOW"), "subWorkflowParam"),
        (task("t", "SUB_WORKFLOW", subWorkflowParam={}), "subWorkflowParam.name"),
        (
            task("t", "SUB_WORKFLOW", subWorkflowParam={"name": "x", "version": -1}),
            "subWorkflowParam.version",
        ),
        (task("t", "HTTP"), "inputParameters.http_request"),
        (task("t", "KAFKA_PUBLISH"), "inputParameters.kafka_request"),
        (task("t", "JSON_JQ_TRANSFORM"), "inputParameters.queryExpression"),
        (task("t", "DO_WHILE", loopCondition="false"), "loopOver"),
        (task("t", "DO_WHILE", loopOver=[A]), "loopCondition"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_type_needs_its_fields(bad: dict[str, Any], path: str, *, strict: bool) -> None:
    """Rule a.3, "per type": what each of them needs, at the path where it is missing."""
    assert paths_of(bad, strict=strict) == [f"tasks[0].{path}"]


@pytest.mark.parametrize(
    "good",
    [
        task("t", "EVENT", sink="conductor:x"),
        task("t", "DECISION", caseValueParam="x", decisionCases={"1": [A]}),
        task("t", "SWITCH", **SWITCH),
        task("t", "DYNAMIC", dynamicTaskNameParam="x"),
        task("t", "SUB_WORKFLOW", subWorkflowParam={"name": "x", "version": 0}),
        task("t", "SUB_WORKFLOW", subWorkflowParam={"workflowDefinition": "${workflow.input.d}"}),
        task("t", "HTTP", inputParameters={"uri": "http://x", "method": "GET"}),
        task("t", "HTTP", inputParameters={"http_request": {"uri": "http://x"}}),
        task("t", "KAFKA_PUBLISH", inputParameters={"kafka_request": {}}),
        task("t", "JSON_JQ_TRANSFORM", inputParameters={"queryExpression": "."}),
        task("t", "DO_WHILE", loopCondition="false", loopOver=[A]),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_type_with_its_fields_is_accepted(good: dict[str, Any], *, strict: bool) -> None:
    assert faults_of(good, strict=strict) == []


def test_an_input_template_counts_as_input() -> None:
    """Rule a.3: HTTP needs `http_request` (input or TaskDef.inputTemplate)."""
    template = {"inputTemplate": {"http_request": {"uri": "http://x"}}}
    plain = read_workflow_def({"name": "w", "tasks": [task("call", "HTTP")]})
    registered = TaskDef(name="call", input_template=template["inputTemplate"])

    assert faults_of(task("call", "HTTP", taskDefinition=template)) == []
    assert validate_workflow_def(plain, strict=True, task_defs={"call": registered}) == []


@pytest.mark.parametrize("strict", [False, True])
def test_items_replace_the_condition_of_a_loop_unless_strict(*, strict: bool) -> None:
    """Gotcha 17: DO_WHILE needs a non-null loopCondition even in `items` mode."""
    expected = ["tasks[0].loopCondition"] if strict else []

    by_field = task("t", "DO_WHILE", items="${workflow.input.list}", loopOver=[A])
    by_input = task("t", "DO_WHILE", inputParameters={"_items": [1, 2]}, loopOver=[A])

    assert paths_of(by_field, strict=strict) == expected
    assert paths_of(by_input, strict=strict) == expected


@pytest.mark.parametrize("kind", ["FORK_JOIN", "FORK_JOIN_DYNAMIC"])
def test_a_fork_is_followed_by_a_join(kind: str) -> None:
    """Rule c.7: must be followed by a JOIN, else the workflow would FAIL when it gets there."""
    fork = task("f", kind, forkTasks=[[A]], inputParameters={"forkTaskInputs": []})

    assert paths_of(fork) == ["tasks[0].type"]
    assert paths_of(fork, task("b"), JOIN) == ["tasks[0].type"]
    assert faults_of(fork, JOIN) == []


def test_a_fork_needs_branches_and_every_branch_a_task() -> None:
    """Rule a.3: FORK_JOIN non-empty forkTasks."""
    assert paths_of(task("f", "FORK_JOIN"), JOIN) == ["tasks[0].forkTasks"]
    assert paths_of(task("f", "FORK_JOIN", forkTasks=[[A], []]), JOIN) == ["tasks[0].forkTasks[1]"]


@pytest.mark.parametrize(
    ("fields", "faulty"),
    [
        ({}, True),
        ({"dynamicForkTasksParam": "x"}, True),
        ({"dynamicForkTasksInputParamName": "x"}, True),
        ({"dynamicForkTasksParam": "x", "dynamicForkTasksInputParamName": "y"}, False),
        ({"dynamicForkJoinTasksParam": "x"}, False),
        ({"dynamicForkJoinTasksParam": "x", "dynamicForkTasksParam": "y"}, True),
        ({"inputParameters": {"forkTaskInputs": "${workflow.input.list}"}}, False),
    ],
)
def test_a_dynamic_fork_has_one_of_its_three_forms(fields: dict[str, Any], *, faulty: bool) -> None:
    """Rule a.3: forkTaskInputs, or dynamicForkJoinTasksParam alone, or both other parameters."""
    assert bool(faults_of(task("f", "FORK_JOIN_DYNAMIC", **fields), JOIN)) is faulty


def test_a_join_waits_only_for_tasks_that_exist() -> None:
    """Conductor waits for ever on a typo in joinOn; here it is a fault of the definition."""
    join = task("j", "JOIN", joinOn=["a", "typo", "j"])
    exclusive = task("x", "EXCLUSIVE_JOIN", joinOn=["typo"], defaultExclusiveJoinTask=["nil"])

    assert faults_of(A, join)[0] == (
        "tasks[1].joinOn[1]",
        "JOIN task 'j' waits for 'typo', which is no task of this workflow; it would wait for ever",
    )
    assert paths_of(A, join) == ["tasks[1].joinOn[1]", "tasks[1].joinOn[2]"]
    assert paths_of(exclusive) == ["tasks[0].joinOn[0]", "tasks[0].defaultExclusiveJoinTask[0]"]


def test_the_join_of_a_dynamic_fork_may_name_what_comes_later() -> None:
    """Rule c.7: joinOn = last ref of each branch, which replaces what the definition says."""
    fork = task("f", "FORK_JOIN_DYNAMIC", dynamicForkJoinTasksParam="x")

    assert faults_of(fork, task("j", "JOIN", joinOn=["made_later"])) == []


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED"])
def test_terminate_takes_three_statuses(status: str) -> None:
    """Rule a.3: terminationStatus must literally be COMPLETED, FAILED or TERMINATED."""
    assert faults_of(task("t", "TERMINATE", inputParameters={"terminationStatus": status})) == []


@pytest.mark.parametrize("status", ["completed", "TIMED_OUT", "${workflow.input.s}", None, 1, []])
def test_terminate_takes_no_other_status(status: Any) -> None:
    bad = task("t", "TERMINATE", inputParameters={"terminationStatus": status})

    assert paths_of(bad) == ["tasks[0].inputParameters.terminationStatus"]


def test_terminate_must_not_be_optional() -> None:
    """Rule a.3: TERMINATE must not be optional."""
    inputs = {"terminationStatus": "COMPLETED"}

    assert paths_of(task("t", "TERMINATE", optional=True, inputParameters=inputs)) == [
        "tasks[0].optional"
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"duration": "1 days 2 hours"},
        {"until": "2030-01-01 10:00 GMT+2:00"},
        {"duration": "${workflow.input.d}"},
        {"duration": "", "until": "2030-01-01"},
        {"waitTime": "3600"},
        {"waitTime": 5},
    ],
)
def test_a_wait_with_a_good_time_is_accepted(inputs: dict[str, Any]) -> None:
    """Rule a.3: each parsable unless it starts with `${`; contract S2.2: waitTime seconds."""
    assert faults_of(task("t", "WAIT", inputParameters=inputs)) == []


@pytest.mark.parametrize(
    ("inputs", "key"),
    [
        ({"duration": "5"}, "duration"),
        ({"duration": 5}, "duration"),
        ({"duration": "soon"}, "duration"),
        ({"until": "soon"}, "until"),
        ({"until": "2030-01-01 10:00 Nowhere"}, "until"),
        ({"duration": "1 hour", "until": "2030-01-01"}, "until"),
        ({"waitTime": "soon"}, "waitTime"),
        ({"waitTime": []}, "waitTime"),
    ],
)
def test_a_wait_with_a_bad_time_is_refused(inputs: dict[str, Any], key: str) -> None:
    """Rule a.3: WAIT: not both `duration` and `until`, each parsable."""
    assert paths_of(task("t", "WAIT", inputParameters=inputs)) == [
        f"tasks[0].inputParameters.{key}"
    ]


def test_every_level_is_judged_inside_loops_and_inline_sub_workflows_too() -> None:
    """Gotcha 16: Conductor does not validate tasks in loopOver; Batuta does."""
    loop = task("l", "DO_WHILE", loopCondition="false", loopOver=[task("e", "EVENT")])
    inline = {"name": "child", "tasks": [task("a"), task("a")], "schemaVersion": 1}
    child = task("s", "SUB_WORKFLOW", subWorkflowParam={"workflowDefinition": inline})
    switch = task("w", "SWITCH", **SWITCH, defaultCase=[loop, child])

    prefix = "tasks[0].defaultCase[1].subWorkflowParam.workflowDefinition"
    assert paths_of(switch) == [
        "tasks[0].defaultCase[0].loopOver[0].sink",
        f"{prefix}.schemaVersion",
        f"{prefix}.tasks[1].taskReferenceName",
    ]


def test_the_k1_sub_workflow_is_refused_only_by_strict() -> None:
    """Contract S2.2: both SUB_WORKFLOW tasks lack subWorkflowParam (OSS: required)."""
    inputs = {"subWorkflowName": "firmware-ci-cd-pipeline", "workflowInput": {}}
    k1 = task("s", "SUB_WORKFLOW", inputParameters=inputs)

    assert faults_of(k1) == []
    assert paths_of(k1, strict=True) == ["tasks[0].subWorkflowParam"]


def task_def_paths(**fields: Any) -> list[str]:
    return [f.path for f in validate_task_def(read_task_def(fields), strict=False)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"name": " "}, ["name"]),
        ({"retryCount": -1}, ["retryCount"]),
        ({"responseTimeoutSeconds": 0}, ["responseTimeoutSeconds"]),
        ({"pollTimeoutSeconds": -1}, ["pollTimeoutSeconds"]),
        ({"pollTimeoutSeconds": 0}, []),
        ({"totalTimeoutSeconds": -1}, ["totalTimeoutSeconds"]),
        ({"backoffScaleFactor": 0}, ["backoffScaleFactor"]),
        ({"retryDelaySeconds": -1}, ["retryDelaySeconds"]),
        ({"timeoutSeconds": 60}, []),
        ({"timeoutSeconds": 60, "responseTimeoutSeconds": 61}, ["responseTimeoutSeconds"]),
        ({"timeoutSeconds": 60, "responseTimeoutSeconds": 60}, []),
        ({"timeoutSeconds": 60, "totalTimeoutSeconds": 59}, ["timeoutSeconds"]),
        ({"timeoutSeconds": 60, "totalTimeoutSeconds": 60}, []),
        ({"timeoutSeconds": 60, "totalTimeoutSeconds": 0}, []),
        ({"retryCount": -1, "backoffScaleFactor": 0}, ["retryCount", "backoffScaleFactor"]),
    ],
)
def test_a_task_def_keeps_its_bounds(fields: dict[str, Any], expected: list[str]) -> None:
    """Rule a.4: the bounds of each number, and response <= timeout <= total."""
    assert task_def_paths(**{"name": "t", **fields}) == expected


def test_a_fault_says_what_to_do_and_shows_the_value() -> None:
    [fault] = validate_task_def(TaskDef(name="t", retry_count=-1), strict=True)

    assert fault.message == "retryCount -1 of task def 't' is negative; use 0 for none"
    assert fault.value == -1
