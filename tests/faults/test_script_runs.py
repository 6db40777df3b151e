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
