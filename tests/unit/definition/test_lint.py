"""Each warning of lint: what it is given for, and what stays without one."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batuta.core.definition.lint import lint
from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.definition.warning import Code, Warned
from batuta.model.definition import TaskDef

Document = dict[str, Any]


def task(ref: str, type_: str = "SIMPLE", **fields: Any) -> Document:
    return {"name": ref, "taskReferenceName": ref, "type": type_, **fields}


def switch(ref: str, value: Any, cases: dict[str, list[Document]], **fields: Any) -> Document:
    given = {"inputParameters": {"v": value}, "evaluatorType": "value-param", "expression": "v"}
    return task(ref, "SWITCH", decisionCases=cases, **given | fields)


def warned(
    *tasks: Document, defs: tuple[Document, ...] = (), polled: Any = None, **fields: Any
) -> list[Warned]:
    """Give the warnings of a definition that has no faults of its own."""
    definition = read_workflow_def(
        {"name": "w", "version": 1, "tasks": list(tasks), **fields}, strict=False
    )
    task_defs = {one["name"]: read_task_def(one, strict=False) for one in defs}
    return lint(definition, task_defs=task_defs, polled=polled)


def places(found: list[Warned]) -> list[tuple[str, Code]]:
    return [(one.path, one.code) for one in found]


def test_a_plain_definition_has_no_warnings() -> None:
    reads = {"inputParameters": {"x": "${a.output.y}", "z": "${workflow.input.z}"}}

    assert warned(task("a"), task("b", **reads), outputParameters={"b": "${b.output}"}) == []


def test_an_unknown_reference_is_found_at_any_depth() -> None:
    reads = {"inputParameters": {"deep": [{"x": "${nobody.output.y}"}]}}
    fork = task("f", "FORK_JOIN", forkTasks=[[switch("s", "${a.output.x}", {})]])
    fork["forkTasks"][0][0] |= {"decisionCases": {"k": [task("b", **reads)]}}
    fork["forkTasks"][0][0] |= {"defaultCase": [task("c")]}

    found = warned(
        task("a"),
        fork,
        task("j", "JOIN", joinOn=["s"]),
        outputParameters={"z": "${gone.output}"},
    )

    assert places(found) == [
        (
            "tasks[1].forkTasks[0][0].decisionCases.k[0].inputParameters.deep[0].x",
            Code.UNKNOWN_REFERENCE,
        ),
        ("outputParameters.z", Code.UNKNOWN_REFERENCE),
    ]
    assert "reads '${nobody.output.y}', but 'nobody' is no task" in found[0].message


def test_names_in_inline_sub_workflows_are_those_of_the_child() -> None:
    inner = {
        "name": "inner",
        "version": 1,
        "tasks": [task("i", inputParameters={"x": "${a.output.x}"})],
    }
    params = {"name": "inner", "version": 1, "workflowDefinition": inner}

    found = warned(task("a"), task("s", "SUB_WORKFLOW", subWorkflowParam=params))

    where = "tasks[1].subWorkflowParam.workflowDefinition.tasks[0].inputParameters.x"
    assert places(found) == [(where, Code.UNKNOWN_REFERENCE)]


def test_a_dynamic_fork_makes_names_that_nobody_can_know() -> None:
    dynamic = task(
        "d",
        "FORK_JOIN_DYNAMIC",
        dynamicForkTasksParam="t",
        dynamicForkTasksInputParamName="i",
        inputParameters={"t": [], "i": {}},
    )

    assert warned(dynamic, task("j", "JOIN"), outputParameters={"x": "${branch_7.output}"}) == []


def test_what_stands_behind_a_terminate_is_never_reached() -> None:
    end = task("end", "TERMINATE", inputParameters={"terminationStatus": "COMPLETED"})

    assert places(warned(task("a"), end, task("b"), task("c"))) == [("tasks[2]", Code.UNREACHABLE)]
    assert warned(task("a"), end) == []


@pytest.mark.parametrize(
    ("default", "is_end"), [([], False), (["step"], False), (["end"], True)], ids=str
)
def test_a_switch_ends_a_run_only_when_all_its_cases_do(default: list[str], is_end: bool) -> None:  # noqa: FBT001
    def ends(name: str) -> Document:
        return task(name, "TERMINATE", inputParameters={"terminationStatus": "FAILED"})

    made = [ends("e2") if one == "end" else task("b") for one in default]
    found = warned(
        switch("s", "${workflow.input.x}", {"k": [task("a"), ends("e1")]}, defaultCase=made),
        task("behind"),
    )

    assert (("tasks[1]", Code.UNREACHABLE) in places(found)) is is_end


def test_what_stands_behind_a_terminate_in_a_loop_or_a_case_is_found_there() -> None:
    end = task("end", "TERMINATE", inputParameters={"terminationStatus": "COMPLETED"})
    body = [end, task("b")]
    loop = task("l", "DO_WHILE", loopCondition="$.l.iteration < 2", loopOver=body)

    assert places(warned(loop, task("c"))) == [
        ("tasks[1]", Code.UNREACHABLE),
        ("tasks[0].loopOver[1]", Code.UNREACHABLE),
    ]


def test_a_case_that_a_literal_can_never_match_is_never_taken() -> None:
    cases = {"true": [task("a")], "no": [task("b")]}

    found = warned(switch("s", True, cases, defaultCase=[task("c")]))  # noqa: FBT003  JSON's true

    assert places(found) == [
        ("tasks[0].decisionCases.no", Code.UNREACHABLE),
        ("tasks[0].defaultCase", Code.UNREACHABLE),
    ]
    assert found[0].message == "case 'no' of SWITCH 's' is never taken: 'v' is always 'true'"


def test_a_case_of_an_input_that_is_not_given_is_never_taken() -> None:
    missing = switch("s", 1, {"1": [task("a")]}, expression="other", defaultCase=[task("b")])

    [found] = warned(missing)

    assert (found.path, found.code) == ("tasks[0].decisionCases.1", Code.UNREACHABLE)
    assert found.message.endswith("its input has no 'other'")


def test_what_is_known_at_run_time_only_may_match_anything() -> None:
    script = switch("s", "k", {"a": [task("a")]}, evaluatorType="javascript", expression="$.v")
    cases = {"a": [task("b")]}
    decided = task(
        "d",
        "DECISION",
        caseValueParam="v",
        inputParameters={"v": "${workflow.input.v}"},
        decisionCases=cases,
        defaultCase=[task("c")],
    )

    assert warned(script | {"defaultCase": [task("e")]}, decided) == []


def test_a_switch_without_a_default_goes_on_silently() -> None:
    found = warned(switch("s", "${workflow.input.v}", {"a": [task("a")]}))

    assert places(found) == [("tasks[0].defaultCase", Code.SWITCH_WITHOUT_DEFAULT)]


@pytest.mark.parametrize(
    ("join_on", "said"),
    [
        (["b", "c"], []),
        (["b"], ["does not wait for branch 1"]),
        (["a", "c"], ["does not wait for the end of branch 0"]),
        ([], ["does not wait for branch 0", "does not wait for branch 1"]),
    ],
    ids=["all", "one missing", "its middle", "none"],
)
def test_a_join_that_misses_a_branch_is_named(join_on: list[str], said: list[str]) -> None:
    fork = task("f", "FORK_JOIN", forkTasks=[[task("a"), task("b")], [task("c")]])

    found = warned(fork, task("j", "JOIN", joinOn=join_on))

    assert {code for _, code in places(found)} <= {Code.JOIN_MISSES_BRANCH}
    assert [one.message.split(" of 'f'")[0].removeprefix("JOIN 'j' ") for one in found] == said


def test_a_join_need_not_wait_for_a_branch_that_may_end_the_run() -> None:
    end = task("end", "TERMINATE", inputParameters={"terminationStatus": "TERMINATED"})
    deadline = [task("w", "WAIT"), switch("s", "${workflow.input.v}", {"x": []}, defaultCase=[end])]

    found = warned(
        task("f", "FORK_JOIN", forkTasks=[[task("a")], deadline]), task("j", "JOIN", joinOn=["a"])
    )

    assert Code.JOIN_MISSES_BRANCH not in {code for _, code in places(found)}


def test_a_join_may_wait_for_what_is_inside_the_last_task_of_a_branch() -> None:
    last = switch("s", "${workflow.input.v}", {"k": [task("a")]}, defaultCase=[task("b")])
    fork = task("f", "FORK_JOIN", forkTasks=[[last]])

    assert warned(fork, task("j", "JOIN", joinOn=["a", "b"])) == []


def retried(**fields: Any) -> Document:
    return {"name": "a", "retryCount": 3, "retryDelaySeconds": 60, **fields}


@pytest.mark.parametrize(
    ("def_", "limit", "total"),
    [
        (retried(), 180, None),
        (retried(), 179, "180 s (180 s between 4 attempts)"),
        (retried(retryLogic="EXPONENTIAL_BACKOFF"), 419, "420 s (420 s between 4 attempts)"),
        (
            retried(timeoutSeconds=10, responseTimeoutSeconds=10),
            200,
            "220 s (180 s between 4 attempts of up to 10 s)",
        ),
        (retried(retryCount=0), 1, None),
    ],
)
def test_a_retry_plan_longer_than_the_workflow_is_found(
    def_: Document, limit: int, total: str | None
) -> None:
    found = warned(task("a"), defs=(def_,), timeoutSeconds=limit)

    if total is None:
        assert found == []
        return
    assert places(found) == [("tasks[0].retryCount", Code.RETRY_EXCEEDS_LIMIT)]
    assert f"takes up to {total}, more than the workflow's" in found[0].message


def test_a_retry_plan_longer_than_its_own_total_timeout_is_found() -> None:
    [found] = warned(task("a"), defs=(retried(totalTimeoutSeconds=100),))

    assert "more than its totalTimeoutSeconds 100" in found.message


@pytest.mark.parametrize(
    ("policy", "said"),
    [("TIME_OUT_WF", "attempts would not be made"), ("ALERT_ONLY", "timeoutPolicy is ALERT_ONLY")],
)
def test_a_limit_that_only_alerts_is_told_from_one_that_ends_the_run(
    policy: str, said: str
) -> None:
    [found] = warned(task("a"), defs=(retried(),), timeoutSeconds=60, timeoutPolicy=policy)

    assert found.message.endswith(said)


def test_a_plan_that_nobody_wrote_is_not_complained_of() -> None:
    assert warned(task("a"), timeoutSeconds=60) == []
    assert places(warned(task("a", retryCount=2), timeoutSeconds=60)) == [
        ("tasks[0].retryCount", Code.RETRY_EXCEEDS_LIMIT)
    ]


def test_a_plan_of_very_many_retries_is_judged_at_once() -> None:
    [found] = warned(task("a"), defs=(retried(retryCount=2**31 - 1),), timeoutSeconds=60)

    assert found.code is Code.RETRY_EXCEEDS_LIMIT


def test_a_timeout_without_a_retry_ends_the_run_by_one_slow_worker() -> None:
    once = {"name": "a", "retryCount": 0, "timeoutSeconds": 9, "responseTimeoutSeconds": 9}

    assert places(warned(task("a"), defs=(once,))) == [("tasks[0]", Code.TIMEOUT_WITHOUT_RETRY)]
    assert warned(task("a", optional=True), defs=(once,)) == []
    assert warned(task("a"), defs=({**once, "timeoutPolicy": "ALERT_ONLY"},)) == []


@pytest.mark.parametrize(
    ("given", "is_longer"),
    [
        ({"duration": "2 minutes"}, True),
        ({"duration": "1 minute"}, False),
        ({"duration": "${workflow.input.d}"}, False),
        ({"waitTime": "61"}, True),
        ({"waitTime": 60}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_wait_longer_than_the_workflow_is_found(given: Document, *, is_longer: bool) -> None:
    found = warned(task("w", "WAIT", inputParameters=given), timeoutSeconds=60)

    assert [one.code for one in found] == [Code.WAIT_EXCEEDS_LIMIT] * is_longer
    assert warned(task("w", "WAIT", inputParameters=given)) == [], "no limit, nothing to exceed"


def test_what_is_a_fault_is_no_warning_too() -> None:
    unreadable = task("w", "WAIT", inputParameters={"duration": "soon"})
    fork = task("f", "FORK_JOIN", forkTasks=[[], [task("a")]])

    assert warned(unreadable, fork, task("j", "JOIN", joinOn=["a"]), timeoutSeconds=60) == []


RANDOM = "dGhpcyBJcyBhIFJhbmRvbSBLZXkgMTIzNDU2Nzg5MHF3"


@pytest.mark.parametrize(
    "given",
    [
        {"password": "hunter22"},
        {"dbPassword": "hunter22"},
        {"API_KEY": "abcdef"},
        {"clientSecret": "abcdef"},
        {"headers": {"Authorization": "Bearer abcdef"}},
        {"list": [{"token": "abcdef"}]},
        {"x": "AKIAIOSFODNN7EXAMPLE"},
        {"x": "ghp_" + "a1B2" * 9},
        {"x": "-----BEGIN RSA PRIVATE KEY-----\nMII"},
        {"x": RANDOM},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_secret_in_clear_text_is_found_and_not_repeated(given: Document) -> None:
    found = warned(task("a", inputParameters=given), variables=given)

    assert {one.code for one in found} == {Code.SECRET_IN_CLEAR}
    assert [one.path.split(".")[0] for one in found] == ["tasks[0]", "variables"]
    told = json.dumps([one.message for one in found])
    assert not any(secret in told for secret in ("hunter22", "abcdef", "AKIA", "a1B2", RANDOM))


@pytest.mark.parametrize(
    "given",
    [
        {"password": "${workflow.input.password}"},
        {"Authorization": "Bearer ${workflow.secrets.KEY}"},
        {"password": "changeme"},
        {"password": "<your password>"},
        {"password": ""},
        {"maxTokens": "4096"},
        {"max_tokens": 4096},
        {"tokenUrl": "https://example.org/oauth/token"},
        {"sha": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        {"id": "0190f5fe-1f2e-7a3b-8c4d-123456789abc"},
        {"text": "A sentence of many words is long, and has 1 or 2 numbers and Capitals too."},
        {"name": "firmwareBuildPipelineForTheEsp32S3Board"},
        {"path": "/var/lib/Firmware2/build/Output/pioEnvs/esp32/firmware"},
    ],
    ids=lambda given: next(iter(given.values())) if isinstance(given, dict) else "",
)
def test_what_only_resembles_a_secret_is_left_alone(given: Document) -> None:
    assert warned(task("a", inputParameters=given)) == []


def test_a_task_type_that_nobody_polls_is_found_when_polls_are_known() -> None:
    tasks = [task("a"), task("b"), task("w", "WAIT"), task("h", "HTTP"), task("m", "MY_OWN")]

    assert warned(*tasks) == []
    assert places(warned(*tasks, polled={"a"})) == [
        ("tasks[1]", Code.NOBODY_POLLS),
        ("tasks[4]", Code.NOBODY_POLLS),
    ]


@pytest.fixture(scope="module")
def k1(shared_data: Path) -> dict[str, list[Warned]]:
    """Give the warnings of the K1 suite's workflows with its task definitions."""
    folder = shared_data / "k1"
    read = [json.loads(one.read_text("utf-8")) for one in sorted(folder.glob("taskdefs/*.json"))]
    defs: dict[str, TaskDef] = {one["name"]: read_task_def(one, strict=False) for one in read}
    found = {}
    for path in sorted(folder.glob("workflows/*.json")):
        definition = read_workflow_def(json.loads(path.read_text("utf-8")), strict=False)
        found[definition.name] = lint(definition, task_defs=defs)
    return found


def test_the_retry_plan_of_the_firmware_upload_exceeds_its_workflow(
    k1: dict[str, list[Warned]],
) -> None:
    [found] = [one for one in k1["firmware-ci-cd-pipeline"] if one.code is Code.RETRY_EXCEEDS_LIMIT]

    assert found.path == "tasks[5].decisionCases.true[1].retryCount"
    assert "'deploy_firmware_ota' takes up to 1140 s (420 s between 4 attempts of up to 180 s)" in (
        found.message
    )
    assert "timeoutSeconds 900" in found.message


def test_the_approval_gate_waits_longer_than_its_workflow(k1: dict[str, list[Warned]]) -> None:
    [found] = k1["multi-stage-deployment"]

    assert (found.path, found.code) == (
        "tasks[5].inputParameters.waitTime",
        Code.WAIT_EXCEEDS_LIMIT,
    )
    assert found.message.endswith("3600 > 1200")


def test_recorded_definitions_have_few_warnings(shared_data: Path) -> None:
    counts: Counter[Code] = Counter()
    for path in shared_data.glob("corpus/[0-9]*.json"):
        definition = read_workflow_def(json.loads(path.read_text("utf-8")), strict=False)
        counts.update(one.code for one in lint(definition))

    # 215 definitions, those of somebody's tutorial with a SWITCH mostly. All were looked at.
    assert counts == {
        Code.SWITCH_WITHOUT_DEFAULT: 44,
        Code.UNREACHABLE: 11,
        Code.RETRY_EXCEEDS_LIMIT: 2,
        Code.UNKNOWN_REFERENCE: 2,
    }
