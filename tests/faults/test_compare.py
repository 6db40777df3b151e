"""The oracle of the fault tests can fail: it tells of what was lost, and of what was done twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.compare import compare
from tests.faults.power.lineage import Lineage


@pytest.fixture
async def lived(tmp_path: Path) -> AsyncIterator[Lineage]:
    """Give a database with ended runs and the ledger of its clients, which agree."""
    lineage = Lineage(tmp_path / "power", seed=3)
    try:
        while not lineage.told.read("update"):
            await lineage.live()
        await lineage.finish()
        yield lineage
    finally:
        lineage.close()


async def test_an_effect_after_an_acknowledged_completion_is_told(lived: Lineage) -> None:
    [*_, done] = [one for one in lived.told.read("update") if one["status"] == "COMPLETED"]

    lived.told.note(kind="effect", task=done["task"], effect=10_000)

    with pytest.raises(AssertionError, match="was done again"):
        compare(lived.path, lived.told)


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "start", "id": "00000000-0000-7000-8000-000000000000"},
        {
            "kind": "update",
            "task": "00000000-0000-7000-8000-000000000000",
            "status": "COMPLETED",
            "effect": 1,
            "is_in_time": True,
        },
    ],
    ids=["start", "update"],
)
async def test_an_acknowledged_command_that_is_not_there_is_told(
    lived: Lineage, line: dict[str, object]
) -> None:
    lived.told.note(**line)

    with pytest.raises(AssertionError, match="is lost"):
        compare(lived.path, lived.told)
