"""Workers of firmware pipelines, one by one: what they refuse, and whom they call."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import batuta
from batuta.workers.function import Job, TaskContext, task_functions
from examples.firmware_ci.suite import notice, web, workers
from examples.firmware_ci.suite.firmware.build import compile_project
from examples.firmware_ci.suite.sound.make import clicks
from tests.k1.plant import DEVICE_IP, PROJECT, device

JOB = Job(task_id="t-1", workflow_id="w-1", task_type="t")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARTIFACT_STORAGE_PATH", str(tmp_path / "root"))
    monkeypatch.setenv("K1_OBSERVE_PERCENT", "0")
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    return tmp_path / "root"


def context() -> TaskContext:
    return TaskContext(JOB, {})


@pytest.fixture
def slack() -> Iterator[tuple[str, list[Any], dict[str, int]]]:
    """Give a place for messages: its address, what came, and what it answers."""
    seen: list[Any] = []
    answers = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            seen.append(json.loads(self.rfile.read(length)))
            self.send_response(answers["status"])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", seen, answers
    server.shutdown()
    thread.join(5)
    server.server_close()


def test_there_is_a_worker_for_each_task_of_the_recorded_definitions(shared_data: Path) -> None:
    k1 = shared_data / "k1"
    defined = json.loads((k1 / "all-taskdefs-verbatim.json").read_text("utf-8"))
    observed = json.loads((k1 / "taskdefs-undocumented" / "observed.json").read_text("utf-8"))
    names = {one["name"] for one in defined} | set(observed)
    ours = json.loads(
        (PROJECT.parent / "definitions" / "tasks.json").read_text("utf-8")  # ours, not theirs
    )

    assert len(names) == 37
    assert {one.task_type for one in task_functions(vars(workers))} == names
    assert {one["name"] for one in ours} == names


def test_a_platformio_that_is_installed_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    pio = bin_folder / "pio"
    pio.write_text(
        "#!/bin/sh\n"
        'echo "$@ | $PLATFORMIO_BUILD_FLAGS"\n'
        'mkdir -p "$PLATFORMIO_WORKSPACE_DIR/build/$3"\n'
        'printf binary > "$PLATFORMIO_WORKSPACE_DIR/build/$3/firmware.bin"\n',
        "utf-8",
    )
    pio.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.delenv("K1_COMPILER", raising=False)

    built = compile_project(PROJECT, "lamp", "737e3d8", tmp_path / "k1-build-1", lambda _: None)

    assert built.log == f'run -e lamp -d {PROJECT} | -DBUILD_SIGNATURE=\\"k1-lamp-737e3d8\\"\n'
    assert built.binary is not None
    assert built.binary.read_bytes() == b"binary"


def test_a_message_goes_to_slack_and_into_the_file(
    root: Path, slack: tuple[str, list[Any], dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen, answers = slack
    monkeypatch.setenv("SLACK_WEBHOOK_URL", url)

    workers.send_failure_notification("it failed", "slack", "w-1")
    answers["status"] = 500
    with pytest.raises(web.UnreachableError, match="Slack answers 500"):
        notice.tell("again", channel="slack")

    assert seen[0] == {"text": "it failed\nworkflow_id: w-1"}
    [line] = (root / "messages.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["message"] == "it failed"


def test_without_slack_a_message_is_in_the_file(root: Path) -> None:
    told = workers.send_build_failure_notification("over its limits", ["Flash 70.9 %"])

    assert told["channel"] == "file"
    assert json.loads((root / "messages.jsonl").read_text("utf-8"))["details"] == ["Flash 70.9 %"]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "file:///tmp/../etc/passwd", "ftp://x/y", "gopher://x", "clicks"]
)
def test_a_sound_comes_by_http_or_from_the_store_only(url: str) -> None:
    with pytest.raises(batuta.FatalError):
        workers.download_audio_file(url)


def test_what_is_no_sound_is_refused(root: Path) -> None:
    folder = root / "audio"
    folder.mkdir(parents=True)
    good, bad = folder / "good.wav", folder / "bad.wav"
    good.write_bytes(clicks(120, seconds=1))
    bad.write_bytes(b"RIFF....WAVEnothing")
    link = folder / "link.wav"
    link.symlink_to("/etc/passwd")

    assert workers.validate_audio_format(str(good), 8_000)["valid"] is True
    with pytest.raises(batuta.FatalError, match="not 44100"):
        workers.validate_audio_format(str(good), 44_100)
    for path in (bad, link, Path("/etc/passwd"), folder / "none.wav"):
        with pytest.raises(batuta.FatalError):
            workers.extract_tempo(str(path))
    for size in (0, 100, 1 << 20):
        with pytest.raises(batuta.FatalError, match="power of two"):
            workers.extract_frequency_spectrum(str(good), size)


@pytest.mark.parametrize("name", ["../x", "a b", "", "1st", "x;system()", "a" * 100])
def test_a_pattern_has_the_name_of_one(root: Path, name: str) -> None:
    with pytest.raises(batuta.FatalError, match="no name of a pattern"):
        workers.generate_pattern_code(name, {})
    with pytest.raises(batuta.FatalError, match="no name of a pattern"):
        workers.generate_report(name, {}, {}, context())
    assert not list(root.glob("**/*.cpp"))


def test_the_same_pattern_is_the_same_commit_and_parameters_are_numbers() -> None:
    given = {"speed": 2, "x; evil()": 1, "name": "text"}

    first, again = (workers.generate_pattern_code("breathe", given) for _ in range(2))

    assert first == again
    assert "static const float speed = 2.0f;" in first["source_code"]
    assert "evil" not in first["source_code"]
    assert "text" not in first["source_code"]


def test_a_web_application_comes_from_the_store_only(tmp_path: Path) -> None:
    outside = tmp_path / "webapp-1.tar"
    outside.write_bytes(b"")
    built = workers.build_webapp("K1.node1", "main", "737e3d8")

    for url in (outside.as_uri(), "file:///etc/passwd"):
        with pytest.raises(batuta.FatalError, match="not in the store"):
            workers.deploy_webapp_prod(url)
    with pytest.raises(batuta.FatalError, match="no stage"):
        workers.deploy_webapp_staging(built["artifact_url"], "../production")
    assert workers.deploy_webapp_staging(built["artifact_url"])["deployed"] is True
    assert workers.build_webapp("K1.node1", "main", "737e3d8") == built, "byte by byte"


def test_a_device_that_does_not_move_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with device() as (lamp, where):
        monkeypatch.setenv("K1_DEVICE_MAP", f"{DEVICE_IP}={where}")
        moving = workers.run_pattern_validation("breathe", context(), 30, DEVICE_IP)
        lamp.switches["fps"] = 0
        still = workers.run_pattern_validation("breathe", context(), 30, DEVICE_IP)
        lamp.switches["form"] = "field"
        field = workers.capture_performance_metrics("breathe", DEVICE_IP)["metrics"]

    assert (moving["visual_check_passed"], still["visual_check_passed"]) == (True, False)
    assert (field["fps"], field["audio_latency_ms"]) == (0, None)
    assert field["avg_render_time_ms"] == pytest.approx(480)


def test_fewer_frames_than_the_baseline_are_a_regression_within_the_limits_too() -> None:
    limits = {"min_fps": 30}

    first = workers.compare_performance({"fps": 60.0}, "v1", limits)
    slower = workers.compare_performance({"fps": 50.0}, "v1", limits)
    equal = workers.compare_performance({"fps": 55.0}, "v1", limits)

    assert (first["passed"], first["has_baseline"]) == (True, False)
    assert (slower["passed"], slower["regression_detected"]) == (False, True)
    assert (equal["passed"], equal["fps_delta"]) == (True, -5.0)
