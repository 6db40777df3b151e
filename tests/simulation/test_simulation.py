"""The engine keeps its promises under faults; the promises are strong enough to catch bugs."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation import campaign
from tests.simulation.campaign import catch, crash_everywhere, run_seeds
from tests.simulation.plants.planted import PLANTS, planted
from tests.simulation.run import simulate
from tests.simulation.shrink import shrink
from tests.simulation.world.loop import SimLoop, StuckError
from tests.simulation.world.plan import Lean

SEEDS = 40  # of each test run, every twentieth a long one; `make sim SEEDS=n` runs more
CRASH_POINTS_MIN = 20
WORTH_COMMITS = 1_500  # below this the seeds have not done anything worth the name
# Planted bugs that show within a few seeds; `make sim` looks for all of them.
QUICK = (
    "answer_before_commit",
    "claim_without_lease",
    "cursor_before_delivery",
    "items_of_a_fork_shifted",
    "join_early",
    "last_item_lost",
    "late_update_reopens",
    "pages_overlap",
    "queue_row_dropped",
    "resume_settles_nothing",
    "retry_off_by_one",
    "taken_not_counted",
    "timers_in_memory_only",
    "variables_not_set",
)
PLANTS_MIN = 30
WORTH_RUNS = 20
SHARE = 2  # parts that the seeds are run in, so that several processes may share them


@pytest.mark.parametrize("part", range(SHARE))
def test_no_seed_breaks_a_promise(part: int) -> None:
    report = run_seeds(range(part * SEEDS // SHARE, (part + 1) * SEEDS // SHARE))

    assert not report.stories, "\n\n".join(report.stories)
    assert report.seeds == {"short": 19, "long": 1}
    assert report.counts["commits"] > WORTH_COMMITS / SHARE, "the seeds do something"
    assert len(report.faults) > 10, f"the seeds meet faults: {report.faults}"


def test_all_kinds_of_faults_strike_and_all_invariants_are_asked() -> None:
    report = run_seeds(range(100, 103), Lean(scale="long"))

    kinds = Counter(kind.split(".")[0] for kind in report.faults)
    assert {"node", "store", "rpc", "worker", "commit", "clock"} <= kinds.keys()
    asked = {f"I{n}" for n in (*range(1, 13), 17, 18, 19, 20, 24, 33, 35, 37)}
    assert asked <= report.evaluations.keys()
    assert ("workflow", "RUNNING", "FAILED") in report.transitions
    assert report.reference["runs"] > WORTH_RUNS, "the reference has judged whole runs"


@pytest.mark.parametrize("seed", campaign.SMALL_SCENARIOS[:3])
def test_a_crash_at_any_point_of_the_store_loses_nothing(seed: int) -> None:
    report = crash_everywhere(seed, scale="short", runs=1)

    assert not report.stories, "\n\n".join(report.stories)
    assert report.counts["crash_points"] >= CRASH_POINTS_MIN
    assert report.faults["node.crash"] == report.counts["crash_points"]


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    found = catch(name).plants[name]

    assert found["caught"], f"{name} survived {found['seeds']} seeds: an invariant is missing"


def test_there_are_enough_planted_bugs_on_production_paths() -> None:
    assert len(PLANTS) >= PLANTS_MIN
    for name in PLANTS:
        with planted(name):
            pass


def test_a_seed_that_fails_is_listed_and_does_not_stop_the_others() -> None:
    with planted("join_early"):
        report = run_seeds(range(10))

    assert sum(report.seeds.values()) == 10
    [first, *_] = report.violations
    assert first["seed"] == 0
    assert first["replay"] == "python -m tests.simulation --story 0 --scale long"
    assert str(first["what"]) in report.stories[0]


def test_a_campaign_in_two_processes_counts_what_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "PART", 3)
    monkeypatch.setattr(campaign, "SMALL_SCENARIOS", ())
    monkeypatch.setattr(campaign, "CRASH_EVERY", 1_000_000)
    monkeypatch.setattr(campaign, "PLANTS", {"join_early": PLANTS["join_early"]})

    documents = []
    for jobs in (1, 2):
        path = tmp_path / f"{jobs}.json"
        assert campaign.main(range(1, 10), path, jobs=jobs, lean=Lean(scale="short")) == 0
        documents.append(json.loads(path.read_text("utf-8")))

    for document in documents:
        assert document["seeds_by_scale"] == {"short": 9, "long": 1}
        assert document["seeds_per_second_and_core"]["short"] > 0
        assert document["planted_bugs"]["join_early"]["caught"] is True
    one, two = ({key: d[key] for key in ("commits", "runs", "faults")} for d in documents)
    assert one == two


def test_a_failing_seed_is_made_small() -> None:
    with planted("join_early"):
        whole = simulate(0)
        small = shrink(0, tries_max=12)

    assert whole.violation is not None
    assert small.outcome.violation is not None
    assert small.outcome.violation.invariant.startswith("I")
    assert small.lean.rates == {"": 0.0}, "a JOIN ends early without any fault"
    assert sum(small.outcome.faults.values()) == 0
    assert small.lean != Lean({"": 0.0}), "it needs less than all runs, operations and tasks"


def test_the_same_seed_gives_the_same_history() -> None:
    assert simulate(3).history == simulate(3).history


def test_another_process_gives_the_same_history() -> None:
    program = (
        "from hashlib import blake2b; from tests.simulation.run import simulate;"
        "print(blake2b(simulate(5).history).hexdigest())"
    )

    def digest(hash_seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path.cwd())}
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True
        ).stdout

    assert digest("1") == digest("2")


def test_a_loop_with_nothing_to_run_and_nothing_timed_is_stuck() -> None:
    loop = SimLoop("0")

    async def wait() -> None:
        await loop.create_future()

    with pytest.raises(StuckError, match="nothing is runnable and nothing is timed"):
        loop.run_until_complete(wait())
    loop.dispose()
