"""The fan-out: a branch for each file, one that cannot be read, a killed worker, the SDK."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.live import environment
from tests.examples.stage import ROOT, RUN_S, Stage, references


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    for number in range(12):
        (folder / f"{number:02}.txt").write_text("wind and tide\n" * (number + 1), "utf-8")
    (folder / "more" / "last.txt").write_text("lighthouses", "utf-8")
    return folder


def test_each_file_is_a_branch_and_all_are_added_up(stage: Stage, texts: Path) -> None:
    with stage.workers("fan_out"):
        run = stage.ended(stage.start("word_count", folder=str(texts)))

    assert run["status"] == "COMPLETED"
    assert run["output"] == {
        "files": 13,
        "words": 3 * sum(range(1, 13)) + 1,
        "longest": "lighthouses",
        "unreadable": [],
    }
    branches = [name for name in references(run) if name.startswith("_count_words_")]
    assert sorted(branches) == sorted(f"_count_words_{number}" for number in range(13))


def test_a_file_that_is_no_text_is_named_and_stops_nobody(stage: Stage, texts: Path) -> None:
    (texts / "noise.bin").write_bytes(b"\xff\xfe\x00")

    with stage.workers("fan_out"):
        run = stage.ended(stage.start("word_count", folder=str(texts)))

    assert run["status"] == "COMPLETED"
    assert run["output"]["unreadable"] == [str(texts / "noise.bin")]
    assert run["output"]["files"] == 13
    joined = next(task for task in run["tasks"] if task["referenceTaskName"] == "counted")
    assert joined["status"] == "COMPLETED_WITH_ERRORS"


def test_a_folder_that_is_not_there_fails_at_once(stage: Stage, tmp_path: Path) -> None:
    with stage.workers("fan_out"):
        run = stage.ended(stage.start("word_count", folder=str(tmp_path / "nothing")))

    assert run["status"] == "FAILED"
    assert "has 0 files" in run["reasonForIncompletion"]
    assert references(run) == ["list"]


@pytest.mark.slow  # a lost lease ends after five seconds
def test_what_a_killed_worker_had_in_hand_is_counted_by_another(stage: Stage, texts: Path) -> None:
    with stage.workers("fan_out", FAN_OUT_PACE="60") as first:
        workflow_id = stage.start("word_count", folder=str(texts))
        stage.wait_for_task(workflow_id, "_count_words_0", "IN_PROGRESS")
        first.kill()
    with stage.workers("fan_out"):
        run = stage.ended(workflow_id)

    assert run["output"]["files"] == 13
    assert run["output"]["unreadable"] == []
    lost = [task["status"] for task in run["tasks"] if task["status"] == "TIMED_OUT"]
    assert 1 <= len(lost) <= 4, "the worker counts four at once"


@contextlib.contextmanager
def sdk_worker(stage: Stage) -> Iterator[None]:
    """Run the official SDK's worker, with a group of its own since it starts processes."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "examples.fan_out.sdk_worker"],
        cwd=ROOT,
        env=environment(CONDUCTOR_SERVER_URL=f"{stage.url}/api"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
        worker.send_signal(signal.SIGINT)
        worker.wait(RUN_S)
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing was left
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(RUN_S)


@pytest.mark.sdk
@pytest.mark.slow  # it starts a process for each function
@pytest.mark.timeout(120)
def test_the_official_sdk_does_the_same_work(stage: Stage, texts: Path) -> None:
    (texts / "noise.bin").write_bytes(b"\xff\xfe\x00")

    with sdk_worker(stage):
        run = stage.ended(stage.start("word_count", folder=str(texts)))

    assert run["status"] == "COMPLETED"
    assert run["output"]["files"] == 13
    assert run["output"]["unreadable"] == [str(texts / "noise.bin")]
