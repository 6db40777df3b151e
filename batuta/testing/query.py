"""Search: what a query finds, by hand and compared with the memory store for seeded queries."""

import random  # noqa: TID251 - seeded: it chooses cases
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from batuta.model.change import Change
from batuta.model.execution import TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import Payload
from batuta.store.base import Batch
from batuta.store.memory import MemoryStore
from batuta.store.query.parse import parse_query, parse_sort
from batuta.store.query.tree import FIELDS, Field, FoundTask, Kind, Page, Subject
from batuta.testing import builders
from batuta.testing.builders import (
    NOW_MS,
    batch,
    enqueue,
    put_task,
    put_workflow,
    retire,
    start,
    step,
    task,
)
from batuta.testing.cases.subject import Subject as Store
from batuta.testing.cases.subject import a_run, poll, queued

SEEDS = 8
RUNS = 30  # of a seed; enough that most tests find some and miss some
QUERIES = 60  # of a seed
LARGE = 1_000

# What a pattern language, a quote or a collation could take for something else.
TEXTS = ("", "a", "A", "ab", "a_b", "a%b", "a[b]", "a?b", "it's", 'say "x"', "b\\c", "Äé", "a  b")
PATTERNS = ("*", "a*", "*b", "a*b", "*_*", "*%*", "*[*", "*?*", "*'*", "*\\*", "Ä*", "A*b*")


class QueryCases:
    """What search finds."""

    async def test_runs_are_found_by_each_of_their_fields(self, store: Store) -> None:
        parent = builders.new_id()
        wanted = await a_run(
            store,
            name="order",
            definition_version=3,
            status=WorkflowStatus.FAILED,
            correlation_id="c 1",
            created_at_ms=NOW_MS + 10,
            updated_at_ms=NOW_MS + 20,
            ended_at_ms=NOW_MS + 30,
            parent_id=parent,
            reason="out of stock",
            priority=7,
            owner="ada@example.com",
            dialect="flow",
        )
        await a_run(store)

        for query in (
            f"workflowId={wanted.workflow_id}",
            "workflowType=order",
            "version = 3",
            "status IN (FAILED, TERMINATED)",
            "correlationId='c 1'",
            f"startTime>={NOW_MS + 10}",
            f"updateTime = {NOW_MS}",
            f"endTime>{NOW_MS}",
            f'parentWorkflowId="{parent}"',
            "reasonForIncompletion=*stock",
            "priority>6",
            "owner='ada@example.com'",
            "dialect=flow",
            "NOT (status=RUNNING OR workflowType=pipeline)",
        ):
            expected = 2 if query.startswith("updateTime") else 1
            page = await runs(store, query)
            assert (page.total, page.is_exact) == (expected, True), query
            assert wanted.workflow_id in [run.workflow_id for run in page.items], query

    async def test_what_is_absent_is_empty_and_never_before_or_after(self, store: Store) -> None:
        bare = await a_run(store)
        await a_run(
            store, correlation_id="c", ended_at_ms=NOW_MS, parent_id=builders.new_id(), owner="o"
        )

        for query in (
            'correlationId=""',
            "correlationId!=c",
            "owner=''",
            "owner!=o",
            "parentWorkflowId=''",
            "endTime=0",
            f"NOT endTime<={NOW_MS}",
        ):
            found = await runs(store, query)
            assert [run.workflow_id for run in found.items] == [bare.workflow_id], query
        assert (await runs(store, f"endTime<{NOW_MS}")).items == []

    async def test_tasks_are_found_as_they_are_shown(self, store: Store) -> None:
        header, [_, ready] = await queued(store, 2)
        [lease] = await poll(store, now_ms=NOW_MS + 5)

        held = await tasks(store, "status=IN_PROGRESS")
        waiting = await tasks(store, "status=SCHEDULED")

        assert [one.lease for one in held.items] == [lease]
        assert [one.task.task_id for one in waiting.items] == [ready.task_id]
        assert (await tasks(store, f"startTime>={NOW_MS + 5}")).total == 1
        assert (await tasks(store, f"updateTime={NOW_MS + 5}")).total == 1
        by_run = await tasks(store, f"workflowId={header.workflow_id} AND taskDefName=build")
        assert [one.task.seq for one in by_run.items] == [2, 1], "the newest first"

    async def test_a_task_is_found_by_its_type_and_by_its_own_name(self, store: Store) -> None:
        asked = task(1, task_type="HTTP", own_name="ask")
        header = await a_run(store, put_task(asked, input=Payload.of([1, 2])), put_task(task(2)))

        by_name = await tasks(store, "taskDefName=ask AND taskType=HTTP")

        assert [one.task for one in by_name.items] == [asked]
        assert by_name.items[0].workflow.workflow_id == header.workflow_id
        assert by_name.items[0].input is not None
        assert by_name.items[0].input.size_bytes == 5
        assert by_name.items[0].output is None
        assert (await tasks(store, "taskDefName=HTTP")).total == 0
        assert (await tasks(store, "taskDefName IN (ask, build)")).total == 2

    async def test_what_has_changed_is_found_as_it_is_now(self, store: Store) -> None:
        first = task(1)
        header = await a_run(store, put_task(first))
        ended = replace(first, status=TaskStatus.FAILED, ended_at_ms=NOW_MS + 9, reason="broken")
        failed = replace(header, status=WorkflowStatus.FAILED, reason="broken")
        changes: list[Change] = [put_task(ended, first), put_workflow(failed, header)]

        await store.commit(batch(step(header.workflow_id, 1, *changes)))

        for query in ("status=FAILED", "reasonForIncompletion=broken"):
            assert [one.task for one in (await tasks(store, query)).items] == [ended], query
            assert (await runs(store, query)).total == 1, query
        assert (await tasks(store, "status=SCHEDULED OR endTime=0")).total == 0
        assert (await runs(store, "status=RUNNING OR reasonForIncompletion=''")).total == 0

    async def test_a_retired_task_is_not_found(self, store: Store) -> None:
        first = task(1)
        header = await a_run(store, put_task(first))
        await store.commit(batch(step(header.workflow_id, 1, retire(first))))

        assert (await tasks(store, "taskType=build")).total == 0
        assert (await runs(store, "taskType=build", Subject.TASK)).total == 0

    async def test_a_run_with_many_matching_tasks_is_found_once(self, store: Store) -> None:
        many = await a_run(store, put_task(task(1)), put_task(task(2)))
        await a_run(store, put_task(task(1, task_type="ship")))

        page = await runs(store, "taskType=build", Subject.TASK)

        assert ([run.workflow_id for run in page.items], page.total) == ([many.workflow_id], 1)

    async def test_free_text_looks_into_names_and_reasons(self, store: Store) -> None:
        wanted = await a_run(store, reason="Card DECLINED by the bank", correlation_id="100%")
        await a_run(store)

        for words in ("declined", "100%", wanted.workflow_id, "D BY"):
            page = await runs(store, "", free_text=words)
            assert [run.workflow_id for run in page.items] == [wanted.workflow_id], words
        assert (await runs(store, "", free_text="*")).total == 2
        assert (await runs(store, "version=1", free_text="1_0%")).total == 0

    async def test_pages_follow_the_order_and_tell_the_total(self, store: Store) -> None:
        headers = [
            await a_run(store, priority=number % 3, created_at_ms=NOW_MS + number)
            for number in range(7)
        ]
        order = parse_sort("priority:DESC|startTime", Subject.WORKFLOW)

        pages = [
            await store.search(parse_query("", Subject.WORKFLOW), sort=order, start=begin, size=3)
            for begin in (0, 3, 6, 9)
        ]

        found = [run.workflow_id for page in pages for run in page.items]
        assert found == [headers[number].workflow_id for number in (2, 5, 1, 4, 0, 3, 6)]
        assert [page.total for page in pages] == [7, 7, 7, 7]
        newest = (await runs(store, "")).items[0]
        assert newest.workflow_id == headers[6].workflow_id

    async def test_a_total_beyond_what_is_counted_is_a_bound_that_leads_on(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("batuta.store.query.tree.TOTAL_EXACT_MAX", 4)
        for _ in range(6):
            await a_run(store, put_task(task(1)))
        order = parse_sort("", Subject.WORKFLOW)
        query = parse_query("workflowType=pipeline", Subject.WORKFLOW)
        told = []

        for begin in (0, 2, 4):
            page = await store.search(query, sort=order, start=begin, size=2)
            told.append((len(page.items), page.total, page.is_exact))

        assert told == [(2, 4, False), (2, 6, True), (2, 6, True)]
        found = await store.search_tasks(
            parse_query("", Subject.TASK), sort=parse_sort("", Subject.TASK), start=0, size=1
        )
        assert (found.total, found.is_exact) == (4, False)

    @pytest.mark.parametrize("seed", range(SEEDS))
    async def test_random_queries_find_what_they_find_in_memory(
        self, store: Store, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311 - a seeded generator of cases
        model: Store = MemoryStore(lambda: NOW_MS)
        ids = await _fill(chance, [store, model])
        writer = _Writer(chance, ids)
        hits = 0
        for _ in range(QUERIES):
            hits += await _compare(store, model, writer)
        assert hits > QUERIES, "most queries find something"


async def runs(
    store: Store, query: str, subject: Subject = Subject.WORKFLOW, free_text: str = ""
) -> Page[Workflow]:
    """Return the first page of runs."""
    asked = parse_query(query, subject, free_text=free_text)
    order = parse_sort("", Subject.WORKFLOW)
    return await store.search(asked, sort=order, start=0, size=LARGE)


async def tasks(store: Store, query: str) -> Page[FoundTask]:
    """Return the first page of tasks."""
    asked = parse_query(query, Subject.TASK)
    return await store.search_tasks(asked, sort=parse_sort("", Subject.TASK), start=0, size=LARGE)


async def _compare(store: Store, model: Store, writer: "_Writer") -> int:
    subject, of_runs = writer.subjects()
    text, words = writer.query(subject), writer.free_text()
    query = parse_query(text, subject, free_text=words)
    order = Subject.WORKFLOW if of_runs else Subject.TASK
    asked: dict[str, Any] = {"sort": parse_sort(writer.sort(order), order), **writer.page()}
    where = f"query {text!r}, free text {words!r}, {asked}"
    if of_runs:
        found, expected = await store.search(query, **asked), await model.search(query, **asked)
        assert found == expected, where
        return len(found.items)
    seen, wanted = (
        await store.search_tasks(query, **asked),
        await model.search_tasks(query, **asked),
    )
    assert seen == wanted, where
    assert [_sizes(one) for one in seen.items] == [_sizes(one) for one in wanted.items], where
    return len(seen.items)


def _sizes(found: FoundTask) -> list[int | None]:
    return [one.size_bytes if one else None for one in (found.input, found.output)]


async def _fill(chance: random.Random, stores: Sequence[Store]) -> list[str]:
    """Write the same runs to all stores; return ids that queries may ask for."""
    ids = [builders.new_id()]
    for number in range(RUNS):
        header = builders.workflow(
            name=chance.choice(TEXTS[1:]),
            definition_version=chance.randint(1, 3),
            status=chance.choice(list(WorkflowStatus)),
            correlation_id=chance.choice([None, *TEXTS]),
            created_at_ms=NOW_MS + chance.randint(0, 5),
            ended_at_ms=chance.choice([0, NOW_MS + 3]),
            parent_id=chance.choice([None, ids[0]]),
            reason=chance.choice([None, *TEXTS]),
            priority=chance.randint(-1, 2),
            owner=chance.choice(TEXTS),
            dialect=chance.choice(["", "flow", "dag"]),
        )
        made = [_task(chance, seq) for seq in range(1, chance.randint(1, 4))]
        ids += [header.workflow_id, *(one.task_id for one in made)]
        changes: list[Any] = [put_task(one, input=Payload.of(number)) for one in made]
        changes += [enqueue(one) for one in made if one.status is TaskStatus.SCHEDULED]
        gone = [retire(one) for one in made[:1] if chance.random() < 0.2]
        await _commit(stores, batch(start(header, *changes)))
        await _commit(stores, batch(step(header.workflow_id, 1, *gone)))
    claims = [builders.claim(count=RUNS // 4)]
    await _commit(stores, batch(now_ms=NOW_MS + 4, claims=claims))
    return ids


def _task(chance: random.Random, seq: int) -> Any:
    return task(
        seq,
        task_type=chance.choice(TEXTS[1:]),
        own_name=chance.choice(["", "", "own", "a"]),
        reference_name=chance.choice(TEXTS[1:]),
        status=chance.choice([TaskStatus.SCHEDULED, *TaskStatus]),
        scheduled_at_ms=NOW_MS + chance.randint(0, 5),
        started_at_ms=chance.choice([0, NOW_MS + 2]),
        ended_at_ms=chance.choice([0, NOW_MS + 3]),
        reason=chance.choice([None, *TEXTS]),
    )


async def _commit(stores: Sequence[Store], written: Batch) -> None:
    first, *others = [await store.commit(written) for store in stores]
    assert all(other == first for other in others), "the stores hold the same"


class _Writer:
    """Writes queries that can be meant, in all the ways of the language."""

    def __init__(self, chance: random.Random, ids: Sequence[str]) -> None:
        self._chance = chance
        self._ids = ids

    def subjects(self) -> tuple[Subject, bool]:
        """Choose what to ask by, and whether runs are asked for."""
        subject = self._chance.choice(list(Subject))
        return subject, subject is Subject.WORKFLOW or self._chance.random() < 0.4

    def query(self, subject: Subject, depth: int = 0) -> str:
        """Write a query; at the top it may be empty."""
        roll = self._chance.random()
        if depth == 0 and roll < 0.1:
            return ""
        if depth < 3 and roll < 0.5:
            word = self._chance.choice([" AND ", " OR ", " and ", " OR "])
            parts = [self.query(subject, depth + 1) for _ in range(self._chance.randint(2, 3))]
            joined = f"({word.join(parts)})" if depth else word.join(parts)
            return f"NOT {joined}" if depth and self._chance.random() < 0.3 else joined
        return self._clause(self._chance.choice(list(FIELDS[subject].values())))

    def free_text(self) -> str:
        """Write words to look for; mostly none."""
        return self._chance.choice(["", "*", "", "", "A", "b", "%", "Ä", self._ids[3][-4:]])

    def sort(self, subject: Subject) -> str:
        """Write an order."""
        names = self._chance.sample(sorted(FIELDS[subject]), self._chance.randint(0, 3))
        return "|".join(name + self._chance.choice(["", ":ASC", ":DESC"]) for name in names)

    def page(self) -> dict[str, int]:
        """Choose a page."""
        return {"start": self._chance.choice([0, 0, 3]), "size": self._chance.choice([2, 7, LARGE])}

    def _clause(self, field: Field) -> str:
        chance = self._chance
        if field.kind in {Kind.NUMBER, Kind.INSTANT} and chance.random() < 0.6:
            return f"{field.name} {chance.choice(['<', '<=', '>', '>='])}{self._value(field)}"
        if chance.random() < 0.3:
            values = ", ".join(self._value(field) for _ in range(chance.randint(1, 3)))
            return f"{field.name} {chance.choice(['', 'NOT '])}IN ({values})"
        return f"{field.name}{chance.choice(['=', ' = ', '!='])}{self._value(field)}"

    def _value(self, field: Field) -> str:
        chance = self._chance
        match field.kind:
            case Kind.NUMBER:
                return str(chance.randint(-1, 3))
            case Kind.INSTANT:
                return str(chance.choice([0, *(NOW_MS + offset for offset in range(6))]))
            case Kind.WORD:
                return chance.choice([*field.words, "*ED", "'*_*'"])
            case Kind.ID:
                one = chance.choice(self._ids)
                empty = ["''"] if field.can_be_empty else []
                return chance.choice([one, self._ids[0], f"{one[:-3]}*", f"'*{one[-2:]}'", *empty])
            case Kind.TEXT:
                text = chance.choice([*TEXTS, *PATTERNS, "own"])
                return "'{}'".format(text.replace("'", "''"))
