"""Runs whose definitions hold JavaScript beyond the simple forms: an engine with the sandbox."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from batuta.model.execution import WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.clock import StoreClock
from batuta.runtime.engine import Engine
from batuta.runtime.sandbox import time_message
from batuta.runtime.sandbox.pool import Sandbox
from batuta.runtime.view import RunView, StartRequest
from batuta.store.memory import MemoryStore

ENDLESS = "new Array(4e9).toString() + $.x"
STATEMENTS = "function pick() { if ($.x % 2 == 0) { return 'even'; } return 'odd'; } pick();"


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(script_ms_max=800)
    yield sandbox
    await sandbox.stop()


@pytest_asyncio.fixture
async def engine(sandbox: Sandbox) -> AsyncIterator[Engine]:
    now_ms = StoreClock().now_ms
    store = MemoryStore(now_ms)
    engine = Engine(store, now_ms=now_ms, scripts=sandbox)
    engine.start_loops()
    yield engine
    await engine.stop()
    await store.close()


def switch(name: str, expression: str) -> dict[str, Any]:
    def marked(case: str) -> list[dict[str, Any]]:
        return [
            {
                "name": "note",
                "taskReferenceName": f"note_{case}",
                "type": "SET_VARIABLE",
                "inputParameters": {"case": case},
            }
        ]

    return {
        "name": name,
        "version": 1,
        "tasks": [
            {
                "name": "switch",
                "taskReferenceName": "switch",
                "type": "SWITCH",
                "evaluatorType": "javascript",
                "expression": expression,
                "inputParameters": {"x": "${workflow.input.x}"},
                "decisionCases": {"even": marked("even"), "odd": marked("odd")},
                "defaultCase": marked("neither"),
            }
        ],
        "outputParameters": {"case": "${workflow.variables.case}"},
    }


async def finish(engine: Engine, name: str, x: int) -> RunView:
    """Start a run and return it; it needs no worker, so that it is finished when it is started."""
    workflow_id = await engine.start(StartRequest(name=name, input=Payload.of({"x": x})))
    run = await engine.get(workflow_id)
    assert run.workflow.status.is_terminal, run
    return run


def case_of(run: RunView) -> Any:
    assert run.workflow.status is WorkflowStatus.COMPLETED, run
    return run.output.value["case"]


async def test_a_switch_takes_the_case_that_its_function_returns(engine: Engine) -> None:
    await engine.definitions.put_workflow_defs([switch("w", STATEMENTS)], overwrite=True)

    runs = await asyncio.gather(*(finish(engine, "w", x) for x in range(20)))

    assert [case_of(run) for run in runs] == ["even", "odd"] * 10


async def test_a_loop_goes_on_while_its_function_says_so(engine: Engine, sandbox: Sandbox) -> None:
    condition = "(function () { for (var i = 0; i < 4; i++) ; return $.loop.iteration < i; })()"
    loop = {
        "name": "loop",
        "taskReferenceName": "loop",
        "type": "DO_WHILE",
        "loopCondition": condition,
        "loopOver": [
            {
                "name": "note",
                "taskReferenceName": "note",
                "type": "SET_VARIABLE",
                "inputParameters": {"at": "${loop.output.iteration}"},
            }
        ],
    }
    definition = {"name": "w", "version": 1, "tasks": [loop]}
    await engine.definitions.put_workflow_defs([definition], overwrite=True)

    run = await finish(engine, "w", 0)

    assert run.workflow.status is WorkflowStatus.COMPLETED, run
    assert len([task for task in run.tasks if task.task.task_type == "SET_VARIABLE"]) == 4
    assert sandbox.report()["evaluations"] == 4


async def test_a_script_that_throws_fails_its_run_and_says_why(engine: Engine) -> None:
    await engine.definitions.put_workflow_defs([switch("w", "let a = 1;\nnope.x;")], overwrite=True)

    run = await finish(engine, "w", 0)

    assert run.workflow.status is WorkflowStatus.FAILED
    assert "ReferenceError: nope is not defined (line 2)" in str(run)


async def test_an_endless_script_fails_its_own_run_while_others_go_on(engine: Engine) -> None:
    await engine.definitions.put_workflow_defs(
        [switch("bad", ENDLESS), switch("good", STATEMENTS)], overwrite=True
    )
    bad = asyncio.create_task(finish(engine, "bad", 0))

    good = await asyncio.gather(*(finish(engine, "good", x) for x in range(50)))

    assert {case_of(run) for run in good} == {"even", "odd"}
    assert not bad.done()
    run = await bad
    assert run.workflow.status is WorkflowStatus.FAILED
    assert time_message(800) in str(run)


def node(kind: str, reference_name: str, **given: Any) -> dict[str, Any]:
    return {
        "name": reference_name,
        "taskReferenceName": reference_name,
        "type": kind,
        "inputParameters": given,
    }


async def test_inline_lambda_and_jq_hand_their_results_on(engine: Engine) -> None:
    tasks = [
        node("INLINE", "i", expression="(() => [$.x, $.x * 2])()", x="${workflow.input.x}"),
        node(
            "LAMBDA", "l", scriptExpression="return $.v.map(v => ({v: v}));", v="${i.output.result}"
        ),
        node("JSON_JQ_TRANSFORM", "q", queryExpression=".v[].v", v="${l.output.result}"),
    ]
    outputs = {"all": "${q.output.resultList}", "first": "${q.output.result}"}
    definition = {"name": "three", "version": 1, "tasks": tasks, "outputParameters": outputs}
    await engine.definitions.put_workflow_defs([definition], overwrite=False)

    run = await finish(engine, "three", 5)

    assert run.workflow.status is WorkflowStatus.COMPLETED, run
    assert run.output.value == {"all": [5, 10], "first": 5}


async def test_an_endless_jq_program_fails_its_task_and_says_why(engine: Engine) -> None:
    definition = {
        "name": "endless",
        "version": 1,
        "tasks": [node("JSON_JQ_TRANSFORM", "q", queryExpression="def f: f; f")],
    }
    await engine.definitions.put_workflow_defs([definition], overwrite=False)

    run = await finish(engine, "endless", 1)

    assert run.workflow.status is WorkflowStatus.FAILED
    assert run.tasks[0].output.value == {"error": time_message(800)}


async def test_a_loop_over_more_scripts_than_a_command_may_ask_for_comes_to_its_end(
    engine: Engine,
) -> None:
    body = node("INLINE", "i", expression="(() => $.n * $.n)()", n="${loop.output.iteration}")
    loop = node("DO_WHILE", "loop", keepLastN=1)
    loop |= {"loopCondition": "(() => $.loop.iteration < 50)()", "loopOver": [body]}
    definition = {"name": "many", "version": 1, "tasks": [loop]}
    await engine.definitions.put_workflow_defs([definition], overwrite=False)

    workflow_id = await engine.start(StartRequest(name="many"))

    async with asyncio.timeout(20):
        while not (run := await engine.get(workflow_id)).workflow.status.is_terminal:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the engine goes on by timers of its own
    assert run.workflow.status is WorkflowStatus.COMPLETED
    assert run.output.value == {"result": 2_500}
