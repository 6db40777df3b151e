"""How a step is done: its time, its thread, what it may return (S4.9, 14, 17 and 18)."""

import pytest

from tests.dialects.checkpointed.classes import World, chain, write


async def test_s4_14_a_step_that_hangs_is_a_timeout(here: World) -> None:
    body = (
        "    async def step_a(self, given, config):\n"
        "        import asyncio\n        note('a')\n        await asyncio.sleep(60)\n"
    )
    steps = [{"name": "a", "type": "input", "timeout_seconds": 0.2}]
    write(here.folder, "job", "a", body=body, steps=steps)
    job_id = await here.start("job")
    await here.until(job_id, "pending_retry")

    found = (await here.execution(job_id))["checkpoints"]["0"]

    assert (found["status"], found["error_type"]) == ("failed_retryable", "timeout")
    assert found["error"] == "step a took longer than 0.2 s"


async def test_s4_14_b_a_step_that_blocks_delays_nobody(here: World) -> None:
    body = (
        "    async def step_a(self, given, config):\n"
        "        import time\n        note('a')\n"
        "        while not ask('go'):\n            time.sleep(0.01)\n"
        "        return {}\n"
    )
    write(here.folder, "blocks", "a", body=body)
    write(here.folder, "other", "b", body=chain("b"))
    blocked = await here.start("blocks")
    await here.until_called("a")

    other = await here.ended("other")

    assert other["status"] == "completed"
    assert (await here.job(blocked))["status"] == "running"
    (here.folder / "go").write_text("yes")
    await here.until(blocked, "completed")


async def test_s4_17_a_missing_method_fails_the_job(here: World) -> None:
    write(here.folder, "job", "a", "b", body=chain("a"))

    job = await here.ended("job")

    assert (job["status"], job["error_message"]) == ("failed", "Step method step_b not implemented")


async def test_s4_18_what_json_cannot_hold_fails_the_job(here: World) -> None:
    body = "    async def step_a(self, given, config):\n        return {'file': open(__file__)}\n"
    write(here.folder, "job", "a", body=body.replace("open(__file__)", "object()"))

    job = await here.ended("job")

    assert job["status"] == "failed"
    assert "Step a returned what JSON cannot hold" in job["error_message"]
    found = (await here.execution(job["job_id"]))["checkpoints"]["0"]
    assert found["status"] == "failed_permanent"


async def test_s4_18_b_a_step_that_leaves_nothing_is_missed_by_the_next(here: World) -> None:
    body = "    async def step_a(self, given, config):\n        return None\n\n" + chain("b")
    write(here.folder, "job", "a", "b", body=body)
    job_id = await here.start("job")

    job = await here.until(job_id, "pending_retry")

    assert job["error_message"] == "Output of step 0 is missing"
    assert here.calls == []


async def test_steps_are_called_by_their_names_in_the_run_and_leave_their_traceback(
    here: World,
) -> None:
    names = ("upload", "workflow", "a__2", "step1", "_x")
    body = chain(*names, _x="        raise KeyError('nothing here')\n")
    write(here.folder, "job", *names, body=body)
    job_id = await here.start("job")
    await here.until_due(job_id)

    run = await here.server.engine.get(job_id)
    failed = run.tasks[-2]
    [line] = await here.server.engine.logs(failed.task.task_id)

    assert [one.task.reference_name for one in run.tasks[:-1]] == [
        *("upload", "step1x", "step2", "step1", "step4")
    ]
    assert "KeyError: 'nothing here'" in line.line
    assert run.tasks[-1].task.reason == "waits after: 'nothing here'"
    assert here.calls == list(names)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("raise ValueError('\\ud800 half')", "pending_retry", "? half"),
        ("raise ValueError('a\\0b')", "pending_retry", "a\0b"),
        ("raise HardError('\\ud800' * 20_000)", "failed", "?" * 10_000),
        ("raise RetryableError('x', error_type=None, retry_after=float('nan'))", None, "x"),
        ("raise RetryableError(['x'], error_type=7, model={1: 2})", "pending_retry", "['x']"),
        ("raise Silent()", None, "Silent, whose text cannot be made: ZeroDivisionError"),
        ("raise SystemExit(3)", None, "the step raised SystemExit: 3"),
        ("raise KeyboardInterrupt", None, "the step raised KeyboardInterrupt: "),
        ("raise StopIteration(1)", None, "coroutine raised StopIteration"),
        ("raise StopAsyncIteration", None, None),
        ("raise __import__('asyncio').CancelledError", None, "the step raised CancelledError: "),
        ("return '\\ud800'", "failed", None),
        ("return {1, 2, float('nan')}", "completed", None),
        ("return 10 ** 400", "completed", None),
        ("self.log('\\ud800'); self.report_progress(1, '\\ud800'); return 1", "completed", None),
    ],
)
async def test_s4_18_c_whatever_a_step_does_its_job_has_a_state(
    here: World, code: str, status: str | None, error: str | None
) -> None:
    body = f"    def step_a(self, given, config):\n        {code}\n"
    write(here.folder, "job", "a", body=body)
    file = here.folder / "job" / "workflow.py"
    silent = "class Silent(Exception):\n    def __str__(self):\n        return str(1 / 0)\n\n"
    file.write_text(file.read_text().replace("\nclass Job", f"\n{silent}\nclass Job"))
    job_id = await here.start("job")

    job = await here.until(job_id, status or "pending_retry")

    assert error is None or job["error_message"] == error
    assert (await here.ask(f"GET /workflows/execution/{job_id}")).status == 200
    assert (await here.server.ask(f"GET /api/workflow/{job_id}")).status == 200


async def test_s4_18_d_a_step_may_be_plain_or_give_back_something_to_wait_for(here: World) -> None:
    body = (
        "    def step_a(self, given, config):\n        return {'a': 1}\n\n"
        "    def step_b(self, given, config):\n"
        "        import asyncio\n"
        "        future = asyncio.get_running_loop().create_future()\n"
        "        future.set_result({'b': given['a'] + 1})\n        return future\n"
    )
    write(here.folder, "job", "a", "b", body=body)

    job = await here.ended("job")

    shown = (await here.execution(job["job_id"]))["checkpoints"]
    assert shown["1"]["output"] == {"b": 2}
