"""The examples run as their READMEs say: a server, a worker process, and `batuta run --watch`."""

import hashlib
import json
import re
import struct
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.client import Client
from batuta.core.definition.normalize import read_task_def, read_workflow_def
from batuta.core.definition.validate import validate_task_def, validate_workflow_def
from examples.firmware_ci.toolchain import FLASH_BYTES, read_log
from examples.media.picture import png
from tests.cli.live import ROOT, batuta, process, server, wait_until

EXAMPLES = ROOT / "examples"
INPUT = "@examples/firmware_ci/input.json"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    places = {
        "FIRMWARE_CI_HOME": str(home / "firmware"),
        "FIRMWARE_CI_PACE": "0",
        "MEDIA_HOME": str(home / "media"),
        "MEDIA_PACE": "0",
    }
    modules = ("examples.firmware_ci.workers", "examples.media.workers")
    with (
        server(home / "runs.db", "--load", "examples") as url,
        process("worker", *modules, "--server", url, **places),
    ):
        yield url


def run(url: str, *arguments: str) -> tuple[int, dict[str, Any], str, str]:
    """Run a workflow; give exit code, output, run id and standard error."""
    done = batuta("run", *arguments, "--watch", "--timeout", "40", "--server", url)
    begin = done.stdout.rindex("\n{") if "\n{" in done.stdout else len(done.stdout)
    output = json.loads(done.stdout[begin:] or "{}")
    return done.returncode, output, done.stdout.split("\n", 1)[0], done.stderr


def tasks(url: str, workflow_id: str) -> list[tuple[str, str]]:
    client = Client(url)
    found = client.get(f"/workflow/{workflow_id}?includeTasks=true")["tasks"]
    client.close()
    return [(task["referenceTaskName"], task["status"]) for task in found]


def test_a_good_build_is_stored_and_runs_on_the_device(url: str, home: Path) -> None:
    code, output, workflow_id, _ = run(url, "firmware_pipeline", "--input", INPUT)

    assert code == 0
    assert output["passed"] is True
    assert output["flash_percent"] == 45.6
    assert output["device"]["build_signature"] == "lamp-737e3d8"
    artifact = Path(output["artifact"])
    about = json.loads(artifact.with_suffix(".json").read_text("utf-8"))
    assert about["sha256"] == hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert about["bytes"] == artifact.stat().st_size == 1_434_313
    names = [name for name, _ in tasks(url, workflow_id)]
    assert names[-4:] == ["deploy_or_notify", "store", "deploy", "health"]
    assert (home / "firmware" / "devices" / "lamp-1.json").is_file()


def test_seventy_point_nine_is_over_seventy(url: str, home: Path) -> None:
    arguments = ("firmware_pipeline", "--input", INPUT, "--input", "simulate=flash_70_9")

    code, output, workflow_id, _ = run(url, *arguments)

    assert code == 0, "a build that does not pass is a result, not a failure of the pipeline"
    assert output["passed"] is False
    assert output["reasons"] == ["flash 70.9% is over 70%", "warnings 1 is over 0"]
    assert tasks(url, workflow_id)[-2:] == [
        ("deploy_or_notify", "COMPLETED"),
        ("notify", "COMPLETED"),
    ]
    messages = (home / "firmware" / "messages.txt").read_text("utf-8")
    assert "flash 70.9% is over 70%" in messages


def test_a_device_that_is_lost_twice_is_reached_the_third_time(url: str) -> None:
    arguments = ("firmware_pipeline", "--input", INPUT, "--input", "simulate=ota_flaky")

    code, output, workflow_id, _ = run(url, *arguments)

    assert code == 0
    assert output["device"]["status"] == "healthy"
    attempts = [status for name, status in tasks(url, workflow_id) if name == "deploy"]
    assert attempts == ["FAILED", "FAILED", "COMPLETED"]


def test_sources_that_do_not_compile_fail_after_one_retry_and_the_team_is_told(
    url: str, home: Path
) -> None:
    other = '{"commit": "badc0de"}'
    arguments = ("--input", INPUT, "--input", other, "--input", "simulate=compile_error")

    code, output, workflow_id, errors = run(url, "firmware_pipeline", *arguments)

    assert code == 10
    assert "'brightnes' was not declared" in errors
    assert tasks(url, workflow_id)[-2:] == [("compile", "FAILED"), ("compile", "FAILED")]
    handler = output["conductor.failure_workflow"]
    client = Client(url)
    wait_until(lambda: client.get(f"/workflow/{handler}")["status"] == "COMPLETED")
    logs = client.get(f"/tasks/{client.get(f'/workflow/{workflow_id}')['tasks'][-1]['taskId']}/log")
    client.close()
    messages = (home / "firmware" / "messages.txt").read_text("utf-8")
    assert f"Pipeline {workflow_id} failed" in messages
    assert not (home / "firmware" / "builds" / "badc0de").exists()
    assert any("Error 1" in line["log"] for line in logs), "the compiler's output is the task's log"


def test_a_commit_that_cannot_be_one_is_not_tried_again(url: str) -> None:
    arguments = ("firmware_pipeline", "--input", INPUT, "--input", "commit=not-a-commit")

    code, _, workflow_id, errors = run(url, *arguments)

    assert code == 10
    assert "'not-a-commit'" in errors
    assert tasks(url, workflow_id) == [("check_commit", "FAILED_WITH_TERMINAL_ERROR")]


def test_three_branches_make_three_files_and_one_page(url: str) -> None:
    code, output, workflow_id, _ = run(url, "media_pipeline", "--input", "topic=the tides")

    assert code == 0
    names = [name for name, _ in tasks(url, workflow_id)]
    assert sorted(names) == sorted(
        ["script", "produce", "image", "narration", "music", "produced", "cut"]
    )
    page = Path(output["page"])
    assert "A minute about the tides" in page.read_text("utf-8")
    with wave.open(output["soundtrack"], "rb") as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(output["seconds"])
    assert_png(page.with_name("title.png").read_bytes(), 160, 90)


def test_a_picture_is_a_png_that_decodes() -> None:
    assert_png(png(7, 5, [(255, 0, 0), (0, 0, 255)]), 7, 5)


def assert_png(data: bytes, width: int, height: int) -> None:
    """Decode it by the specification."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert checksum == zlib.crc32(kind + content)
        chunks[kind] = content
        at += 12 + length
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (width, height)
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)
    assert b"IEND" in chunks


def test_a_recorded_log_is_read_with_its_decimals(shared_data: Path) -> None:
    log = (shared_data / "k1" / "samples" / "pio-log-flash-70_9-one-warning.txt").read_text("utf-8")

    metrics = read_log(log)

    assert metrics["flash_percent"] == 70.9
    assert metrics["flash_bytes"] == round(FLASH_BYTES * 0.709)
    assert metrics["ram_percent"] == 30.1
    assert metrics["warnings"] == 1


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/definitions/*.json")), ids=str)
def test_a_definition_of_an_example_keeps_the_strict_rules(path: Path) -> None:
    document = json.loads(path.read_text("utf-8"))

    for item in document if isinstance(document, list) else [document]:
        if "tasks" in item:
            faults = validate_workflow_def(read_workflow_def(item, strict=True), strict=True)
        else:
            faults = validate_task_def(read_task_def(item, strict=True), strict=True)
        assert faults == []


def test_every_example_says_what_it_is_and_how_it_is_run() -> None:
    for folder in sorted(path.parent for path in EXAMPLES.glob("*/definitions")):
        text = (folder / "README.md").read_text("utf-8")
        name = folder.name
        assert re.search(rf"batuta worker examples\.{name}\.workers", text), name
        assert "batuta run " in text, name
