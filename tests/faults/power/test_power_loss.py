"""The power goes at any write or sync: nothing acknowledged is lost, and the file is whole.

``make faults LOSSES=1000`` does more of it. The seed is BATUTA_POWER_SEED; a failure names it.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.power.lineage import Lineage, set_synchronous, small_checkpoints

LOSSES = int(os.environ.get("BATUTA_LOSSES", "50"))
SEED = int(os.environ.get("BATUTA_POWER_SEED", "1"))
LOSSES_OF_ONE = 10  # of one database, one after the other
FIGURES = ("losses", "acknowledged", "lost_writes", "syncs", "opens_cut")
PLANTED_MAX = 60  # losses until a planted fault must have been found

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60 + 4 * LOSSES),
    # A file that is closed after the power has gone fails where nobody can catch it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def test_no_loss_of_power_loses_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Callable[..., None]
) -> None:
    small_checkpoints(monkeypatch)
    figures = dict.fromkeys(FIGURES, 0)

    await _lose_many(tmp_path, figures, LOSSES, {})

    report(
        oracle="ledger of what clients were told; scan of the file; all runs end at last",
        rule="0 acknowledged commands lost, 0 breaches of an invariant",
        seed=SEED,
        **figures,
    )
    assert figures["losses"] == LOSSES
    assert figures["acknowledged"] > LOSSES, "the clients were told something between losses"
    assert figures["lost_writes"] > LOSSES, "writes were under way when the power went"


async def _lose(
    folder: Path, seed: int, count: int, figures: dict[str, int], **plants: Any
) -> None:
    lineage = Lineage(folder, seed, **plants)
    try:
        for _ in range(count):
            await lineage.lose()
        await lineage.finish()
    except Exception as error:
        error.add_note(f"seed {seed}, after {lineage.losses} losses")
        raise
    finally:
        figures["losses"] += lineage.losses
        figures["acknowledged"] += lineage.told.acknowledged
        figures["lost_writes"] += lineage.disk.lost_writes
        figures["syncs"] += lineage.disk.syncs
        figures["opens_cut"] += lineage.failures_to_open
        lineage.close()


async def _lose_many(
    folder: Path, figures: dict[str, int], losses: int, plants: dict[str, Any]
) -> None:
    for number in range(-(-losses // LOSSES_OF_ONE)):
        count = min(LOSSES_OF_ONE, losses - number * LOSSES_OF_ONE)
        await _lose(folder / str(number), SEED * 1_000 + number, count, figures, **plants)


@pytest.mark.parametrize(
    "plants",
    [
        {"opened": partial(set_synchronous, level="OFF")},
        {"opened": partial(set_synchronous, level="NORMAL")},
        {"lies": lambda: True},
    ],
    ids=["synchronous = OFF", "synchronous = NORMAL", "a disk that lies"],
)
async def test_a_missing_sync_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plants: dict[str, Any],
    report: Callable[..., None],
) -> None:
    """The oracle can fail: with syncs left out it tells of something acknowledged and lost."""
    small_checkpoints(monkeypatch)
    figures = dict.fromkeys(FIGURES, 0)

    with pytest.raises(Exception, match=r"lost|damaged|malformed|cannot be opened|loss"):
        await _lose_many(tmp_path, figures, PLANTED_MAX, plants)

    report(
        oracle="as without the plant",
        rule=f"the oracle finds a loss within {PLANTED_MAX} losses of power",
        found_after=figures["losses"],
    )
