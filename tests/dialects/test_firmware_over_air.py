"""Uploads over the air and what guards the workers' files, piece by piece."""

import hashlib
import socket
import threading
from pathlib import Path

import pytest

import batuta
from examples.firmware_ci.suite.firmware.build import compile_project
from examples.firmware_ci.suite.firmware.log import read_log
from examples.firmware_ci.suite.over_air.espota import OfflineError, UploadError, upload
from examples.firmware_ci.suite.place import Address, RefusedError, address_of, build_folder
from examples.firmware_ci.suite.workers import clean_build_env, validate_commit
from tests.k1.plant import PROJECT, device

BINARY = b"\xe9K1SIG:k1-test-737e3d8\0" + bytes(range(256)) * 700


def address(where: str) -> Address:
    host, http, ota = where.split(":")
    return Address(host, int(http), int(ota))


def send(where: str, **options: object) -> list[str]:
    lines: list[str] = []
    upload(address(where), BINARY, log=lines.append, **options)  # type: ignore[arg-type]
    return lines


def test_a_device_runs_what_was_sent_to_it() -> None:
    with device() as (lamp, where):
        lines = send(where)

    assert (lamp.firmware, lamp.signature, lamp.boots) == (BINARY, "k1-test-737e3d8", 2)
    assert "sent 100 %" in lines


def test_a_device_with_a_password_takes_the_right_one_only() -> None:
    with device(password="lamp") as (lamp, where):
        with pytest.raises(UploadError, match="wants a password"):
            send(where)
        with pytest.raises(UploadError, match="refuses the password"):
            send(where, password="candle")
        assert lamp.boots == 1
        send(where, password="lamp")

    assert lamp.firmware == BINARY


def test_a_device_that_does_not_answer_is_offline() -> None:
    with device() as (lamp, where):
        lamp.switches["is_offline"] = True
        with pytest.raises(OfflineError):
            send(where, wait_s=0.1)
    with pytest.raises(OfflineError):  # nobody is there at all
        send(where, wait_s=0.1)


def test_a_device_that_is_lost_has_not_got_it() -> None:
    with device() as (lamp, where):
        lamp.switches["lose_uploads"] = 1
        with pytest.raises(UploadError, match="lost"):
            send(where)

    assert lamp.firmware == b""


def test_a_device_that_finds_another_sum_says_so() -> None:
    """The other end of the protocol, written down here byte by byte."""
    seen: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def act() -> None:
            packet, sender = udp.recvfrom(1_024)
            seen.append(packet.decode())
            udp.sendto(b"OK", sender)
            port = int(packet.split()[1])
            with socket.create_connection((sender[0], port)) as connection:
                left = len(BINARY)
                while left:
                    piece = connection.recv(left)
                    left -= len(piece)
                    connection.sendall(b"%d" % len(piece))
                connection.sendall(b"ERROR[2]: MD5 check failed")

        thread = threading.Thread(target=act)
        thread.start()
        with pytest.raises(UploadError, match="refused"):
            upload(Address("127.0.0.1", 0, udp.getsockname()[1]), BINARY, log=seen.append)
        thread.join(5)

    command, _, size, md5 = seen[1].split()
    assert (command, size) == ("0", str(len(BINARY)))
    assert md5 == hashlib.md5(BINARY).hexdigest()
    assert seen[1].endswith("\n")


def test_a_device_answers_where_the_map_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K1_DEVICE_MAP", "10.0.0.1=lamp.example:81:3233, *=127.0.0.1:8180:3232")

    assert address_of("10.0.0.1") == ("lamp.example", 81, 3_233)
    assert address_of("10.0.0.2") == ("127.0.0.1", 8_180, 3_232)
    monkeypatch.delenv("K1_DEVICE_MAP")
    assert address_of("10.0.0.2") == ("10.0.0.2", 80, 3_232)


@pytest.mark.parametrize(
    "path",
    ["/", "/tmp", "/etc/k1-build-1", "/tmp/k1-build-", "/tmp/x/../k1-build-..", "k1-build-1"],
)
def test_only_a_folder_of_a_build_is_removed(path: str) -> None:
    with pytest.raises(batuta.FatalError, match="no folder of a build"):
        clean_build_env(path)


def test_a_link_is_no_folder_of_a_build(tmp_path: Path) -> None:
    link = Path("/tmp/k1-build-link-of-a-test")
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path)
    try:
        with pytest.raises(RefusedError, match="link"):
            build_folder(str(link))
    finally:
        link.unlink()


@pytest.mark.parametrize("sha", ["main", "", "737e3d", "737e3d8; rm -rf /", "../737e3d8"])
def test_what_is_no_commit_ends_the_pipeline_at_once(sha: str) -> None:
    with pytest.raises(batuta.FatalError, match="no commit"):
        validate_commit("K1.node1", sha)


def test_an_environment_that_is_an_option_is_refused() -> None:
    with pytest.raises(RefusedError, match="no name"):
        compile_project(PROJECT, "--upload", "737e3d8", Path("/tmp/k1-build-737e3d8"), print)


@pytest.mark.parametrize(
    ("flash", "percent"), [("70.9", 70.9), ("0.9", 0.9), ("100", 100.0), ("45.65", 45.65)]
)
def test_percentages_of_a_log_keep_their_decimals(flash: str, percent: float) -> None:
    log = (
        "RAM:   [==        ]  19.5% (used 63852 bytes from 327680 bytes)\n"
        f"Flash: [=====     ]  {flash}% (used 1434313 bytes from 3145728 bytes)\n"
    )

    found = read_log(log + "a.cpp:1:2: Warning: b\nc.cpp:1:2: warning: d\n")

    assert (found["flash_usage_percent"], found["ram_usage_percent"]) == (percent, 19.5)
    assert (found["flash_usage_bytes"], found["warning_count"]) == (1_434_313, 2)


def test_a_log_without_numbers_is_no_log() -> None:
    with pytest.raises(ValueError, match="how much RAM and flash"):
        read_log("RAM:   [==        ]  19.5% (used 63852 bytes from 327680 bytes)\n")


def test_the_recorded_logs_are_read(shared_data: Path) -> None:
    samples = shared_data / "k1" / "samples"

    good = read_log((samples / "pio-log-ok.txt").read_text("utf-8"))
    bad = read_log((samples / "pio-log-flash-70_9-one-warning.txt").read_text("utf-8"))

    assert (good["flash_usage_percent"], good["warning_count"]) == (45.6, 0)
    assert (bad["flash_usage_percent"], bad["warning_count"]) == (70.9, 1)
