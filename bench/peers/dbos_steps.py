"""One-step runs, ten-step chains and fan-outs by DBOS, on SQLite or PostgreSQL.

Run by subject.py with an interpreter that has dbos, by path: it imports nothing of ours but
its neighbour. Durability is set as ours is and read back. Steps do nothing and run in the
process; a fan-out is many steps at once by ``asyncio.gather``, which took less time than as
many child workflows. Arguments: the URL of the system database.
"""

import asyncio
import sys
import threading
from importlib.metadata import version
from typing import Any

from dbos import DBOS
from protocol import serve_threads, width_of
from sqlalchemy import event, text
from sqlalchemy.engine import Engine, create_engine

STEPS = 10


@event.listens_for(Engine, "connect")
def make_durable(connection: Any, _record: Any) -> None:
    """Give each connection to SQLite the durability that ours has; PostgreSQL's is its own."""
    if "sqlite" not in type(connection).__module__:
        return
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def durability(url: str) -> str:
    """Return what a new connection says of its durability."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    names = ("journal_mode", "synchronous") if "sqlite" in url else ("fsync", "synchronous_commit")
    verb = "PRAGMA" if "sqlite" in url else "SHOW"
    with engine.connect() as asking:
        said = [f"{name} {asking.execute(text(f'{verb} {name}')).scalar()}" for name in names]
    engine.dispose()
    return ", ".join(said).replace("synchronous 2", "synchronous 2 (FULL)")


def main(url: str) -> None:
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})

    @DBOS.step()
    def step(x: int) -> dict[str, int]:
        return {"v": x}

    @DBOS.step()
    async def step_at_once(x: int) -> dict[str, int]:
        return {"v": x}

    @DBOS.workflow()
    def one_step(x: int) -> dict[str, int]:
        return step(x)

    @DBOS.workflow()
    def ten_steps(x: int) -> int:
        for _ in range(STEPS):
            step(x)
        return x

    @DBOS.workflow()
    async def fan_out(width: int) -> int:
        return len(await asyncio.gather(*(step_at_once(x) for x in range(width))))

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def run(shape: str) -> None:
        if shape == "one_step":
            one_step(1)
        elif shape == "ten_steps":
            ten_steps(1)
        else:
            width = width_of(shape)
            assert asyncio.run_coroutine_threadsafe(fan_out(width), loop).result() == width

    DBOS.launch()
    hello = {"version": version("dbos"), "durability": durability(url), "clients": [1, 4, 16]}
    serve_threads(hello, run)
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
