"""Two servers on one PostgreSQL database: a waiting job goes on once (S4.13)."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from batuta.store.postgres import PostgresStore, migrate
from tests.contract.postgres_server import fresh_schema, postgres
from tests.dialects.checkpointed.classes import Clock, World, eventually, world, write

JOBS = 20
BODY = """\
    async def step_a(self, given, config):
        note(self.job_id)
        if not ask('quota'):
            raise RetryableError('none', 'quota_exceeded')
        return {}

    async def step_b(self, given, config):
        note('b' + self.job_id)
        return {}
"""
pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
async def both(server_url: str, tmp_path: Path) -> AsyncIterator[list[World]]:
    """Give two servers with the same workflows, database and clock."""
    folder, clock = tmp_path / "workflows", Clock()
    write(folder, "job", "a", "b", body=BODY)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_schema(server_url))
        await migrate(url)
        found = []
        for node in ("one", "two"):
            store = await PostgresStore.open(url)
            stack.push_async_callback(store.close)
            made = world(folder, store=store, clock=clock, node=node)
            found.append(await stack.enter_async_context(made))
        yield found


async def test_s4_13_a_waiting_job_goes_on_once_whichever_server_has_it(both: list[World]) -> None:
    here, other = both
    jobs = [await both[number % 2].start("job") for number in range(JOBS)]
    for job_id in jobs:
        await here.until_due(job_id)
    (here.folder / "quota").write_text("yes")

    here.clock.jump(300)
    for one in both:
        one.server.engine.timers.hint()
    # the owners ask for it in the same moment, at either server
    for number, job_id in enumerate(jobs[:5]):
        await both[number % 2].ask(f"POST /workflows/retry/{job_id}")
    for job_id in jobs:
        await other.until(job_id, "completed")

    async def all_done() -> bool:
        return len(here.calls) >= 3 * JOBS

    await eventually(all_done)
    calls = Counter(here.calls)
    assert {job_id: calls[job_id] for job_id in jobs} == dict.fromkeys(jobs, 2)
    assert {calls["b" + job_id] for job_id in jobs} == {1}
    listed = (await other.ask(f"GET /jobs?status=completed&workflow_id=job&limit={JOBS}")).json
    assert {one["job_id"] for one in listed["jobs"]} == set(jobs)
    assert (await here.ask("GET /jobs/stats")).json["stats"]["completed"] == JOBS
    assert (await other.ask(f"GET /jobs/{jobs[3][:-1]}")).json["job"]["job_id"] == jobs[3]
    assert (await other.ask("GET /jobs", user="bob")).json["jobs"] == []
