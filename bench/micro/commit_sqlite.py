"""What a commit costs: CPU of the event loop, time of the writer, with the loop busy or not.

Each case commits batches of one-step completions with two batches in flight, as the committer
does. A completion ends a polled task and schedules the next one, which is handed to a poller
by a claim of the same batch ("chain"), or ends the run ("end"). "busy": a task of the event
loop computes without pause between its turns, so that it always wants the interpreter's lock.

    python bench/micro/commit_sqlite.py [--seconds 2] [--folder /tmp]

Prints JSON.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from msgspec.structs import replace

from batuta.core.identity import uuid7
from batuta.core.journal import entry_document
from batuta.model.change import Enqueue, PutTask, PutWorkflow, Release
from batuta.model.execution import Task, TaskStatus, Workflow, WorkflowStatus
from batuta.model.payload import Payload
from batuta.store.base import Batch, Claim, Decision, Entry, RunChanges
from batuta.store.merge import merge
from batuta.store.sqlite import SqliteStore
from batuta.store.sqlite.writing import parameters

NOW_MS = 1_790_000_000_000
BODY = Payload.of({"order": 1234567, "customer": "somebody", "lines": [{"sku": "a", "n": 2}] * 3})
STEPS = 4  # tasks of a run, one after the other
_number = 0


def new_id() -> str:
    global _number  # noqa: PLW0603
    _number += 1
    return uuid7(NOW_MS + _number // 100, seed=1, number=_number)


class Run(msgspec.Struct):
    """A run as the benchmark left it."""

    workflow: Workflow
    task: Task
    version: int = 0


def task_of(seq: int) -> Task:
    return Task(
        seq=seq,
        task_id=new_id(),
        reference_name=f"step_{seq}",
        task_type="build",
        scheduled_at_ms=NOW_MS,
        first_scheduled_at_ms=NOW_MS,
        updated_at_ms=NOW_MS,
        queue="build",
    )


def put(task: Task, before: Task | None = None, **payloads: Payload) -> PutTask:
    changed = None
    if before is not None:
        changed = {"status": task.status, "ended_at_ms": task.ended_at_ms}
    return PutTask(task=task, changed=changed, **payloads)


def offer(task: Task) -> Enqueue:
    return Enqueue(
        task_id=task.task_id, seq=task.seq, queue="build", at_ms=NOW_MS, lease_ms=3_600_000
    )


def changes_of(run: Run, changes: list[Any]) -> Decision:
    version = run.version
    run.version += 1
    entry = Entry(
        version=version + 1,
        at_ms=NOW_MS,
        kind="update" if version else "start",
        actor="worker-1",
        changed=entry_document(changes),
    )
    return Decision(
        [
            RunChanges(
                workflow_id=run.workflow.workflow_id,
                version_from=version,
                version_to=version + 1,
                changes=changes,
                entries=[entry],
            )
        ]
    )


def start() -> tuple[Run, Decision]:
    workflow = Workflow(
        workflow_id=new_id(),
        name="order_fulfilment",
        definition="0" * 64,
        created_at_ms=NOW_MS,
        updated_at_ms=NOW_MS,
        correlation_id=f"order-{_number}",
    )
    run = Run(workflow, task_of(1))
    first = [PutWorkflow(workflow=workflow, input=BODY), put(run.task, input=BODY)]
    return run, changes_of(run, [*first, offer(run.task)])


def complete(run: Run) -> Decision:
    before = run.task
    ended = replace(
        before,
        status=TaskStatus.COMPLETED,
        started_at_ms=NOW_MS,
        ended_at_ms=NOW_MS,
        poll_count=1,
        worker_id="worker-1",
        is_executed=True,
    )
    changes = [put(ended, before, output=BODY), Release(task_id=before.task_id, poll_count=1)]
    if before.seq < STEPS:
        run.task = task_of(before.seq + 1)
        return changes_of(run, [*changes, put(run.task, input=BODY), offer(run.task)])
    header = replace(run.workflow, status=WorkflowStatus.COMPLETED, ended_at_ms=NOW_MS)
    changed = {"status": header.status, "ended_at_ms": NOW_MS}
    run.workflow = header
    return changes_of(run, [PutWorkflow(workflow=header, changed=changed, output=BODY), *changes])


async def spin(is_wanted: asyncio.Event) -> None:
    """Keep the loop at 100 %: half a millisecond of work, a turn for the others, again."""
    while is_wanted.is_set():
        until = time.perf_counter() + 0.0005
        while time.perf_counter() < until:
            sum(range(50))
        await asyncio.sleep(0)


async def feed(store: SqliteStore, size: int, depth: int) -> deque[Run]:
    """Start enough runs and hand their first tasks out."""
    runs: deque[Run] = deque()
    for _ in range(max(2 * depth, 800 // size)):
        begun = [start() for _ in range(size)]
        runs.extend(run for run, _ in begun)
        await store.commit(Batch(now_ms=NOW_MS, decisions=[decision for _, decision in begun]))
    await store.commit(
        Batch(now_ms=NOW_MS, claims=[Claim(queue="build", worker_id="worker-1", count=len(runs))])
    )
    return runs


async def measure(
    folder: Path, *, size: int, is_busy: bool, seconds: float, depth: int = 2
) -> dict[str, Any]:
    store = await SqliteStore.open(str(folder / f"{size}-{is_busy}.db"))
    runs = await feed(store, size, depth)
    before = await store.statistics()
    busy = asyncio.Event()
    busy.set()
    spinner = asyncio.create_task(spin(busy)) if is_busy else None
    latencies: list[float] = []
    decided = 0
    until = time.perf_counter() + seconds

    async def commit_loop(mine: deque[Run]) -> None:
        nonlocal decided
        claim = [Claim(queue="build", worker_id="worker-1", count=size)]
        while time.perf_counter() < until:
            batch_runs = [mine.popleft() for _ in range(size)]
            decisions = [complete(run) for run in batch_runs]
            for index, run in enumerate(batch_runs):
                if run.workflow.status.is_terminal:
                    fresh, decision = start()
                    decisions.append(decision)
                    batch_runs[index] = fresh
            begun = time.perf_counter()
            done = await store.commit(Batch(now_ms=NOW_MS, decisions=decisions, claims=claim))
            latencies.append(time.perf_counter() - begun)
            assert len(done.claimed[0]) >= 1, "what was offered is handed out"
            mine.extend(batch_runs)
            decided += len(decisions)

    lanes: list[deque[Run]] = [deque() for _ in range(depth)]
    for index, run in enumerate(runs):
        lanes[index % depth].append(run)
    cpu = time.process_time()
    begun = time.perf_counter()
    await asyncio.gather(*[commit_loop(lane) for lane in lanes])
    wall = time.perf_counter() - begun
    cpu = time.process_time() - cpu
    busy.clear()
    if spinner:
        await spinner
    after = await store.statistics()
    await store.close()
    return {
        "batch": size,
        "loop": "busy" if is_busy else "free",
        **figures(before, after, latencies, decided=decided, wall=wall, cpu=cpu),
    }


def figures(
    before: dict[str, Any],
    after: dict[str, Any],
    latencies: list[float],
    *,
    decided: int,
    wall: float,
    cpu: float,
) -> dict[str, Any]:
    latencies.sort()
    batches = after["batches"] - before["batches"]
    return {
        "batches_per_s": round(batches / wall),
        "decisions_per_s": round(decided / wall),
        "batch_p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "batch_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 2),
        "process_cpu_us_per_decision": round(cpu / decided * 1e6, 1),
        "statements_per_batch": round((after["statements"] - before["statements"]) / batches, 2),
        "rows_per_decision": round((after["rows_written"] - before["rows_written"]) / decided, 2),
        "checkpoints": after["checkpoints"] - before["checkpoints"],
        "refusals": after["refusals"] - before["refusals"],
    }


def loop_cost(kind: str, size: int) -> dict[str, Any]:
    """CPU of the event loop's thread to group and encode a batch, for each decision."""
    runs = [start()[0] for _ in range(size)]
    for run in runs:
        run.version = 1
        run.task = replace(run.task, seq=STEPS if kind == "end" else 1)
    batch = Batch(now_ms=NOW_MS, decisions=[complete(run) for run in runs])
    rounds = max(1, 20_000 // size)
    best = float("inf")
    for _ in range(3):
        begun = time.thread_time()
        for _ in range(rounds):
            parameters(batch, merge(batch))
        best = min(best, time.thread_time() - begun)
    return {"kind": kind, "batch": size, "encode_us": round(best / rounds / size * 1e6, 2)}


async def whole_loop_cost(folder: Path, kind: str, size: int) -> dict[str, Any]:
    """As ``loop_cost``, of the whole ``commit`` with its answer; CPU of the loop's thread only."""
    store = await SqliteStore.open(str(folder / f"{kind}-{size}.db"))
    rounds = max(20, 4_000 // size)
    batches = []
    for _ in range(rounds):
        begun = [start() for _ in range(size)]
        for run, decision in begun:
            assert decision
            run.task = replace(run.task, seq=1)
        await store.commit(Batch(now_ms=NOW_MS, decisions=[decision for _, decision in begun]))
        count = size
        await store.commit(
            Batch(now_ms=NOW_MS, claims=[Claim(queue="build", worker_id="w", count=count)])
        )
        runs = [run for run, _ in begun]
        if kind == "end":
            for run in runs:
                run.workflow = replace(run.workflow, version=1)
        batches.append(
            Batch(now_ms=NOW_MS, decisions=[(end if kind == "end" else complete)(r) for r in runs])
        )
    gc.collect()
    cpu = time.thread_time()
    for batch in batches:
        done = await store.commit(batch)
    cpu = time.thread_time() - cpu
    assert all(type(verdict).__name__ == "Accepted" for verdict in done.verdicts), done
    await store.close()
    return {"kind": kind, "batch": size, "commit_us": round(cpu / rounds / size * 1e6, 2)}


def end(run: Run) -> Decision:
    before = run.task
    ended = replace(before, status=TaskStatus.COMPLETED, ended_at_ms=NOW_MS, is_executed=True)
    header = replace(run.workflow, status=WorkflowStatus.COMPLETED, ended_at_ms=NOW_MS)
    return changes_of(
        run,
        [
            put(ended, before, output=BODY),
            PutWorkflow(workflow=header, changed={"status": header.status}, output=BODY),
            Release(task_id=before.task_id, poll_count=1),
        ],
    )


async def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--seconds", type=float, default=2.0)
    asked.add_argument("--folder", default=None)
    options = asked.parse_args()
    sys.setswitchinterval(0.0001)  # as the server does at its start
    report: dict[str, Any] = {"loop": [], "commits": []}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind in ("end", "chain"):
            for size in (1, 10, 100):
                cost = await whole_loop_cost(Path(folder), kind, size)
                report["loop"].append({**loop_cost(kind, size), **cost})
        for is_busy in (False, True):
            for size in (1, 10, 100):
                report["commits"].append(
                    await measure(Path(folder), size=size, is_busy=is_busy, seconds=options.seconds)
                )
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    uvloop.run(main())
