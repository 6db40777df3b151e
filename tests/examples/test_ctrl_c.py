"""Ctrl-C in the terminal of `make run` reaches all its processes at once, and all end quietly."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.cli.live import environment, wait_until
from tests.examples.stage import ROOT, places

PROCESSES = 3  # the server, the workers, the weather service
END_S = 20.0


def test_ctrl_c_ends_everything_without_a_word_of_python(tmp_path: Path) -> None:
    said = tmp_path / "said"
    options = ("--port", "18680", "--db", str(tmp_path / "demo.db"))
    settings = places(tmp_path) | {"FIRMWARE_CI_HOME": str(tmp_path), "FIRMWARE_CI_PACE": "0"}
    with said.open("w") as terminal:
        demo = subprocess.Popen(
            [sys.executable, "-m", "batuta", "demo", *options],
            cwd=ROOT,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, as a terminal gives it
        )
        try:
            wait_until(lambda: "Ctrl-C stops" in said.read_text("utf-8"))
            group = [demo.pid, *(child.pid for child in psutil.Process(demo.pid).children())]
            os.killpg(demo.pid, signal.SIGINT)
            code = demo.wait(END_S)
        finally:
            demo.kill()
            demo.wait()

    after = said.read_text("utf-8").split("Ctrl-C stops", 1)[1]
    assert code == 0
    assert len(group) >= PROCESSES
    assert not re.search("Fatal|Traceback|Error", after), after
    assert not any(psutil.pid_exists(pid) for pid in group)
