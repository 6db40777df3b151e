"""A job's events: in order, from the beginning or from where a reader was, until its end (S4.6)."""

import asyncio
import json
from typing import Any

import pytest

from batuta.dialects.checkpointed.job.event import read_id
from tests.api.client import Answer
from tests.dialects.checkpointed.classes import (
    World,
    chain,
    eventually,
    waiting_for,
    write,
)

Told = tuple[str, str, Any]


def read(answer: Answer) -> list[Told]:
    """Return the events of a stream: name, id and data."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "text/event-stream"
    events = []
    for block in answer.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            events.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return events


def kept(events: list[Told]) -> list[Told]:
    """Return the events that have an id: those that are told again."""
    return [event for event in events if event[1]]


async def stream(here: World, job_id: str, seen: str = "") -> list[Told]:
    """Return all that a stream tells until it closes."""
    headers = {"last-event-id": seen} if seen else {}
    return read(await here.ask(f"GET /jobs/{job_id}/stream", headers=headers))


async def test_s4_04_a_stream_tells_progress_checkpoints_and_the_end_in_order(here: World) -> None:
    body = chain("a", "b", "c", a=waiting_for("go"))
    write(here.folder, "job", "a", "b", "c", body=body)
    job_id = await here.start("job")
    await here.until_called("a")
    reading = asyncio.create_task(stream(here, job_id))
    await asyncio.sleep(0)
    (here.folder / "go").write_text("yes")

    events = await reading

    assert [name for name, _, _ in events[:2]] == ["connected", "update"]
    assert events[0][2] == {"job_id": job_id, "status": "running", "progress": 0}
    assert events[1][2]["job"]["status"] == "running"
    told = [(name, data.get("step"), data.get("progress")) for name, _, data in kept(events)]
    assert told == [
        ("progress", 0, 0),
        ("checkpoint", 0, None),
        ("progress", 0, 33),
        ("progress", 1, 33),
        ("checkpoint", 1, None),
        ("progress", 1, 66),
        ("progress", 2, 66),
        ("checkpoint", 2, None),
        ("progress", 2, 100),
        ("complete", None, None),
    ]
    checkpoint = kept(events)[1][2]
    assert checkpoint["output"] == {"from": "a"}
    assert (checkpoint["status"], checkpoint["step_name"]) == ("completed", "a")
    assert kept(events)[0][2]["step_name"] == "a"
    assert kept(events)[0][2]["total_steps"] == 3
    assert events[-1][2]["result"] == {"from": "c"}
    assert events[-1][2]["job"]["status"] == "completed"


async def test_s4_04_b_who_comes_late_gets_the_state_and_all_events(here: World) -> None:
    write(here.folder, "job", "a", "b", body=chain("a", "b"))
    job_id = (await here.ended("job"))["job_id"]

    first, second = await stream(here, job_id), await stream(here, job_id)

    assert first == second
    assert first[0][2]["status"] == "completed"
    assert first[1][2]["job"]["progress"] == 100
    assert [name for name, _, _ in kept(first)].count("checkpoint") == 2
    assert first[-1][0] == "complete"


async def test_s4_04_c_who_comes_back_loses_nothing_and_hears_nothing_twice(here: World) -> None:
    error = "        if not ask('quota'):\n            raise ValueError('no quota')\n"
    write(here.folder, "job", "a", "b", body=chain("a", "b", b=error))
    job_id = await here.start("job")
    await here.until_due(job_id)
    (here.folder / "quota").write_text("yes")
    await here.ask(f"POST /workflows/retry/{job_id}")
    await here.server.ended(job_id)
    whole = kept(await stream(here, job_id))

    for place, (_, seen, _) in enumerate(whole):
        again = await stream(here, job_id, seen)
        assert again[0][0] == "connected"
        assert kept(again) == whole[place + 1 :]
    names = [name for name, _, _ in whole]
    assert names == [
        *("progress", "checkpoint", "progress"),
        *("progress", "error", "progress"),
        *("checkpoint", "progress", "complete"),
    ]
    failed = whole[4][2]
    assert (failed["step"], failed["error"], failed["retryable"]) == (1, "no quota", True)
    assert failed["error_type"] == "quota_exceeded"
    shown = [data["progress"] for name, _, data in whole if name == "progress"]
    assert shown == sorted(shown)


async def test_s4_04_d_a_reader_sees_a_job_wait_and_go_on(here: World) -> None:
    error = "        if not ask('quota'):\n            raise ValueError('no quota')\n"
    write(here.folder, "job", "a", body=chain("a", a=waiting_for("go") + error))
    job_id = await here.start("job")
    await here.until_called("a")
    reading = asyncio.create_task(stream(here, job_id))
    await asyncio.sleep(0)
    (here.folder / "go").write_text("yes")
    await here.until_due(job_id)
    (here.folder / "quota").write_text("yes")
    here.jump(300)

    events = await reading

    updates = [data["event"] for name, _, data in events if name == "update"]
    assert updates[0] == "running"
    assert "pending_retry" in updates
    assert events[-1][0] == "complete"


async def test_s4_04_e_a_stream_of_a_failed_or_cancelled_job_ends_too(here: World) -> None:
    write(here.folder, "hard", "a", body=chain("a", a="        raise HardError('no')\n"))
    write(here.folder, "slow", "a", body=chain("a", a=waiting_for("never")))
    failed = (await here.ended("hard"))["job_id"]
    cancelled = await here.start("slow")
    await here.ask(f"DELETE /jobs/{cancelled}")

    of_failed, of_cancelled = await stream(here, failed), await stream(here, cancelled)

    assert [name for name, _, _ in kept(of_failed)] == ["progress", "error", "update"]
    assert of_failed[-2][2]["retryable"] is False
    assert of_failed[-1][2]["event"] == "failed"
    assert of_cancelled[-1][2]["event"] == "cancelled"


async def test_s4_04_f_a_step_tells_how_far_it_is(here: World) -> None:
    report = "        self.report_progress(50, 'half way')\n" + waiting_for("go")
    write(here.folder, "job", "a", "b", body=chain("a", "b", a=report))
    job_id = await here.start("job")

    async def half() -> Any:
        found = await here.job(job_id)
        return found if found["progress"] == 25 else None

    await eventually(half)
    (here.folder / "go").write_text("yes")
    await here.until(job_id, "completed")
    reports = [data for name, _, data in await stream(here, job_id) if name == "progress"]

    assert [(one["progress"], one["message"]) for one in reports][1] == (25, "half way")
    assert [one["progress"] for one in reports] == [0, 25, 50, 50, 100]


async def test_s4_04_g_reports_beyond_all_measure_do_no_harm(here: World) -> None:
    report = (
        "        for percent in (*range(0, 2_000), -5, float('inf'), 99.999):\n"
        "            self.report_progress(percent, 'x' * 9_999)\n"
    )
    write(here.folder, "job", "a", "b", body=chain("a", "b", b=report))
    job_id = (await here.ended("job"))["job_id"]

    shown = [data["progress"] for name, _, data in await stream(here, job_id) if name == "progress"]

    assert shown == sorted(shown)
    assert shown.count(100) == 1


@pytest.mark.parametrize(
    "text", ["", "x", "1", "-", "1-x", "9" * 99 + "-1", "\u0661-\u0662", "-1-1"]
)
def test_s4_04_h_an_id_that_is_none_of_ours_is_as_none(text: str) -> None:
    assert read_id(text) == (0, 0)
