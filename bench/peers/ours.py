"""The same runs by ours with workers in the process; run by subject.py. Argument: a folder."""

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path

import apsw
import uvloop

from batuta.runtime.commit.batch import Share
from bench.load import shapes
from bench.load.inprocess import live_engine, start, working
from bench.peers.protocol import serve_tasks, width_of

CLIENTS = [64, 200, 400]


async def main(folder: Path) -> None:
    async with live_engine(folder) as engine, working(engine):
        ends: dict[str, asyncio.Future[None]] = {}
        loop = asyncio.get_running_loop()

        def on_commit(share: Share) -> None:
            workflow = share.execution.workflow
            if workflow.status.is_terminal:
                assert workflow.status == "COMPLETED", f"{workflow.name}: {workflow.reason}"
                ends.setdefault(workflow.workflow_id, loop.create_future()).set_result(None)

        async def run(shape: str) -> None:
            workflow_id = await start(engine, shape_of(shape))
            await ends.setdefault(workflow_id, loop.create_future())
            del ends[workflow_id]

        engine.listeners.append(on_commit)
        hello = {"version": version("batuta"), "durability": _durability(folder)}
        await serve_tasks({**hello, "clients": CLIENTS}, run)


def shape_of(title: str) -> shapes.Shape:
    """Return the workflow and the input of a shape, by the name that all engines use."""
    if title == "one_step":
        return shapes.ONE_STEP
    return shapes.TEN_STEPS if title == "ten_steps" else shapes.fan_out(width_of(title))


def _durability(folder: Path) -> str:
    """Return the file's journal mode; FULL is refused at the start if it does not read back."""
    with apsw.Connection(str(folder / "bench.db")) as asking:
        mode = asking.pragma("journal_mode")
    return f"journal_mode {mode}, synchronous 2 (FULL)"


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
