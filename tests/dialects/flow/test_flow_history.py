"""The history of flows: the newest fifty, from what the engine keeps anyway."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from batuta.dialects.flow import dialect, history
from batuta.model.error import StoreError
from batuta.store.query.parse import parse_query, parse_sort
from batuta.store.query.tree import Subject
from batuta.store.sqlite import SqliteStore
from batuta.store.sqlite.connection import open_connection
from batuta.store.sqlite.find import find_workflows
from tests.dialects.conftest import Served, served
from tests.dialects.flow.flows import doing, echo, ended, node, records, started

LONG = "x" * 70_000  # more than the history shows of one output


async def test_s0_07_the_history_has_fifty_records_newest_first(server: Served) -> None:
    async with doing(server, echo=echo):
        ids = []
        for number in range(51):
            ids.append(await started(server, node("a"), workflowName=f"run {number}"))
            await server.ended(ids[-1])

    found = await records(server)
    assert [record["workflowId"] for record in found] == ids[:0:-1]
    assert found[0]["workflowName"] == "run 50"
    assert {record["nodeCount"] for record in found} == {1}


async def test_s0_07_the_end_of_a_run_is_what_counts(server: Served) -> None:
    await server.ask("GET /api/tasks/poll/held")
    async with doing(server, echo=echo):
        first = await started(server, node("a", "held"))
        second = await started(server, node("a"))
        await server.ended(second)
        assert [one["workflowId"] for one in await records(server)] == [second]
        await asyncio.sleep(0.002)  # so that the ends differ in their millisecond
        await server.ask(f"POST /workflow/{first}/cancel")

    assert [one["workflowId"] for one in await records(server)] == [first, second]


async def test_s0_08_the_history_survives_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "batuta.db")
    store = await SqliteStore.open(path)
    async with served(store) as server, doing(server, echo=echo):
        for text in ("short", LONG):
            await ended(server, node("a", text=text), node("b"), workflowName="kept")
        before = await records(server)
    await store.close()

    store = await SqliteStore.open(path)
    async with served(store) as server:
        assert await records(server) == before
    await store.close()
    assert len(before) == 2


async def test_the_history_of_nothing_is_an_empty_list(server: Served) -> None:
    await server.ask("POST /workflows/sample-user-signup/trigger", {"payload": {}})

    assert await records(server) == []


async def test_a_history_that_cannot_be_read_says_so_in_the_exact_words(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(dialect, "history", broken)
    answer = await server.ask("GET /workflow/history")

    assert (answer.status, answer.json) == (500, {"error": "Failed to read history"})


async def test_a_long_output_is_told_by_its_size_and_shown_by_the_run(server: Served) -> None:
    async with doing(server, echo=echo):
        workflow_id = await started(server, node("a", text=LONG), node("b", text="short"))
        await server.ended(workflow_id)

    [record] = await records(server)
    shown = record["results"][0]["data"]["output"]
    assert shown["nodeType"] == "echo"
    assert shown["omittedBytes"] > len(LONG)
    whole = (await server.ask(f"GET /workflow/{workflow_id}/results")).json["results"]
    assert whole[0]["data"]["output"]["text"] == LONG


async def test_very_many_outputs_do_not_keep_the_history_from_being_shown(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batuta.runtime.search.ANSWER_BYTES_MAX", 100_000)
    text = "x" * 30_000
    async with doing(server, echo=echo):
        ids = []
        for _ in range(3):
            ids.append(await started(server, node("a", text=text), node("b", text=text)))
            await server.ended(ids[-1])

    found = await records(server)
    assert [record["workflowId"] for record in found] == ids[::-1]
    assert all(record["results"][0]["success"] for record in found)


async def test_a_removed_run_leaves_the_history(server: Served) -> None:
    async with doing(server, echo=echo):
        ids = [await started(server, node("a")) for _ in range(2)]
        for one in ids:
            await server.ended(one)
    await server.ask(f"DELETE /api/workflow/{ids[0]}/remove")

    assert [record["workflowId"] for record in await records(server)] == [ids[1]]


async def test_the_history_is_read_by_an_index_and_not_by_sorting_all_runs(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "batuta.db")
    await (await SqliteStore.open(path)).close()
    connection = open_connection(path, is_writer=False)
    seen: list[tuple[str, Any]] = []

    def note(_: Any, statement: str, bindings: Any) -> bool:
        seen.append((statement, bindings))
        return True

    connection.exec_trace = note
    wish = history.ended("flow")
    query = parse_query(wish.query, Subject.WORKFLOW)
    sort = parse_sort(wish.sort, Subject.WORKFLOW)
    find_workflows(connection, query, sort=sort, start=0, size=history.RECORDS_MAX)
    connection.exec_trace = None

    selects = [one for one in seen if one[0].lstrip().startswith("SELECT")]
    assert len(selects) == 2  # the page, and how many there are
    for statement, bindings in selects:
        plan = str(list(connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)))
        assert "workflow_dialect" in plan
        assert "SCAN workflow" not in plan
        assert "TEMP B-TREE FOR ORDER BY" not in plan
    connection.close()
