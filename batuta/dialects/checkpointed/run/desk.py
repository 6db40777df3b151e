"""What a step may ask of the server while it runs in a thread of its own."""

import asyncio
import contextlib
import logging
import re
from pathlib import Path

from batuta.dialects.checkpointed.run.wait import clean
from batuta.model.error import BatutaError
from batuta.runtime.clock import pause
from batuta.runtime.engine import Engine
from batuta.store.blob.media import MediaFiles
from batuta.workers.function import TaskContext

PROGRESS_GAP_S = 0.25  # between two reports that are kept; the newest of those between is
PROGRESS_LINES_MAX = 500  # of one attempt; each is a row
MESSAGE_CHARACTERS_MAX = 500
_LINE = re.compile(r"progress: (\d{1,3}(?:\.\d{1,2})?) %(?: (.*))?", re.DOTALL)

_log = logging.getLogger(__name__)


class StepDesk:
    """The desk of one attempt; made and closed on the server's loop, used from any thread."""

    def __init__(
        self,
        engine: Engine,
        media: MediaFiles | None,
        task: TaskContext,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._engine = engine
        self._media = media
        self._task = task
        self._loop = loop
        self._newest: str | None = None
        self._sending: asyncio.Task[None] | None = None
        self._is_closed = False

    def log(self, line: str) -> None:
        """Add a line to the step's log; sent with the next heartbeat, or with the report."""
        self._task.log(clean(line))

    def progress(self, percent: float, message: str) -> None:
        """Tell how far the step is; kept as a line of its log."""
        shown = min(max(float(percent), 0.0), 100.0)
        said = clean(str(message))[:MESSAGE_CHARACTERS_MAX]
        text = f"progress: {round(shown, 2):g} % {said}".rstrip()
        with contextlib.suppress(RuntimeError):  # the server's loop has gone
            self._loop.call_soon_threadsafe(self._note, text)

    def path(self, name: str) -> Path | None:
        """Return where a kept file is."""
        return None if self._media is None else self._media.path(name)

    async def keep(self, data: bytes, media_type: str) -> str:
        """Keep a file with the job; return its URL.

        Raises:
            InvalidError: It is too large. StoreError: The disk did not take it.
            RuntimeError: This server keeps no files.
        """
        media = self._media
        if media is None:
            raise RuntimeError("this server keeps no files; set BATUTA_BLOB_FOLDER")
        kept = await media.put(data, media_type=media_type, workflow_id=self._task.workflow_id)
        return kept.url

    def close(self) -> None:
        """Take nothing more; what was not sent is dropped, since the step's end says more."""
        self._is_closed = True
        if self._sending is not None:
            self._sending.cancel()

    def _note(self, line: str) -> None:
        if self._is_closed:
            return
        self._newest = line
        if self._sending is None:
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        for _ in range(PROGRESS_LINES_MAX):
            line, self._newest = self._newest, None
            if line is None:
                break
            try:
                await self._engine.add_log(self._task.task_id, line)
            except BatutaError as error:
                _log.warning("the progress of %s was not kept: %s", self._task.task_id, error)
            await pause(PROGRESS_GAP_S)
        else:
            return  # no more of this attempt
        self._sending = None


def progress_of(line: str) -> tuple[float, str] | None:
    """Return what a line of a log reports: percent and message; None for any other line."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return min(float(found[1]), 100.0), found[2] or ""
