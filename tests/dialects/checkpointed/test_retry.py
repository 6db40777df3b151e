"""Class workflows that fail: what waits, for what, and how often (S4.9, 5 to 10, 13 to 18)."""

from typing import Any

import pytest

from batuta.model.command import ResetCallbacks
from tests.dialects.checkpointed.classes import World, chain, eventually, write

QUOTA = "        raise RetryableError('API quota exceeded', error_type='quota_exceeded')\n"


def failing(here: World, last: str, *, name: str = "job", **config: Any) -> None:
    """Write a workflow of steps a, b, c whose last one does what is given."""
    write(here.folder, name, "a", "b", "c", body=chain("a", "b", "c", c=last), **config)


def until_file(name: str, error: str) -> str:
    """Return a step's code that raises until a file is there."""
    return f"        if not ask({name!r}):\n            raise {error}\n"


async def test_s4_05_a_step_without_quota_waits_and_the_others_are_done(here: World) -> None:
    failing(here, QUOTA)
    job_id = await here.start("job")

    job = await here.until(job_id, "pending_retry")
    shown = await here.execution(job_id)

    assert job["error_message"] == "API quota exceeded"
    assert (job["progress"], shown["current_step"], shown["total_steps"]) == (66, 2, 3)
    assert [shown["checkpoints"][key]["status"] for key in "012"] == [
        "completed",
        "completed",
        "failed_retryable",
    ]
    failed = shown["checkpoints"]["2"]
    assert (failed["error"], failed["error_type"]) == ("API quota exceeded", "quota_exceeded")
    assert set(failed) >= {"retry_count", "last_attempt", "started_at", "step_name", "step_type"}
    assert shown["error_info"]["failed_step"] == "c"
    assert shown["error_info"]["failed_step_index"] == 2
    assert shown["can_retry"] is True
    run = await here.server.engine.get(job_id)
    assert (run.workflow.status.value, run.workflow.owner) == ("RUNNING", "ada")


async def test_s4_06_a_job_goes_on_when_its_wait_is_over_and_there_is_quota(here: World) -> None:
    error = "RetryableError('API quota exceeded', error_type='quota_exceeded')"
    failing(here, until_file("quota", error))
    (here.folder / "conditions.py").write_text(
        "from pathlib import Path\nfrom workflows.conditions import resume_check\n"
        "HERE = Path(__file__).parent\n\n"
        "@resume_check('quota_exceeded')\n"
        "def has_quota(error_info):\n"
        "    with (HERE / 'asked').open('a') as file:\n"
        "        file.write(error_info['step_name'])\n"
        "    return (HERE / 'quota').exists()\n"
    )
    job_id = await here.start("job")
    await here.until_due(job_id)

    here.jump(299)
    assert here.text("asked") == ""
    here.jump(1)
    await eventually(lambda: _has(here, "asked", "c"))
    await here.until_due(job_id)
    job = await here.job(job_id)
    assert job["error_message"] == "API quota exceeded"
    assert here.calls == ["a", "b", "c"]
    (here.folder / "quota").write_text("plenty")
    here.jump(300)
    await here.until(job_id, "completed")

    assert here.calls == ["a", "b", "c", "c"]
    assert (here.folder / "asked").read_text() == "cc"
    shown = await here.execution(job_id)
    assert (shown["status"], shown["error_info"]) == ("completed", None)
    attempts = [one.task for one in (await here.server.engine.get(job_id)).tasks]
    assert [one.retry_count for one in attempts] == [0, 0, 0, 1]


async def _has(here: World, name: str, text: str) -> bool:
    return here.text(name) == text


@pytest.mark.parametrize(
    ("error", "wait_s", "error_type"),
    [
        ("RetryableError('slow down', 'rate_limit', retry_after=7)", 7, "rate_limit"),
        ("RetryableError('slow down', 'rate_limit')", 60, "rate_limit"),
        ("RetryableError('x', 'timeout')", 30, "timeout"),
        ("RetryableError('x', 'api_error')", 180, "api_error"),
        ("RetryableError('x', 'of my own')", 180, "of my own"),
        ("RetryableError('x')", 180, "generic_api_error"),
        ("ValueError('out of credits')", 300, "quota_exceeded"),
        ("ValueError('request timed out')", 30, "timeout"),
        ("TimeoutError()", 30, "timeout"),
        ("ValueError('bad API key')", 120, "invalid_key"),
        ("KeyError('x')", 180, "generic_api_error"),
    ],
)
async def test_s4_07_each_kind_of_error_waits_its_own_time(
    here: World, error: str, wait_s: int, error_type: str
) -> None:
    failing(here, f"        raise {error}\n")
    job_id = await here.start("job")
    due_at_ms = await here.until_due(job_id)
    before = (await here.server.engine.get(job_id)).tasks[-2].task
    shown = await here.execution(job_id)

    assert shown["checkpoints"]["2"]["error_type"] == error_type
    assert 0 <= due_at_ms - before.ended_at_ms - wait_s * 1_000 < 500
    assert shown["error_info"].get("retry_after") == (7 if wait_s == 7 else None)


async def test_s4_08_a_wrong_key_is_waited_for_until_its_check_passes(here: World) -> None:
    error = "RetryableError('no', error_type='invalid_key', provider='p')"
    check = (
        "    async def can_resume(self, error_info):\n"
        "        assert error_info['provider'] == 'p'\n"
        "        note('asked')\n"
        "        return bool(ask('key'))\n"
    )
    body = chain("a", a=until_file("key", error)) + check
    write(here.folder, "job", "a", body=body)
    job_id = await here.start("job")
    await here.until_due(job_id)

    here.jump(120)
    await here.until_called("a", "asked")
    await here.until_due(job_id)
    here.jump(300)
    await here.until_called("a", "asked", "asked")
    await here.until_due(job_id)
    (here.folder / "key").write_text("a good one")
    here.jump(300)

    await here.until(job_id, "completed")
    assert here.calls == ["a", "asked", "asked", "asked", "a"]
    assert (await here.execution(job_id))["retry_count"] == 0


async def test_s4_09_a_hard_error_ends_the_job_until_its_owner_tries_again(here: World) -> None:
    failing(here, until_file("fixed", "HardError('File exceeds size limit')"))
    job_id = await here.start("job")
    job = await here.until(job_id, "failed")
    shown = await here.execution(job_id)

    assert job["error_message"] == "File exceeds size limit"
    assert shown["checkpoints"]["2"]["status"] == "failed_permanent"
    assert set(shown["checkpoints"]["2"]) >= {"status", "error", "started_at"}
    here.jump(86_400)
    assert (await here.job(job_id))["status"] == "failed"
    assert here.calls == ["a", "b", "c"]
    (here.folder / "fixed").write_text("yes")
    answer = await here.ask(f"POST /workflows/retry/{job_id}")
    assert answer.json == {
        "success": True,
        "message": "Workflow retry started",
        "execution_id": job_id,
        "resume_from_step": 2,
    }
    await here.until(job_id, "completed")
    assert here.calls == ["a", "b", "c", "c"]


async def test_s4_09_b_the_owner_may_fix_the_code_and_need_not_wait(here: World) -> None:
    failing(here, QUOTA)
    job_id = await here.start("job")
    await here.until(job_id, "pending_retry")
    failing(here, "")

    answer = await here.ask(f"POST /workflows/retry/{job_id}")

    assert answer.json["resume_from_step"] == 2
    await here.until(job_id, "completed")
    assert here.calls == ["a", "b", "c", "c"]
    again = await here.ask(f"POST /workflows/retry/{job_id}")
    assert (again.status, again.json["success"]) == (409, False)


async def test_s4_10_after_five_retries_the_job_has_failed(here: World) -> None:
    failing(here, "        raise ValueError('no luck')\n")
    job_id = await here.start("job")

    for calls in range(1, 6):
        await here.until_called("a", "b", *["c"] * calls)
        await here.until_due(job_id)
        here.jump(180)
    job = await here.until(job_id, "failed")

    assert here.calls == ["a", "b", *["c"] * 6]
    assert job["error_message"] == "Maximum retry attempts exceeded"
    shown = await here.execution(job_id)
    assert (shown["retry_count"], shown["can_retry"]) == (5, True)
    assert shown["checkpoints"]["2"]["error"] == "no luck"
    answer = await here.ask(f"POST /workflows/retry/{job_id}")
    assert answer.status == 200
    await here.until_called("a", "b", *["c"] * 7)


async def test_s4_10_b_waiting_for_a_condition_uses_up_no_retry(here: World) -> None:
    body = chain("a", a=until_file("key", "RetryableError('no', error_type='no_api_key')"))
    body += "    async def can_resume(self, error_info):\n        note('asked')\n"
    body += "        return bool(ask('key'))\n"
    write(here.folder, "job", "a", body=body)
    job_id = await here.start("job")
    await here.until_due(job_id)

    for count in range(1, 8):
        here.jump(300)
        await here.until_called("a", *["asked"] * count)
        await here.until_due(job_id)
    (here.folder / "key").write_text("there")
    here.jump(300)

    await here.until(job_id, "completed")


async def test_s4_13_b_a_waiting_job_that_conductor_hurries_goes_on_at_once(here: World) -> None:
    error = "RetryableError('x', 'quota_exceeded')"
    failing(here, until_file("quota", error))
    job_id = await here.start("job")
    await here.until(job_id, "pending_retry")
    (here.folder / "quota").write_text("yes")

    await here.until_due(job_id)
    await here.server.engine.control(ResetCallbacks(job_id))

    await here.until(job_id, "completed")


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
