"""Every definition of the K1 project, verbatim: registered in each form, run to each of its ends.

Source: ../shared/data/k1. What workers and people answer is made up from the definitions, the
expected ends are worked out by the walker of tests/corpus. Retries and the approval's deadline
take minutes and hours, so they are shown by `POST /api/workflow/test`, whose time is its own.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.cli.live import server
from tests.corpus.crew import FAILURE, Crew
from tests.corpus.echo import TIMES, Echo, differences
from tests.corpus.end import faults_of
from tests.corpus.library import Case
from tests.corpus.plausible import Json, all_tasks, plan_of
from tests.corpus.walker import Library, Walker

PIPELINE, STAGES = "firmware-ci-cd-pipeline", "multi-stage-deployment"
BUILD_HANDLER, ROLLBACK_HANDLER = "firmware-build-failure-handler", "deployment-rollback-handler"
COMPILATION, CICD = "k1_pattern_compilation", "k1_cicd_pipeline"
# Conductor refuses it: a SWITCH has neither (contract S2.1).
MISSING = {"evaluatorType": "value-param", "expression": "healthPassed"}
VARIANTS = (0, 1, 9)
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def k1(shared_data: Path) -> Path:
    return shared_data / "k1"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("k1") / "runs.db") as url:
        yield f"{url}/api"


@pytest.fixture
async def crew(url: str) -> AsyncIterator[Crew]:
    async with Crew(url) as crew:
        yield crew


def read_all(folder: Path) -> list[Json]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def workflows(k1: Path) -> list[Json]:
    """Give the 6 workflows and the one of the Orkes service that Conductor accepts."""
    orkes = [one for one in read_all(k1 / "orkes") if one["name"] != CICD]
    return [*read_all(k1 / "workflows"), *orkes]


async def register(crew: Crew, k1: Path) -> None:
    await crew.must("POST", "/metadata/taskdefs", read_all(k1 / "taskdefs"))
    await crew.must("PUT", "/metadata/workflow", [*workflows(k1), completed_cicd(k1)])


def completed_cicd(k1: Path) -> Json:
    """Give the pipeline that Conductor refuses with what it lacks.

    Its JOIN has no joinOn either, and ends at once (semantics c.4): which way the SWITCH behind it
    takes would depend on who is faster.
    """
    [document] = [one for one in read_all(k1 / "orkes") if one["name"] == CICD]
    for task in all_tasks(document["tasks"]):
        if task["type"] == "SWITCH" and "expression" not in task:
            task.update(MISSING)
        if task["type"] == "JOIN":
            task["joinOn"] = ["test_firmware_ref", "test_webapp_ref"]
    return document


@pytest.mark.parametrize("form", ["one list", "one by one", "put one by one"])
async def test_the_20_task_definitions_read_back_as_given(crew: Crew, k1: Path, form: str) -> None:
    documents = json.loads((k1 / "all-taskdefs-verbatim.json").read_text("utf-8"))
    singles = read_all(k1 / "taskdefs")
    assert sorted(documents, key=lambda one: one["name"]) == singles
    assert len(singles) == 20

    if form != "one by one":
        await crew.must("POST", "/metadata/taskdefs", documents)
    if form != "one list":
        method = "POST" if form == "one by one" else "PUT"
        for document in singles:
            await crew.must(method, "/metadata/taskdefs", document)

    echo = Echo()
    for document in documents:
        found = await crew.must("GET", f"/metadata/taskdefs/{document['name']}")
        expected = echo.of_task_def(document)
        for key in TIMES:
            assert found.pop(key) > expected.pop(key)
        assert differences(expected, found) == [], document["name"]
    assert echo.dropped == set()


@pytest.mark.parametrize("form", ["post", "post a list", "put a list"])
async def test_the_workflows_read_back_as_given(crew: Crew, k1: Path, form: str) -> None:
    documents = workflows(k1)
    assert len(documents) == 6 + 1

    if form == "post":
        for document in documents:
            await crew.must("POST", "/metadata/workflow?overwrite=true", document)
    elif form == "post a list":
        await crew.must("POST", "/metadata/workflow?overwrite=true", documents)
    else:
        await crew.must("PUT", "/metadata/workflow", documents)

    echo = Echo()
    for document in documents:
        found = await crew.must("GET", f"/metadata/workflow/{document['name']}?version=1")
        expected = echo.of_workflow(document)
        for key in TIMES:
            assert found.pop(key) > expected.pop(key)
        assert differences(expected, found) == [], document["name"]
    assert echo.dropped <= {"task.callbackFromWorker"}


async def test_the_pipeline_that_lacks_an_evaluator_is_refused_by_name(
    crew: Crew, k1: Path
) -> None:
    [document] = [one for one in read_all(k1 / "orkes") if one["name"] == CICD]

    status, answer = await crew.ask("POST", "/metadata/workflow", document)

    where = "tasks[4].decisionCases.PASS[2]"
    paths = [one["path"] for one in answer["validationErrors"]]
    assert (status, paths) == (400, [f"{where}.{key}" for key in MISSING])


def given_to(document: Json, variant: int) -> dict[str, Any]:
    """Make up what is given; numbers where the definitions' scripts compare some."""
    plan = plan_of(document, variant)
    fast = {0: {"fps": 60, "memoryUsageMb": 64}, 1: {"fps": 12, "memoryUsageMb": 64}}
    if document["name"] == COMPILATION:
        plan.outputs["run_benchmarks_ref"].update(fast.get(variant, {}))
        plan.outputs["run_tests_ref"]["success"] = variant != VARIANTS[-1]
    if document["name"] == CICD:
        for name in ("test_firmware_ref", "test_webapp_ref", "security_scan_ref"):
            plan.outputs.setdefault(name, {})["success"] = variant != VARIANTS[-1]
    return {document["name"]: plan}


def cases_of(k1: Path) -> Iterator[Case]:
    """Yield each way through each definition, and each way with one of its workers failing."""
    documents = [Echo().of_workflow(one) for one in [*workflows(k1), completed_cicd(k1)]]
    library: Library = {(one["name"], version): one for one in documents for version in (0, 1)}
    for document in documents:
        workers = [one for one in all_tasks(document["tasks"]) if one["type"] == "SIMPLE"]
        names = [None, *(task["taskReferenceName"] for task in workers)]
        for variant in VARIANTS:
            plans = {
                name: plan for one in documents for name, plan in given_to(one, variant).items()
            }
            for failing in names:
                own = plans[document["name"]]
                bad = frozenset({failing}) if failing else frozenset()
                both = plans | {document["name"]: replace(own, failing=bad)}
                expected = Walker(library, both, document).walk(own.input)
                is_failing = failing is None or expected.status == "FAILED"
                if is_failing:  # else the worker is on another way
                    key = f"{document['name']}/{variant}/{failing}"
                    yield Case(key, document["name"], document, both, expected)


async def test_every_workflow_runs_to_each_of_its_ends(crew: Crew, k1: Path) -> None:
    await register(crew, k1)
    cases = list(cases_of(k1))
    crew.plans = {case.key: case.plans for case in cases}

    started = {}
    for case in cases:
        body = {"name": case.file, "input": case.given, "correlationId": case.key}
        started[await crew.must("POST", "/workflow", body)] = case
    runs = await crew.run_all(list(started))
    checks = [
        faults_of(crew, runs[one], case.expected, case.definition, case.key)
        for one, case in started.items()
    ]
    assert [fault for found in await asyncio.gather(*checks) for fault in found] == []

    failed = {one: case for one, case in started.items() if case.expected.status == "FAILED"}
    handled = [one for one, case in failed.items() if case.definition.get("failureWorkflow")]
    handlers = {one: runs[one]["output"]["conductor.failure_workflow"] for one in handled}
    after = await crew.run_all(list(handlers.values()))
    for one, handler in handlers.items():
        run = after[handler]
        assert run["status"] == "COMPLETED"
        assert run["workflowName"] == failed[one].definition["failureWorkflow"]
        assert run["input"]["failed_workflow_id"] == one, "what the definitions read"
        assert FAILURE in run["input"]["failure_reason"]
        assert all(task["status"] == "COMPLETED" for task in run["tasks"])
        assert len(run["tasks"]) == 4
    assert {case.file for case in cases} == {one["name"] for one in workflows(k1)} | {CICD}
    assert (len(cases) - len(failed), len(failed), len(handlers)) == (24, 141, 39)


# -- what takes long: in a time of its own --------------------------------------------------------


async def rehearsed(crew: Crew, name: str, mocks: Json, **more: Any) -> Json:
    body = {"name": name, "taskRefToMockOutput": mocks, **more}
    run: Json = await crew.must("POST", "/workflow/test", body)
    return run


def mocks_of(k1: Path, name: str, **others: list[Json]) -> Json:
    """Give a good result for each node, but for those that are said."""
    [document] = [one for one in workflows(k1) if one["name"] == name]
    plan = plan_of(document)
    names = [task["taskReferenceName"] for task in all_tasks(document["tasks"])]
    return {one: [{"output": plan.outputs.get(one, {})}] for one in names} | others


async def test_a_device_that_cannot_be_reached_gets_four_tries_of_the_firmware(
    crew: Crew, k1: Path
) -> None:
    await register(crew, k1)
    failing = [{"status": "FAILED", "output": {"deployment_status": "offline"}}] * 4

    run = await rehearsed(crew, PIPELINE, mocks_of(k1, PIPELINE, deploy_firmware_ota=failing))

    tries = [task for task in run["tasks"] if task["taskType"] == "deploy_firmware_ota"]
    assert run["status"] == "FAILED"
    assert [task["status"] for task in tries] == ["FAILED"] * 4
    pauses = [b["startTime"] - a["endTime"] for a, b in itertools.pairwise(tries)]
    assert pauses == [1 * MINUTE_MS, 2 * MINUTE_MS, 4 * MINUTE_MS], "exponential from 60 s"


async def test_a_compiler_that_hangs_is_tried_again_and_then_times_the_pipeline_out(
    crew: Crew, k1: Path
) -> None:
    await register(crew, k1)
    hanging = [{"executionTime": 10 * MINUTE_MS}] * 2

    run = await rehearsed(crew, PIPELINE, mocks_of(k1, PIPELINE, platformio_compile=hanging))

    tries = [task for task in run["tasks"] if task["taskType"] == "platformio_compile"]
    assert tries[0]["status"] == "TIMED_OUT"
    assert tries[0]["endTime"] - tries[0]["startTime"] == 5 * MINUTE_MS, "its 300 seconds"
    assert run["status"] in {"TIMED_OUT", "FAILED"}


async def test_nobody_who_approves_is_a_rejection(crew: Crew, k1: Path) -> None:
    await register(crew, k1)
    firmware = {"name": PIPELINE, "taskRefToMockOutput": mocks_of(k1, PIPELINE)}
    mocks = mocks_of(k1, STAGES, manual_approval_gate=[])
    del mocks["build_firmware"]

    run = await rehearsed(crew, STAGES, mocks, subWorkflowTestRequest={"build_firmware": firmware})

    statuses = {task["referenceTaskName"]: task["status"] for task in run["tasks"]}
    assert run["status"] == "COMPLETED"
    assert statuses["manual_approval_gate"] == "COMPLETED"
    assert statuses["deployment_cancelled"] == "COMPLETED"
    assert "deploy_webapp_prod" not in statuses
    assert run["endTime"] - run["createTime"] == 60 * MINUTE_MS, "its waitTime of 3600"
