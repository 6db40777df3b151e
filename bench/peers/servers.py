"""The servers that peers keep their data in: started on a new folder, ended with the block.

Each acknowledges a write once it is synced, as ours does; what is set for that is read back by
the workloads, or by the program's own dump of its settings.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers.install import AbsentError

READY_S = 30.0


@contextmanager
def postgres(programs: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Give the URL and the process id of a new PostgreSQL with its default, durable settings."""
    user = _nobody(folder)
    data, port = folder / "data", free_port()
    initdb = [programs / "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-D", data]
    done = subprocess.run(initdb, cwd=folder, capture_output=True, text=True, check=False, **user)
    if done.returncode:
        raise AbsentError(f"initdb failed: {done.stderr.strip()[-300:]}")
    command = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]

    def is_ready() -> bool:
        return subprocess.run(ready, check=False).returncode == 0

    with _process(command, folder, is_ready, **user) as pid:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres", pid


@contextmanager
def valkey(program: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Give the port and the process id of a server that syncs its log before each answer."""
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]

    def is_ready() -> bool:
        with socket.create_connection(("127.0.0.1", port), 1) as asking:
            asking.sendall(b"PING\r\n")
            return asking.recv(16).startswith(b"+PONG")

    with _process(command, folder, is_ready) as pid:
        yield port, pid


@contextmanager
def restate(program: Path, folder: Path) -> Iterator[tuple[int, int, int]]:
    """Give the ingress port, the admin port and the process id of a Restate server."""
    node, ingress, admin = free_port(), free_port(), free_port()
    environment = os.environ | {
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
    }
    command = [program, "--base-dir", folder, "--node-name", "bench", "--no-logo"]

    def is_ready() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/health", timeout=1) as answer:
            return bool(answer.status == 200)

    with _process(command, folder, is_ready, env=environment) as pid:
        yield ingress, admin, pid


def restate_durability(program: Path) -> str:
    """Return what the server's settings say of syncing its logs."""
    done = subprocess.run([program, "--dump-config"], capture_output=True, text=True, check=True)
    said = {line for line in done.stdout.splitlines() if "disable-wal-fsync" in line}
    return "default settings, " + ", ".join(sorted(said))


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _nobody(folder: Path) -> dict[str, Any]:
    """Return as whom PostgreSQL runs: as nobody where we are root, which it refuses."""
    if os.geteuid() != 0:
        return {}
    shutil.chown(folder, "nobody")
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


@contextmanager
def _process(
    command: list[Any], folder: Path, is_ready: Callable[[], bool], **options: Any
) -> Iterator[int]:
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, stdout=log, stderr=log, **options
        )
    try:
        _wait_until(is_ready, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.perf_counter() + READY_S
    while time.perf_counter() < until and process.poll() is None:
        try:
            if is_ready():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AbsentError(f"{process.args[0]} did not become ready")  # type: ignore[index]
