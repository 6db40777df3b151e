"""What steps leave behind in memory: nothing that only the collector of cycles could find."""

import gc

from tests.counts.work import waiting_worker
from tests.engine.definitions import chain, fork
from tests.engine.node import Node

LEFT_MAX = 50  # objects of the test itself


async def test_steps_leave_no_cycles_behind(node: Node) -> None:
    await node.register(chain("ten", 10), fork("wide", 10))
    gc.collect()
    gc.disable()
    try:
        async with waiting_worker(node, "step"):
            runs = [await node.start(name, {"x": 1}) for name in ("ten", "wide") * 10]
            ends = [(workflow_id, 11) for workflow_id in runs]
            await node.until(lambda: all(node.commits.count(one) >= n for one, n in ends))

        assert gc.collect() < LEFT_MAX
    finally:
        gc.enable()
