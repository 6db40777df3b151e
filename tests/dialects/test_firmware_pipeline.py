"""The firmware pipeline, by the numbers of its acceptance scenarios (S2.8): 2 to 8.

The definitions are those of the K1 project, verbatim; workers, compiler's log, artifact store,
uploads and device are those of examples/firmware_ci/suite.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.k1.plant import DEVICE_IP, Plant, output_of, plant, references

HANDLER, ROLLBACK = "firmware-build-failure-handler", "deployment-rollback-handler"
FLASH_70_9 = 2_230_321  # bytes, of 3,145,728


@pytest.fixture
async def works(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Plant]:
    async with plant(tmp_path, monkeypatch) as made:
        await made.register(shared_data / "k1")
        yield made


def stored(works: Plant) -> set[str]:
    return {path.name for path in (works.artifacts / "firmware").glob("firmware-*.bin")}


def messages(works: Plant) -> list[dict[str, Any]]:
    lines = (works.artifacts / "messages.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def builds() -> list[Path]:
    return list(Path("/tmp").glob("k1-build-*"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_s2_02_the_happy_path_puts_the_firmware_on_the_device(works: Plant) -> None:
    sha = works.commit()

    run = await works.pipeline(sha)

    assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
    path = works.artifacts / "firmware" / f"firmware-{sha}.bin"
    assert run["output"] == {
        "build_success": True,
        "firmware_path": path.as_uri(),
        "deployment_status": "healthy",
    }
    about = json.loads(path.with_suffix(".metadata.json").read_text("utf-8"))
    assert about["checksum"] == sha256(path.read_bytes()) == sha256(works.device.firmware)
    assert (about["version"], about["branch"], about["flash_usage_percent"]) == (sha, "main", 45.6)
    assert DEVICE_IP in about["known_good"]
    assert works.device.signature.endswith(sha)
    assert works.device.boots == 2


async def test_s2_03_flash_of_70_9_percent_is_told_and_not_deployed(works: Plant) -> None:
    run = await works.pipeline(works.commit(flash_bytes=FLASH_70_9))

    assert run["status"] == "COMPLETED"
    assert output_of(run, "extract_build_metrics")["flash_usage_percent"] == 70.9
    assert output_of(run, "validate_build")["success"] is False
    assert references(run)[-1] == ("send_build_failure_notification", "COMPLETED")
    assert messages(works)[0]["details"] == ["Flash usage 70.9% is not below 70%"]
    assert (stored(works), works.device.boots) == (set(), 1)


async def test_s2_04_one_warning_is_told_and_not_deployed(works: Plant) -> None:
    run = await works.pipeline(works.commit(source='#warning "unused variable"\n'))

    assert run["status"] == "COMPLETED"
    assert output_of(run, "extract_build_metrics")["warning_count"] == 1
    assert messages(works)[0]["details"] == ["1 warnings, 0 are allowed"]
    assert (stored(works), works.device.boots) == (set(), 1)


async def test_s2_05_a_build_that_fails_twice_starts_the_failure_handler(works: Plant) -> None:
    sha = works.commit(source='#error "brightnes was not declared"\n')

    run = await works.pipeline(sha)
    handler = await works.ended(run["output"]["conductor.failure_workflow"])

    assert run["status"] == "FAILED"
    assert references(run)[-2:] == [("platformio_compile", "FAILED")] * 2
    assert works.waits == [30]
    failure = output_of(run, "platformio_compile")
    assert failure["success"] is False
    assert "brightnes" in failure["error_message"]
    assert "brightnes" in failure["build_log"]
    assert (handler["workflowName"], handler["status"]) == (HANDLER, "COMPLETED")
    assert len(handler["tasks"]) == 4
    context = output_of(handler, "extract_failure_context")
    assert context["build_dir"] == f"/tmp/k1-build-{sha}"
    assert (context["failed_task"], context["attempts"]) == ("platformio_compile", 2)
    assert output_of(handler, "cleanup_build_artifacts") == {"removed": True}
    assert sha not in {path.name.removeprefix("k1-build-") for path in builds()}
    [message] = messages(works)
    assert message["workflow_id"] == run["workflowId"]
    assert "brightnes" in message["message"]
    assert output_of(handler, "log_failure_metrics")["total"] == 1


async def test_s2_06_an_offline_device_gets_four_attempts_and_then_the_handler(
    works: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K1_OTA_WAIT_S", "0.1")
    works.device.switches["is_offline"] = True

    run = await works.pipeline(works.commit())
    handler = await works.ended(run["output"]["conductor.failure_workflow"])

    tries = [task for task in run["tasks"] if task["taskType"] == "deploy_firmware_ota"]
    assert run["status"] == "FAILED"
    assert [task["status"] for task in tries] == ["FAILED"] * 4
    assert works.waits == [60, 120, 240]
    assert {task["outputData"]["deployment_status"] for task in tries} == {"offline"}
    assert (handler["workflowName"], handler["status"]) == (HANDLER, "COMPLETED")


async def test_s2_06_a_device_that_is_lost_in_the_middle_gets_it_the_next_time(
    works: Plant,
) -> None:
    works.device.switches["lose_uploads"] = 1

    run = await works.pipeline(works.commit())

    tries = [task for task in run["tasks"] if task["taskType"] == "deploy_firmware_ota"]
    assert run["status"] == "COMPLETED"
    assert [task["status"] for task in tries] == ["FAILED", "COMPLETED"]
    assert works.waits == [60]


@pytest.mark.parametrize(
    ("switch", "value", "status"),
    [("wrong_sha", True, "version_mismatch"), ("free_heap", 40_000, "low_memory")],
)
async def test_s2_07_a_device_that_is_not_well_fails_the_pipeline(
    works: Plant, switch: str, value: object, status: str
) -> None:
    works.device.switches[switch] = value
    sha = works.commit()

    run = await works.pipeline(sha)

    checks = [task for task in run["tasks"] if task["taskType"] == "device_health_check"]
    assert run["status"] == "FAILED"
    assert [task["status"] for task in checks] == ["FAILED"] * 3
    assert works.waits == [10, 10]
    assert checks[-1]["outputData"]["status"] == status
    metadata = works.artifacts / "firmware" / f"firmware-{sha}.metadata.json"
    assert json.loads(metadata.read_text("utf-8"))["known_good"] == {}


async def test_s2_07_a_device_of_the_field_is_understood_too(works: Plant) -> None:
    works.device.switches["form"] = "field"

    run = await works.pipeline(works.commit())

    assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
    assert output_of(run, "device_health_check")["free_heap"] == 149_504


async def test_s2_08_a_rollback_restores_the_previous_known_good_binary(
    works: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = works.commit()
    assert (await works.pipeline(good))["status"] == "COMPLETED"
    before = sha256(works.device.firmware)
    works.device.switches["free_heap"] = 40_000
    assert (await works.pipeline(works.commit(source="// more\n")))["status"] == "FAILED"
    assert sha256(works.device.firmware) != before, "the device has what made it unwell"
    works.device.switches["free_heap"] = 150_000
    monkeypatch.setenv("K1_DEVICE_IP", DEVICE_IP)  # a failure workflow is told none

    run = await works.ended(await works.start(ROLLBACK, {"failed_workflow_id": "w"}))

    assert run["status"] == "COMPLETED", run.get("reasonForIncompletion")
    assert sha256(works.device.firmware) == before
    assert works.device.signature.endswith(good)
    assert output_of(run, "fetch_last_good_version")["version"] == good
    assert output_of(run, "verify_rollback")["verified"] is True
    assert messages(works)[-1]["message"] == f"Firmware rolled back to {good}"


async def test_s2_08_what_was_changed_in_the_store_is_not_sent(works: Plant) -> None:
    good = works.commit()
    await works.pipeline(good)
    (works.artifacts / "firmware" / f"firmware-{good}.bin").write_bytes(b"something else")

    run = await works.ended(await works.start(ROLLBACK, {"device_ip": DEVICE_IP}))

    assert run["status"] == "FAILED"
    assert "has changed since it was stored" in run["reasonForIncompletion"]
    assert works.device.boots == 2
