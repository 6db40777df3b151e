"""What the list asks of this machine. Batuta needs little of it, and says so.

Source: S2.7; the programs are those that the list names for a cluster of Conductor.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batuta.cli.checklist.item import Item, Result, read_items
from batuta.cli.process import check_port
from batuta.model.error import BatutaError

PORTS = (8080, 8127, 9200, 6379, 9090, 3000)
MEMORY_BYTES, DISK_BYTES = 8_000_000_000, 20_000_000_000
NODE_MAJOR = 20
COMMAND_S = 20.0


def host_results() -> list[Result]:
    """Look at each item of this machine; none of them fails a check."""
    return [look(item) for item in read_items() if item.kind == "host"]


def look(item: Item) -> Result:
    """Look at one item."""
    is_so, text = _LOOKS[item.check]()
    return Result(item=item, state="host", text=f"{'yes' if is_so else 'no'}: {text}")


def _docker() -> tuple[bool, str]:
    code, said = _run("docker", "info", "--format", "{{.ServerVersion}}")
    return code == 0, said if code == 0 else "Docker does not run here; one process needs none"


def _compose() -> tuple[bool, str]:
    code, said = _run("docker", "compose", "version", "--short")
    return code == 0, said if code == 0 else "it is not here; one process needs none"


def _containers() -> tuple[bool, str]:
    code, said = _run("docker", "compose", "ps", "--format", "{{.Name}} {{.State}}")
    if code or not said:
        return False, "there are none; one process needs none"
    return "exited" not in said, said.replace("\n", ", ")


def _ports() -> tuple[bool, str]:
    taken = []
    for port in PORTS:
        try:
            check_port("127.0.0.1", port)
        except BatutaError:
            taken.append(port)
    return not taken, f"in use: {taken}" if taken else "all of them; one process needs one of them"


def _memory() -> tuple[bool, str]:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return False, "this system does not say"
    return size >= MEMORY_BYTES, f"{size / 1e9:.1f} GB; one process takes 0.1 GB"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return free >= DISK_BYTES, f"{free / 1e9:.1f} GB are free"


def _conductor() -> tuple[bool, str]:
    found = [path for path in (Path("conductor"), Path.cwd().parent / "conductor") if path.is_dir()]
    return bool(found), str(found[0]) if found else "it is not here, and nothing needs it"


def _project() -> tuple[bool, str]:
    told = os.environ.get("PLATFORMIO_PROJECT_PATH", "")
    if not told:
        return False, "PLATFORMIO_PROJECT_PATH is not set; the example's own project is built"
    return (Path(told) / "platformio.ini").is_file(), told


def _platformio() -> tuple[bool, str]:
    code, said = _run("pio", "--version")
    return code == 0, said if code == 0 else "it is not here; a stand-in writes its logs"


def _builds() -> tuple[bool, str]:
    project = os.environ.get("PLATFORMIO_PROJECT_PATH", "")
    if not project or shutil.which("pio") is None:
        return False, "without PlatformIO and a project there is nothing to build"
    code, said = _run("pio", "project", "config", "-d", project)
    return code == 0, "it is read; the first pipeline builds it" if code == 0 else said[-100:]


def _redis() -> tuple[bool, str]:
    code, said = _run("redis-cli", "ping")
    return code == 0 and said == "PONG", said or "it is not here; queues are rows of the database"


def _node() -> tuple[bool, str]:
    code, said = _run("node", "--version")
    found = re.match(r"v(\d+)", said)
    is_new = code == 0 and found is not None and int(found[1]) >= NODE_MAJOR
    return is_new, said if code == 0 else "it is not here; workers of the example are Python"


def _pm2() -> tuple[bool, str]:
    code, said = _run("pm2", "--version")
    return code == 0, said if code == 0 else "it is not here; any service manager will do"


def _pm2_started() -> tuple[bool, str]:
    names = [one["name"] for one in _pm2_list()]
    return bool(names), ", ".join(names) or "PM2 has started nothing"


def _pm2_healthy() -> tuple[bool, str]:
    states = {one["name"]: one["pm2_env"]["status"] for one in _pm2_list()}
    is_well = bool(states) and set(states.values()) == {"online"}
    return is_well, str(states) if states else "PM2 has started nothing"


def _pm2_restarts() -> tuple[bool, str]:
    found = _pm2_list()
    off = [one["name"] for one in found if one["pm2_env"].get("autorestart") is False]
    if not found:
        return False, "PM2 has started nothing"
    return not off, f"not {off}" if off else "as PM2 does by itself"


def _pm2_logs() -> tuple[bool, str]:
    paths = [Path(one["pm2_env"]["pm_out_log_path"]) for one in _pm2_list()]
    return bool(paths) and all(path.is_file() for path in paths), f"{len(paths)} logs"


def _firewall() -> tuple[bool, str]:
    for command in (("ufw", "status"), ("nft", "list", "ruleset"), ("iptables", "-S")):
        code, said = _run(*command)
        if code == 0 and re.search(r"Status: active|chain .*\{|-j (?:DROP|REJECT)", said):
            return True, command[0]
    return False, "none was found; the server listens on this machine only unless it is told more"


def _cron() -> tuple[bool, str]:
    _, said = _run("crontab", "-l")
    found = [line for line in said.splitlines() if re.search("backup|batuta", line)]
    return bool(found), found[0] if found else "crontab -l has no line of a backup"


def _pm2_list() -> list[dict[str, Any]]:
    code, said = _run("pm2", "jlist")
    try:
        found: list[dict[str, Any]] = json.loads(said) if code == 0 else []
    except ValueError:
        return []
    return found


def _run(*command: str) -> tuple[int, str]:
    """Run a program that may not be here; 127 when it is not."""
    path = shutil.which(command[0])
    if path is None:
        return 127, ""
    try:
        done = subprocess.run(  # noqa: S603  found on the path, with arguments of ours
            [path, *command[1:]],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout or done.stderr).strip()


_LOOKS: dict[str, Callable[[], tuple[bool, str]]] = {
    "docker": _docker,
    "compose": _compose,
    "containers": _containers,
    "ports": _ports,
    "memory": _memory,
    "disk": _disk,
    "conductor": _conductor,
    "project": _project,
    "platformio": _platformio,
    "builds": _builds,
    "redis": _redis,
    "node": _node,
    "pm2": _pm2,
    "pm2_started": _pm2_started,
    "pm2_healthy": _pm2_healthy,
    "pm2_restarts": _pm2_restarts,
    "pm2_logs": _pm2_logs,
    "firewall": _firewall,
    "cron": _cron,
}
