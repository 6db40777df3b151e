"""What can be measured, by name: each part gives figures of one pass on a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from bench.door import poll, start, streams
from bench.load import (
    facts,
    finished_runs,
    growth,
    http,
    idle_workers,
    inprocess,
    open_runs,
)
from bench.machine import bare

Figures = dict[str, float]


class Part(msgspec.Struct, frozen=True):
    """A part; ``measure(folder, scale, count)``, where ``count`` is of those that take one."""

    name: str
    about: str
    measure: Callable[[Path, float, int], Figures]
    count: int = 0
    """How many by default; 0: it takes no count. Large ones are asked for."""
    count_large: int = 0


def _machine(_folder: Path, scale: float, _count: int) -> Figures:
    return bare.measure(scale)


def _facts(folder: Path, _scale: float, _count: int) -> Figures:
    return facts.start_and_memory(folder)


def _busy(folder: Path, scale: float, _count: int) -> Figures:
    return uvloop.run(facts.busy_commit(folder, scale))


def _inprocess(folder: Path, scale: float, _count: int) -> Figures:
    return uvloop.run(inprocess.measure(folder, scale))


def _alone(folder: Path, scale: float, _count: int) -> Figures:
    return uvloop.run(inprocess.measure_alone(folder, scale))


def _growth(folder: Path, scale: float, _count: int) -> Figures:
    return uvloop.run(growth.measure(folder, scale))


def _http(folder: Path, scale: float, _count: int) -> Figures:
    return http.measure(folder, scale)


def _idle_workers(folder: Path, _scale: float, count: int) -> Figures:
    return idle_workers.measure(folder, count)


def _doors(folder: Path, scale: float, _count: int) -> Figures:
    return start.measure(folder, scale)


def _flow_poll(folder: Path, _scale: float, count: int) -> Figures:
    return poll.measure(folder, count)


def _streams(folder: Path, _scale: float, count: int) -> Figures:
    return streams.measure(folder, count)


def _open_runs(folder: Path, _scale: float, count: int) -> Figures:
    return open_runs.measure(folder, count)


def _finished_runs(folder: Path, _scale: float, count: int) -> Figures:
    return finished_runs.measure(folder, count)


PARTS = {
    part.name: part
    for part in (
        Part("machine", "bare requests and plain Python: how fast the machine is now", _machine),
        Part("inprocess", "one step, ten steps, an idle chain, one commit", _inprocess),
        Part("alone", "fan-outs, a tree and a loop, one run at a time", _alone),
        Part("growth", "a completion in runs of 100 and of 10,000 tasks", _growth),
        Part("http", "all of these runs over HTTP with batch polls", _http),
        Part("busy", "a commit beside a saturated event loop", _busy),
        Part("facts", "cold start, idle memory, installed size", _facts),
        Part("idle-workers", "workers that poll for nothing", _idle_workers, 1_000, 1_000),
        Part("doors", "front doors beside the engine alone", _doors),
        Part("flow-poll", "clients that look at flows twice a second", _flow_poll, 1_000),
        Part("streams", "event streams of open runs, silent and told", _streams, 1_000),
        Part("open-runs", "open runs: memory, kill -9, latency", _open_runs, 5_000, 100_000),
        Part(
            "finished-runs",
            "finished runs: list, get, search, loss",
            _finished_runs,
            15_000,
            1_000_000,
        ),
    )
}
