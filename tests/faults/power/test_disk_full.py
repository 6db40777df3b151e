"""A disk that is full now and then, under load: nothing lost, and used again without a restart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.power.lineage import Lineage, small_checkpoints

TIMES = 20
BACK_S_MAX = 5.0  # until something is acknowledged again; some milliseconds on an idle machine

pytestmark = [pytest.mark.slow]


async def test_a_disk_that_fills_up_under_load_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Callable[..., None]
) -> None:
    small_checkpoints(monkeypatch)
    lineage = Lineage(tmp_path / "full", seed=5)
    try:
        back_s = await lineage.fill(TIMES)
        await lineage.look()
        await lineage.finish()
    finally:
        lineage.close()

    assert lineage.disk.refused_writes >= TIMES
    assert max(back_s) < BACK_S_MAX
    report(
        oracle="ledger of what clients were told; scan of the file; all runs end at last",
        rule=f"0 lost, 0 damaged; with room again used within {BACK_S_MAX:g} s, no restart",
        times_full=TIMES,
        refused_writes=lineage.disk.refused_writes,
        acknowledged=lineage.told.acknowledged,
        back_ms_max=round(max(back_s) * 1_000, 1),
    )
