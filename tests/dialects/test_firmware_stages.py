"""Staged deployment, patterns, sounds and the store of firmware: S2.9 to S2.12, S2.14."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from examples.firmware_ci.suite.firmware import artifact
from examples.firmware_ci.suite.place import RefusedError
from examples.firmware_ci.suite.sound import analyse
from examples.firmware_ci.suite.sound.make import clicks
from examples.firmware_ci.suite.sound.read import Sound, read
from tests.k1.plant import DEVICE_IP, Json, Plant, output_of, plant, references

STAGES, PATTERN = "multi-stage-deployment", "pattern-generation-testing"
AUDIO = "audio-processing-pipeline"


@pytest.fixture
async def works(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Plant]:
    async with plant(tmp_path, monkeypatch) as made:
        await made.register(shared_data / "k1")
        yield made


def overlap(run: Json, *names: str) -> bool:
    """Say whether tasks were all there before the first of them ended."""
    found = [task for task in run["tasks"] if task["referenceTaskName"] in names]
    assert len(found) == len(names)
    return max(task["scheduledTime"] for task in found) <= min(task["endTime"] for task in found)


async def at_the_gate(works: Plant) -> str:
    """Start a deployment and wait until it asks for an approval; give its id."""
    given = {
        "release_version": "2.0.0",
        "firmware_commit_sha": works.commit(),
        "webapp_commit_sha": "0123456789abcdef",
    }
    workflow_id = await works.start(STAGES, given)
    run = await works.until(
        workflow_id, lambda run: "manual_approval_gate" in dict(references(run))
    )
    assert overlap(run, "build_firmware", "build_webapp")
    ends = {task["referenceTaskName"]: task.get("endTime", 0) for task in run["tasks"]}
    staged = next(
        task for task in run["tasks"] if task["referenceTaskName"] == "deploy_webapp_staging"
    )
    assert staged["scheduledTime"] >= max(ends["build_firmware"], ends["build_webapp"])
    assert output_of(run, "run_integration_tests")["passed"] is True
    return workflow_id


async def test_s2_09_an_approval_leads_to_two_production_deploys(works: Plant) -> None:
    workflow_id = await at_the_gate(works)

    await works.ask(
        "post", f"/tasks/{workflow_id}/manual_approval_gate/COMPLETED", {"approved": True}
    )
    run = await works.ended(workflow_id)

    assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
    assert run["output"] == {"deployment_status": "deployed"}
    names = dict(references(run))
    assert names["deploy_webapp_prod"] == names["deploy_firmware_prod_device"] == "COMPLETED"
    assert "deployment_cancelled" not in names
    site = works.artifacts / "sites" / "production" / "version.json"
    assert json.loads(site.read_text("utf-8"))["commit_sha"] == "0123456789abcdef"
    assert works.device.boots == 1 + 3, "by the pipeline, for the tests, in production"


async def test_s2_09_a_rejection_deploys_nothing(works: Plant) -> None:
    workflow_id = await at_the_gate(works)

    await works.ask(
        "post", f"/tasks/{workflow_id}/manual_approval_gate/COMPLETED", {"approved": False}
    )
    run = await works.ended(workflow_id)

    assert run["output"] == {"deployment_status": "cancelled"}
    assert dict(references(run))["deployment_cancelled"] == "COMPLETED"
    assert not (works.artifacts / "sites" / "production").exists()


async def test_s2_09_nobody_who_answers_within_the_deadline_is_a_rejection(works: Plant) -> None:
    workflow_id = await at_the_gate(works)

    works.clock.put_on(3_601_000)
    run = await works.ended(workflow_id)

    assert run["status"] == "COMPLETED"
    assert run["output"] == {"deployment_status": "cancelled"}
    assert works.device.boots == 1 + 2


async def pattern_run(works: Plant, name: str = "breathe") -> Json:
    given = {"pattern_name": name, "pattern_params": {"speed": 1.0}, "baseline_version": "v1"}
    run = await works.ended(await works.start(PATTERN, given))
    works.commits.append(output_of(run, "generate_pattern_code")["commit_sha"])
    return run


async def test_s2_11_a_pattern_is_built_shown_measured_and_reported(works: Plant) -> None:
    run = await pattern_run(works)

    assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
    child_id = next(t for t in run["tasks"] if t["taskType"] == "SUB_WORKFLOW")["subWorkflowId"]
    child = await works.ask("get", f"/workflow/{child_id}")
    assert child["parentWorkflowId"] == run["workflowId"]
    assert child["status"] == "COMPLETED"
    assert child["input"]["commit_sha"] == output_of(run, "generate_pattern_code")["commit_sha"]
    assert "pattern_breathe.cpp" in output_of(child, "platformio_compile")["build_log"]
    assert works.device.patterns_shown == ["breathe"]
    assert run["output"]["validation_passed"] is True
    assert output_of(run, "compare_performance")["regression_detected"] is False
    [report] = (works.artifacts / "reports").glob("breathe-*.json")
    assert run["output"]["report_url"] == report.as_uri()
    assert json.loads(report.read_text("utf-8"))["metrics"]["fps"] == 60
    assert "Pattern breathe: passed" in report.with_suffix(".md").read_text("utf-8")


async def test_s2_11_25_frames_a_second_are_a_regression(works: Plant) -> None:
    await pattern_run(works)
    works.device.switches["fps"] = 25

    run = await pattern_run(works)

    compared = output_of(run, "compare_performance")
    assert (run["status"], run["output"]["validation_passed"]) == ("COMPLETED", False)
    assert compared["regression_detected"] is True
    assert (compared["fps_delta"], compared["has_baseline"]) == (-35, True)
    assert "fps 25 is under 30" in compared["faults"]
    assert output_of(run, "generate_report")["report_data"]["passed"] is False


async def test_s2_12_three_extractors_overlap_and_all_of_them_count(works: Plant) -> None:
    http = os.environ["K1_DEVICE_MAP"].partition("=")[2].rpartition(":")[0]
    given = {
        "audio_file_url": f"http://{http}/audio/clicks.wav?bpm=128",
        "sample_rate": 8_000,
        "output_format": "json",
    }

    run = await works.ended(await works.start(AUDIO, given))

    assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
    assert overlap(run, "extract_tempo", "extract_frequency_spectrum", "extract_envelope")
    made = output_of(run, "generate_pattern_parameters")
    assert made["speed_multiplier"] == pytest.approx(128 / 120, rel=0.02)
    assert made["color_palette"][0] == "#ff0000", "a tone of 1 kHz is in the lowest third"
    assert 0 < made["reactivity_threshold"] < 1
    path = Path(run["output"]["features_url"].removeprefix("file://"))
    assert json.loads(await asyncio.to_thread(path.read_text, "utf-8")) == made


@pytest.mark.parametrize("bpm", [61, 75, 100, 120, 128, 150, 174, 190])
def test_s2_12_the_tempo_of_clicks_is_found(tmp_path: Path, bpm: int) -> None:
    path = tmp_path / "clicks.wav"
    path.write_bytes(clicks(bpm, seconds=8))

    found = analyse.tempo(read(path))

    assert found.bpm == pytest.approx(bpm, rel=0.02)
    assert found.confidence > 0.4


def test_s2_12_the_strongest_frequency_and_the_loudness_are_found(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(clicks(1, seconds=1, tone_hz=1_234))
    short = read(path)
    tone = Sound([one for one in short.samples if one] * 40, short.rate, 1)

    assert analyse.spectrum(tone, 512).dominant_frequency_hz == pytest.approx(1_234, abs=20)
    assert len(analyse.spectrum(tone, 512).bins) == 256
    loud = analyse.envelope(Sound([0.5, -0.5] * 500 + [0.0] * 1_000, 1_000, 1))
    assert (loud.peak_amplitude, len(loud.envelope)) == (0.5, 100)
    assert (loud.envelope[0], loud.envelope[-1]) == (0.5, 0.0)
    assert loud.rms_amplitude == pytest.approx(0.5 / 2**0.5, abs=1e-4)
    assert analyse.tempo(Sound([0.0] * 80_000, 8_000, 1)) == (0.0, 0.0)


def store_one(folder: Path, number: int, **about: Any) -> artifact.Artifact:
    binary = folder / f"build-{number}.bin"
    binary.write_bytes(b"firmware %d" % number)
    stamp = f"2026-01-{number:02}T00:00:00+00:00"
    return artifact.store(binary, f"v{number}", {"build_timestamp": stamp, **about})


def names(root: Path) -> set[str]:
    return {path.stem.removeprefix("firmware-") for path in (root / "firmware").glob("*.bin")}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARTIFACT_STORAGE_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def test_s2_14_the_eleventh_build_removes_the_oldest(root: Path, tmp_path: Path) -> None:
    for number in (3, 1, 2, *range(4, 12)):  # stored in another order than they were built
        store_one(tmp_path, number)

    assert names(root) == {f"v{number}" for number in range(2, 12)}
    left = {path.name for path in (root / "firmware").glob("*.metadata.json")}
    assert len(left) == 10


def test_s2_14_a_build_that_comes_late_is_there_for_its_deployment(
    root: Path, tmp_path: Path
) -> None:
    for number in range(2, 12):
        store_one(tmp_path, number)

    late = store_one(tmp_path, 1)

    assert artifact.content_of(artifact.find(late.url)) == b"firmware 1"
    assert names(root) == {f"v{number}" for number in range(1, 12)}
    store_one(tmp_path, 12)
    assert names(root) == {f"v{number}" for number in range(3, 13)}


def test_s2_14_builds_that_are_stored_at_once_are_all_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K1_ARTIFACTS_KEPT", "12")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store_one(tmp_path, number), range(1, 29)))

    found = artifact.list_all()
    assert 12 <= len(found) <= 13, "the newest, and the one that was stored last"
    assert {f"v{number}" for number in range(17, 29)} <= names(root)
    assert all(artifact.content_of(one) for one in found)
    assert not list((root / "firmware").glob(".*.part"))


def test_s2_14_the_last_known_good_is_never_removed(root: Path, tmp_path: Path) -> None:
    store_one(tmp_path, 1)
    store_one(tmp_path, 2)
    artifact.mark_good("v1", DEVICE_IP)
    artifact.mark_good("v2", DEVICE_IP)
    artifact.mark_good("v1", "another")
    for number in range(3, 20):
        store_one(tmp_path, number)

    last = artifact.last_good(DEVICE_IP)
    assert last is not None
    assert (last.version, artifact.content_of(last)) == ("v2", b"firmware 2")
    assert names(root) == {"v1", "v2", *(f"v{number}" for number in range(10, 20))}


def test_s2_14_the_same_build_again_keeps_its_mark(root: Path, tmp_path: Path) -> None:
    first = store_one(tmp_path, 1)
    artifact.mark_good("v1", DEVICE_IP)
    again = store_one(tmp_path, 1)

    assert again.about["checksum"] == first.about["checksum"]
    assert DEVICE_IP in artifact.find("v1").about["known_good"]
    assert names(root) == {"v1"}


@pytest.mark.parametrize("version", ["../x", "a/b", "", ".hidden", "a..b", "a\0b", "x" * 200])
def test_a_version_that_leads_out_of_the_store_is_refused(
    root: Path, tmp_path: Path, version: str
) -> None:
    binary = tmp_path / "firmware.bin"
    binary.write_bytes(b"x")

    with pytest.raises(RefusedError):
        artifact.store(binary, version, {})
    assert names(root) == set()


def test_a_link_is_neither_stored_nor_sent_nor_written_through(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = tmp_path / "link.bin"
    link.symlink_to(secret)
    with pytest.raises(RefusedError):
        artifact.store(link, "v1", {})

    (root / "firmware").mkdir(parents=True, exist_ok=True)
    (root / "firmware" / "firmware-v1.bin").symlink_to(secret)
    store_one(tmp_path, 1)
    assert secret.read_bytes() == b"secret"
    assert artifact.content_of(artifact.find("v1")) == b"firmware 1"

    (root / "firmware" / "firmware-v1.bin").unlink()
    (root / "firmware" / "firmware-v1.bin").symlink_to(secret)
    with pytest.raises(FileNotFoundError):
        artifact.find("v1")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "file:///tmp/firmware-v.bin"])
def test_what_is_not_in_the_store_is_not_found(root: Path, url: str) -> None:
    with pytest.raises((RefusedError, FileNotFoundError)):
        artifact.find(url)
    assert not list(root.glob("**/*.bin"))
