"""Front doors: other systems' paths, words and ways of authoring, each on the one engine.

A dialect is parse -> definition -> the engine, and the engine's state -> the dialect's view. None
has tables, memory or a scheduler of its own, and none knows another. `open_dialects` is the list.
"""

from batuta.dialects.base import Dialect, Host
from batuta.dialects.order import NAMES

__all__ = ["NAMES", "Dialect", "Host", "open_dialects"]


async def open_dialects(host: Host) -> list[Dialect]:
    """Return every dialect, ready to be mounted beside the API."""
    from batuta.dialects.checkpointed.dialect import open_checkpointed  # noqa: PLC0415  by need
    from batuta.dialects.dag.dialect import open_dag  # noqa: PLC0415
    from batuta.dialects.firmware.dialect import open_firmware  # noqa: PLC0415
    from batuta.dialects.flow.dialect import open_flow  # noqa: PLC0415
    from batuta.dialects.steps.dialect import open_steps  # noqa: PLC0415

    return [
        await open_steps(host),
        await open_dag(host),
        await open_firmware(host),
        await open_flow(host),
        await open_checkpointed(host),
    ]
