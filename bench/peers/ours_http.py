"""The same runs by ours over HTTP; run by subject.py. Arguments: the server's port.

The clients and the workers are this process, the server is another one, as with Restate and
BullMQ. A run has ended when its last report is answered; a fan-out when it is shown as ended,
since its JOIN is decided by the last report.
"""

import asyncio
import sys
from collections import Counter
from importlib.metadata import version

import uvloop

from bench.load import shapes
from bench.load.client import Connection, expect
from bench.load.http import BATCH, CONNECTIONS, POLL_WAIT_MS, TASKS, register, report
from bench.peers.ours import shape_of
from bench.peers.protocol import serve_tasks

CLIENTS = [16, 64, 200]
DURABILITY = "journal_mode wal, synchronous 2 (FULL)"  # or the server refuses to start


class Runs:
    """Counts the reports of each run, which may be answered before its start is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._done: Counter[str] = Counter()
        self._ends: dict[str, tuple[int, asyncio.Future[None]]] = {}
        self._free: list[Connection] = []

    async def work(self, number: int) -> None:
        """Do tasks on a connection of its own."""
        connection = await Connection.open("127.0.0.1", self._port)
        path = f"/api/tasks/poll/batch/{shapes.TASK_TYPE}?workerid=w{number}&count={BATCH}"
        path += f"&timeout={POLL_WAIT_MS}"
        while True:
            for found in TASKS.decode(await expect(connection, "GET", path)):
                await expect(connection, "POST", "/api/tasks", report(found))
                self._done[found.workflow_instance_id] += 1
                self._tell(found.workflow_instance_id)

    async def run(self, title: str) -> None:
        """Do one run from its start to its end."""
        shape = shape_of(title)
        connection = await self._connection()
        path = f"/api/workflow/{shape.workflow}"
        run = (await expect(connection, "POST", path, shape.input)).decode()
        end = asyncio.get_running_loop().create_future()
        self._ends[run] = (shape.tasks, end)
        self._tell(run)
        await end
        del self._ends[run], self._done[run]
        if title.startswith("fan_out"):
            status = f"/api/workflow/{run}/status"
            while b'"COMPLETED"' not in await expect(connection, "GET", status):
                pass
        self._free.append(connection)

    def _tell(self, run: str) -> None:
        tasks, end = self._ends.get(run, (0, None))
        if end is not None and not end.done() and self._done[run] >= tasks:
            end.set_result(None)

    async def _connection(self) -> Connection:
        return self._free.pop() if self._free else await Connection.open("127.0.0.1", self._port)


async def main(port: int) -> None:
    await register(port)
    runs = Runs(port)
    workers = [asyncio.create_task(runs.work(number)) for number in range(CONNECTIONS)]
    hello = {"version": version("batuta"), "durability": DURABILITY, "clients": CLIENTS}
    await serve_tasks(hello, runs.run)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
