"""Data that outlives a store's process, and data that two nodes share."""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from batuta.model.change import DropSend, Reserve, Send
from batuta.model.command import PauseWorkflow, StartWorkflow
from batuta.model.payload import Payload
from batuta.store.base import Document, Taken
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, batch, log, put_task, put_workflow, step, task, timer
from batuta.testing.cases.subject import ACCEPTED, STALE, Subject, a_run, accept, loaded, poll
from batuta.testing.journal import read_all

FOREVER_MS = NOW_MS + 10**12


class DurabilityCases:
    """What is there after a restart. ``reopen`` closes a store and opens its data again."""

    async def test_everything_is_there_after_a_restart(
        self, store: Subject, reopen: Callable[[Subject], Awaitable[Subject]]
    ) -> None:
        held, ready = task(1), task(2)
        large = Payload.of("x" * 100_000)
        header = await a_run(
            store,
            put_task(held, input=large),
            builders.enqueue(held, "held"),
            put_task(ready, input=Payload.of("small")),
            builders.enqueue(ready, "ready"),
            timer(held, NOW_MS + 5),
            log(held, "a line"),
            Send(PauseWorkflow(builders.new_id())),
        )
        run = header.workflow_id
        keep = Reserve(scope="s", key="k", workflow_id=run, until_ms=FOREVER_MS)
        await accept(store, step(run, 1, keep))
        [lease] = await poll(store, "held")
        one = Document(kind="task_def", name="n", body=b"{}")
        await store.put_documents([one], overwrite=False)
        await store.put_snapshot("abc", b"body")
        # What the database never wrote is not there; what load said before must be.
        before = (await loaded(store, run), await store.due(FOREVER_MS, 9), await read_all(store))

        again = await reopen(store)

        assert (
            await loaded(again, run),
            await again.due(FOREVER_MS, 9),
            await read_all(again),
        ) == before
        assert (await loaded(again, run)).leases == [lease]
        assert (await again.fetch([(run, 1, "input")]))[0].value == "x" * 100_000
        assert [given.task_id for given in await poll(again, "ready")] == [ready.task_id]
        assert len(await again.logs(held.task_id)) == 1
        assert await again.get_document("task_def", "n") == one
        assert await again.get_snapshot("abc") == b"body"
        late = step(run, 2, replace(keep, workflow_id=builders.new_id()))
        assert (await again.commit(batch(late))).verdicts == [Taken(run)]

    async def test_store_time_does_not_go_back_over_a_restart(
        self, store: Subject, reopen: Callable[[Subject], Awaitable[Subject]]
    ) -> None:
        ahead_ms = await store.now_ms() + 60_000
        first = builders.start(builders.workflow(), at_ms=ahead_ms)
        await store.commit(batch(first, now_ms=ahead_ms))

        again = await reopen(store)

        assert await again.now_ms() >= ahead_ms


class RivalCases:
    """Two nodes on one database: ``store`` and ``rival`` are open on the same data."""

    async def test_each_node_sees_what_the_other_has_committed(
        self, store: Subject, rival: Subject
    ) -> None:
        header = await a_run(store, put_task(task(1)))

        await accept(rival, step(header.workflow_id, 1, put_task(task(2))))

        assert [t.seq for t, _, _ in (await loaded(store, header.workflow_id, 1)).tasks] == [2]
        assert await read_all(store) == await read_all(rival)

    async def test_of_two_nodes_exactly_one_wins_each_version(
        self, store: Subject, rival: Subject
    ) -> None:
        headers = [await a_run(store) for _ in range(10)]
        for version in range(1, 6):
            steps = [
                step(header.workflow_id, version, put_workflow(header, header))
                for header in headers
            ]

            # In opposite order, so that a store that locks in the order given would deadlock.
            one, two = await asyncio.gather(
                store.commit(batch(*steps)), rival.commit(batch(*reversed(steps)))
            )

            for first, second in zip(one.verdicts, reversed(two.verdicts), strict=True):
                assert {type(first), type(second)} == {type(ACCEPTED), type(STALE)}

    async def test_no_task_is_leased_by_two_nodes(self, store: Subject, rival: Subject) -> None:
        tasks = [task(seq) for seq in range(1, 61)]
        puts = [put_task(one) for one in tasks]
        await a_run(store, *puts, *[builders.enqueue(one) for one in tasks])

        shares = await asyncio.gather(
            *[poll(node, count=7) for _ in range(6) for node in (store, rival)]
        )

        given = [lease.task_id for leases in shares for lease in leases]
        # One node may find the other's claim still open and go home with fewer.
        given += [lease.task_id for lease in await poll(store, count=100)]
        assert sorted(given) == [one.task_id for one in tasks]

    async def test_of_two_nodes_one_gets_the_key(self, store: Subject, rival: Subject) -> None:
        for number in range(5):
            one, two = await a_run(store), await a_run(store)
            first, second = [
                Reserve(scope="s", key=str(number), workflow_id=run, until_ms=FOREVER_MS)
                for run in (one.workflow_id, two.workflow_id)
            ]

            answers = await asyncio.gather(
                store.commit(batch(step(one.workflow_id, 1, first))),
                rival.commit(batch(step(two.workflow_id, 1, second))),
            )

            verdicts = [answer.verdicts[0] for answer in answers]
            winner = one if verdicts[0] == ACCEPTED else two
            assert ACCEPTED in verdicts
            assert Taken(winner.workflow_id) in verdicts

    async def test_of_two_nodes_one_delivers_a_send(self, store: Subject, rival: Subject) -> None:
        for _ in range(5):
            sender, child = await a_run(store), builders.workflow()
            begin = StartWorkflow(
                workflow_id=child.workflow_id, name="c", definition="d", input=Payload(b"{}")
            )
            await accept(store, step(sender.workflow_id, 1, Send(begin)))
            [sent] = (await rival.due(0, 10)).sends
            delivery = batch(builders.start(child, DropSend(sent.send_id)))

            answers = await asyncio.gather(store.commit(delivery), rival.commit(delivery))

            verdicts = [answer.verdicts[0] for answer in answers]
            assert ACCEPTED in verdicts
            assert STALE in verdicts
            assert (await store.due(0, 10)).sends == []

    async def test_the_journal_is_in_commit_order_for_every_reader(
        self, store: Subject, rival: Subject
    ) -> None:
        headers = [await a_run(store) for _ in range(8)]

        async def commit_some(node: Subject, index: int) -> None:
            for version in range(1, 6):
                await accept(node, step(headers[index].workflow_id, version))

        async def read_along() -> list[int]:
            positions: list[int] = []
            while len(positions) < len(headers) * 6:
                last = positions[-1] if positions else 0
                rows = await rival.read_after(last, limit=3)
                positions += [row.position for row in rows]
                await asyncio.wait_for(rival.now_ms(), 10)  # lets the others run
            return positions

        reader = asyncio.create_task(read_along())
        await asyncio.gather(
            *[commit_some((store, rival)[index % 2], index) for index in range(len(headers))]
        )

        # A row that became visible behind the reader's position would never be read.
        async with asyncio.timeout(10):
            seen = await reader
        assert seen == [row.position for row in await read_all(store)]
