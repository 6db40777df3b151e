"""Class workflows that fail: what waits, for what, and how often (S4.9, 5 to 10, and 13)."""

from pathlib import Path
from typing import Any

import pytest

from batuta.dialects.checkpointed.run.lower import LEASE_S, STEP
from batuta.model.command import ResetCallbacks
from tests.dialects.checkpointed.classes import Clock, World, chain, eventually, world, write
from tests.dialects.conftest import memory

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


async def test_s4_13_c_the_step_of_a_server_that_died_is_done_by_another(tmp_path: Path) -> None:
    folder, clock, store = tmp_path / "workflows", Clock(), memory()
    write(folder, "job", "a", "b", body=chain("a", "b"))
    async with world(folder, store=store, clock=clock, has_workers=False) as dead:
        job_id = await dead.start("job")
        pending = await dead.job(job_id)
        [taken] = await dead.server.engine.poll(STEP, worker_id="dead", count=1)
        running = await dead.job(job_id)
        dead.jump(LEASE_S + 1)
        job = await dead.until(job_id, "pending_retry")
        shown = (await dead.execution(job_id))["checkpoints"]["0"]

    async with world(folder, store=store, clock=clock) as alive:
        due_at_ms = await alive.until_due(job_id)
        ended_at_ms = (await alive.server.engine.get(job_id)).tasks[0].task.ended_at_ms
        alive.jump(30)
        await alive.until(job_id, "completed")

    assert (pending["status"], running["status"]) == ("pending", "running")
    assert taken.lease.lease_ms == LEASE_S * 1_000
    assert (shown["status"], shown["error_type"]) == ("failed_retryable", "timeout")
    assert "responseTimeout" in job["error_message"]
    assert 0 <= due_at_ms - ended_at_ms - 30_000 < 1_000
    assert alive.calls == ["a", "b"]


async def test_s4_10_c_how_often_and_how_long_can_be_set(tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    error = "        raise RetryableError('x', 'quota_exceeded', retry_after=1)\n"
    body = chain("a", a=error) + (
        "    async def can_resume(self, error_info):\n        note('asked')\n"
        "        return bool(ask('quota'))\n"
    )
    write(folder, "job", "a", body=body)
    async with world(folder, retry_interval_s=20, retries_max=1) as here:
        job_id = await here.start("job")
        await here.until_due(job_id)
        here.jump(1)
        await here.until_called("a", "asked")
        first_ms = await here.until_due(job_id)
        now_ms = here.clock.now_ms()
        (folder / "quota").write_text("yes")
        here.jump(20)
        job = await here.until(job_id, "failed")

    assert 19_000 < first_ms - now_ms <= 20_000
    assert job["error_message"] == "Maximum retry attempts exceeded"
    assert here.calls == ["a", "asked", "asked", "a"]


async def test_s4_09_d_a_job_that_was_retried_by_hand_asks_no_condition(here: World) -> None:
    error = (
        "        if not ask('quota'):\n            raise RetryableError('x', 'quota_exceeded')\n"
    )
    body = chain("a", a=error)
    body += (
        "    async def can_resume(self, error_info):\n        note('asked')\n        return False\n"
    )
    write(here.folder, "job", "a", body=body)
    job_id = await here.start("job")
    await here.until_due(job_id)
    (here.folder / "quota").write_text("yes")

    await here.ask(f"POST /workflows/retry/{job_id}")

    await here.until(job_id, "completed")
    assert here.calls == ["a", "a"]
