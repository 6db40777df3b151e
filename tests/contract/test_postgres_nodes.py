"""Two nodes on one PostgreSQL database: what one of them alone would do, both do together."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from batuta.model.change import Change, PutTask, Release, Reserve
from batuta.model.execution import Lease, Task, TaskStatus
from batuta.model.limit import Limit, part_name
from batuta.store.base import (
    Accepted,
    Claim,
    JournalRow,
    Part,
    QueueDepth,
    RunChanges,
    Stale,
    Taken,
)
from batuta.store.postgres import PostgresStore
from batuta.testing import builders
from batuta.testing.builders import NOW_MS
from batuta.testing.cases.subject import a_run, accept, loaded, poll, queued, touch, version

pytestmark = pytest.mark.postgres

BATCH_MAX = 8  # commands of a batch in the races; small, so that many batches meet


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[list[PostgresStore]]:
    nodes = [await PostgresStore.open(postgres_url) for _ in range(2)]
    yield nodes
    for node in nodes:
        await node.close()


async def test_two_nodes_apply_200_commands_on_5_runs_exactly_once(
    nodes: list[PostgresStore],
) -> None:
    runs = [(await a_run(nodes[0])).workflow_id for _ in range(5)]
    commands = [(run, f"request {number}") for number in range(40) for run in runs]
    random.Random(1).shuffle(commands)

    committers = [_Committer(node, commands[index::2]) for index, node in enumerate(nodes)]
    await asyncio.gather(*(committer.race() for committer in committers))
    leases = [lease for committer in committers for lease in committer.leases]
    leases += await poll(nodes[1], count=len(commands))

    rows = await nodes[0].read_after(0, limit=1_000)
    assert [row.position for row in rows] == list(range(1, len(runs) + len(commands) + 1))
    for run in runs:
        entries = [row.entry for row in rows if row.workflow_id == run]
        assert [entry.version for entry in entries] == list(range(1, 42))
        assert {(run, entry.request_id) for entry in entries[1:]} == {
            command for command in commands if command[0] == run
        }
        assert await version(nodes[1], run) == 41
    assert Counter(lease.task_id for lease in leases) == Counter(await _task_ids(nodes[0], runs))
    assert sum(committer.refused for committer in committers) > 0, "the nodes never met"
    assert await nodes[0].queues() == [QueueDepth(queue="build", ready=0, leased=len(commands))]


async def test_two_nodes_together_lease_no_more_than_a_limit_says(
    nodes: list[PostgresStore],
) -> None:
    limit, part = Limit(held_max=5, taken_max=7, window_ms=60_000), part_name("build", "slow")
    await queued(nodes[0], 60, queue=part)

    async def race(node: PostgresStore) -> list[Lease]:
        leases: list[Lease] = []
        for _ in range(20):
            wish = Claim(queue="build", worker_id="w", count=2, parts=[Part(part, limit)])
            leases += (await node.commit(builders.batch(claims=[wish]))).claimed[0]
        return leases

    held = [lease for leases in await asyncio.gather(*map(race, nodes)) for lease in leases]
    assert len({lease.task_id for lease in held}) == len(held) == limit.held_max
    for lease in held[:3]:
        assert await touch(nodes[0], lease, is_given_back=True)
    again = [lease for leases in await asyncio.gather(*map(race, nodes)) for lease in leases]
    assert len(again) == limit.taken_max - limit.held_max, "the rate leaves two, the hands three"


async def test_a_reader_of_the_journal_never_passes_a_row_that_comes_later(
    nodes: list[PostgresStore],
) -> None:
    runs = [(await a_run(nodes[0])).workflow_id for _ in range(6)]
    commands = [(run, f"request {number}") for number in range(20) for run in runs]
    # Each node has runs of its own, so that both always have something to commit.
    committers = [
        _Committer(node, [one for one in commands if one[0] in runs[index::2]])
        for index, node in enumerate(nodes)
    ]
    count = len(runs) + len(commands)

    rows, *_ = await asyncio.gather(
        _follow(nodes[1], count), *(committer.race() for committer in committers)
    )

    assert [row.position for row in rows] == list(range(1, count + 1))
    assert rows == await nodes[0].read_after(0, limit=count + 1)


async def test_two_nodes_that_poll_cover_all_tasks_once(nodes: list[PostgresStore]) -> None:
    tasks = [task.task_id for _ in range(6) for task in (await queued(nodes[0], 25))[1]]

    async def drain(node: PostgresStore, count: int) -> list[Lease]:
        leases: list[Lease] = []
        while found := await poll(node, count=count):
            leases += found
        return leases

    hands = await asyncio.gather(
        *(drain(node, count) for node in nodes for count in (1, 3, 7)),
    )

    assert Counter(lease.task_id for hand in hands for lease in hand) == Counter(tasks)
    stored = await nodes[0].due(NOW_MS * 2, 1_000)
    assert sorted(lease.task_id for lease in stored.leases) == sorted(tasks)


async def test_a_task_is_either_polled_or_canceled_whoever_comes_first(
    nodes: list[PostgresStore],
) -> None:
    made = [await queued(nodes[0], 12) for _ in range(5)]
    tasks = {task.task_id for _, some in made for task in some}

    async def cancel(run: str, task: Task) -> str | None:
        """Cancel the task unless a worker has it; its id if it was canceled."""
        while True:
            seen = await loaded(nodes[0], run)
            if any(lease.task_id == task.task_id for lease in seen.leases):
                return None
            changes = (Release(task_id=task.task_id), _ended(task))
            step = builders.step(run, seen.workflow.version, *changes)
            if await _is_accepted(nodes[0], step):
                return task.task_id

    async def work() -> list[str]:
        claimed: list[str] = []
        while found := await poll(nodes[1], count=2):
            claimed += [lease.task_id for lease in found]
        return claimed

    # Canceled from the end of the queue, polled from its head: they meet in the middle.
    pending = [(header.workflow_id, task) for header, some in reversed(made) for task in some[::-1]]
    claimed, *canceled = await asyncio.gather(work(), *(cancel(*one) for one in pending))

    gone = {task_id for task_id in canceled if task_id}
    assert gone | set(claimed) == tasks
    assert not gone & set(claimed)
    assert {lease.task_id for lease in (await nodes[0].due(NOW_MS * 2, 100)).leases} == set(claimed)


async def test_a_task_that_goes_back_and_forth_is_still_canceled_cleanly(
    nodes: list[PostgresStore],
) -> None:
    made = [await queued(nodes[0], 4) for _ in range(4)]

    async def cancel(run: str, tasks: list[Task]) -> None:
        """Cancel whatever state the tasks are in, as ``decide`` does for an ended run."""
        while True:
            seen = await loaded(nodes[0], run)
            held = {lease.task_id: lease.poll_count for lease in seen.leases}
            releases = [
                Release(task_id=task.task_id, poll_count=held.get(task.task_id, 0))
                for task in tasks
            ]
            if await _is_accepted(
                nodes[0],
                builders.step(run, seen.workflow.version, *releases, *map(_ended, tasks)),
            ):
                return

    async def fidget() -> None:
        while await nodes[1].queues():
            for lease in await poll(nodes[1], count=3):
                await touch(nodes[1], lease, is_given_back=True)

    cancels = [cancel(header.workflow_id, tasks) for header, tasks in made]
    await asyncio.gather(fidget(), fidget(), *cancels)

    assert await nodes[0].queues() == []
    for header, tasks in made:
        run = await loaded(nodes[1], header.workflow_id)
        assert [task.status for task, _, _ in run.tasks] == [TaskStatus.CANCELED] * len(tasks)
        assert run.workflow.version == 2


async def test_of_two_nodes_that_start_the_same_run_one_is_stale(
    nodes: list[PostgresStore],
) -> None:
    for _ in range(20):
        header = builders.workflow()
        starts = [builders.start(header, request_id=name) for name in ("first", "second")]

        answers = await asyncio.gather(*map(_verdict, nodes, starts))

        assert sorted(map(repr, answers)) == ["Accepted()", "Stale()"]
        [entry] = await nodes[0].read_after(0, limit=2, workflow_id=header.workflow_id)
        winner = starts[answers.index(Accepted())]
        assert entry.entry.request_id == winner.entries[0].request_id


async def test_of_two_nodes_that_reserve_a_key_the_loser_learns_who_won(
    nodes: list[PostgresStore],
) -> None:
    for key in map(str, range(20)):
        headers = [builders.workflow() for _ in nodes]
        starts = [
            builders.start(
                header,
                Reserve(
                    scope="start", key=key, workflow_id=header.workflow_id, until_ms=NOW_MS + 1
                ),
            )
            for header in headers
        ]

        answers = await asyncio.gather(*map(_verdict, nodes, starts))

        winner = answers.index(Accepted())
        assert answers[1 - winner] == Taken(headers[winner].workflow_id)
        assert await version(nodes[0], headers[1 - winner].workflow_id) == 0


async def test_batches_that_name_runs_in_opposite_orders_do_not_block_each_other(
    nodes: list[PostgresStore],
) -> None:
    runs = [(await a_run(nodes[0])).workflow_id for _ in range(8)]

    for at in range(1, 16):
        steps = [builders.step(run, at) for run in runs]
        verdicts = await asyncio.gather(
            nodes[0].commit(builders.batch(*steps)),
            nodes[1].commit(builders.batch(*reversed(steps))),
        )
        one, other = verdicts[0].verdicts, verdicts[1].verdicts[::-1]
        assert {one[0], other[0]} == {Accepted(), Stale()}
        assert one == [one[0]] * len(runs)
        assert other == [other[0]] * len(runs)

    for node in nodes:
        assert (await node.statistics())["transactions_retried"] == 0


async def test_store_time_is_never_less_than_what_another_node_committed(
    nodes: list[PostgresStore],
) -> None:
    ahead_ms = await nodes[0].now_ms() + 3_600_000
    await accept(nodes[0], builders.start(builders.workflow()), now_ms=ahead_ms)
    assert await nodes[1].now_ms() == ahead_ms

    await nodes[1].commit(builders.batch(now_ms=ahead_ms + 1, claims=[builders.claim()]))
    assert await nodes[0].now_ms() == ahead_ms + 1


class _Committer:
    """One node's committer: optimistic, with what it last saw of each run as its cache."""

    def __init__(self, node: PostgresStore, commands: Sequence[tuple[str, str]]) -> None:
        self._node = node
        self._waiting = list(commands)
        self._versions: dict[str, int] = {}
        self.leases: list[Lease] = []
        self.refused = 0

    async def race(self) -> None:
        """Commit every command; after a refusal load the run and decide again."""
        while self._waiting:
            picked = dict(reversed(self._waiting[:BATCH_MAX]))  # one command of a run at a time
            missing = [(run, 0) for run in picked if run not in self._versions]
            for run, found in (await self._node.load(missing)).items():
                self._versions[run] = found.workflow.version
            steps = [_adds_a_task(run, self._versions[run], name) for run, name in picked.items()]
            committed = await self._node.commit(
                builders.batch(*steps, claims=[builders.claim(count=3)])
            )
            self.leases += committed.claimed[0]
            for (run, name), verdict in zip(picked.items(), committed.verdicts, strict=True):
                if verdict == Accepted():
                    self._waiting.remove((run, name))
                    self._versions[run] += 1
                else:
                    assert verdict == Stale()
                    self.refused += 1
                    del self._versions[run]


def _adds_a_task(run: str, version_from: int, request_id: str) -> RunChanges:
    task = builders.task(version_from)
    changes: list[Change] = [builders.put_task(task), builders.enqueue(task)]
    return builders.step(run, version_from, *changes, request_id=request_id)


async def _follow(node: PostgresStore, count: int) -> list[JournalRow]:
    """Read the journal as a sink does until it has ``count`` rows."""
    rows: list[JournalRow] = []
    while len(rows) < count:
        rows += await node.read_after(rows[-1].position if rows else 0, limit=7)
    return rows


async def _task_ids(node: PostgresStore, runs: list[str]) -> list[str]:
    found = await node.load([(run, 0) for run in runs])
    return [task.task_id for run in found.values() for task, _, _ in run.tasks]


def _ended(task: Task) -> PutTask:
    return builders.put_task(
        builders.task(task.seq, task_id=task.task_id, status=TaskStatus.CANCELED), task
    )


async def _is_accepted(node: PostgresStore, changes: RunChanges) -> bool:
    return await _verdict(node, changes) == Accepted()


async def _verdict(node: PostgresStore, changes: RunChanges) -> object:
    [verdict] = (await node.commit(builders.batch(changes))).verdicts
    return verdict
