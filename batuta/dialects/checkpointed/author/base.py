"""The class that workflows are made from, and the checks that say when a job may go on."""

import asyncio
import mimetypes
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from batuta.workers.media.ai import Services

_MARK = "__batuta_resume_check__"
_Check = TypeVar("_Check", bound=Callable[..., Any])


class Desk(Protocol):
    """What a step may ask of the server; each call is safe from the step's own thread."""

    def log(self, line: str) -> None:
        """Add a line to the step's log."""

    def progress(self, percent: float, message: str) -> None:
        """Tell how far the step is."""

    def path(self, name: str) -> Path | None:
        """Return where a kept file is."""

    async def keep(self, data: bytes, media_type: str) -> str:
        """Keep a file with the job; return its URL."""


class BaseWorkflow:
    """A workflow: one method ``async def step_<name>(self, input_data, step_config)`` a step.

    There is a new object for every step, so what a later step needs has to be returned: it is
    the checkpoint, and the next step's ``input_data``. A plain ``def`` works too. What a step
    returns must be JSON. A step may run again when the server dies in it.

    ``services``: the providers of pictures and films that the server knows; for its own workflows.
    """

    config: Mapping[str, Any] = {}
    job_id = ""
    user_id = ""
    options: Mapping[str, Any] = {}
    retry_count = 0
    environment: Mapping[str, str] = {}
    services: Services | None = None
    _desk: Desk | None = None

    def log(self, line: str) -> None:
        """Add a line to the step's log, which is kept with the job."""
        if self._desk is not None:
            self._desk.log(str(line))

    def report_progress(self, percent: float, message: str = "") -> None:
        """Tell how much of this step is done, 0 to 100; who watches the job sees it."""
        if self._desk is not None:
            self._desk.progress(percent, message)

    async def save_file(self, data: bytes | str | Path, media_type: str = "") -> str:
        """Keep a file with the job and return its URL at this server, ``/files/...``.

        Args:
            data: Its bytes, or the path of a file to copy.
            media_type: As ``image/png``; by default as a path's extension says.
        """
        if self._desk is None:
            raise RuntimeError("files can be kept while a step runs in the server only")
        if not isinstance(data, bytes):
            path = Path(data)
            media_type = media_type or mimetypes.guess_type(path.name)[0] or ""
            data = await asyncio.to_thread(path.read_bytes)
        return await self._desk.keep(data, media_type)

    def file_path(self, url: str) -> Path | None:
        """Return where the file of a URL ``/files/...`` is; None for one that is not here."""
        if self._desk is None or not isinstance(url, str):
            return None
        return self._desk.path(url.rpartition("/")[2])

    async def can_resume(self, error_info: Mapping[str, Any]) -> bool | None:  # noqa: ARG002
        """Say whether a job whose wait is over may go on; asked before each automatic retry.

        None leaves it to the registered checks, see ``resume_check``. False waits again, for the
        interval of the retry manager, without using up a retry.
        """
        return None


class InputFile(dict[str, Any]):
    """The first step's input: the fields of the request, and the uploaded file if there is one.

    ``url``, ``path``, ``filename``, ``content_type`` and ``size_bytes`` are those of the file.
    """

    @property
    def filename(self) -> str:
        """What the file was called by whoever sent it."""
        return str(self.get("filename") or "")

    @property
    def content_type(self) -> str:
        """The file's media type."""
        return str(self.get("content_type") or "")

    def open(self) -> BinaryIO:
        """Open the uploaded file for reading.

        Raises:
            FileNotFoundError: No file was sent.
        """
        path = self.get("path")
        if not path:
            raise FileNotFoundError("the job was started without a file")
        return Path(path).open("rb")

    def read(self) -> bytes:
        """Return the uploaded file's bytes.

        Raises:
            FileNotFoundError: No file was sent.
        """
        with self.open() as file:
            return file.read()


Checked = Awaitable[bool] | bool


def resume_check(*error_types: str) -> Callable[[_Check], _Check]:
    """Make a function the condition under which jobs with these errors go on.

    It is given the error (``error``, ``error_type``, ``model``, ``provider``, ``job_id``,
    ``workflow_id``, ``step_name``) and returns whether the cause is gone. In a ``workflow.py`` it
    is for that workflow; in a ``.py`` file of the workflows folder itself for all of them.
    """

    def mark(check: _Check) -> _Check:
        setattr(check, _MARK, (*getattr(check, _MARK, ()), *error_types))
        return check

    return mark


def resume_checks(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Callable[..., Checked]]]:
    """Find the checks among a module's names, each with its type of error."""
    for value in namespace.values():
        marks = getattr(value, _MARK, None) if callable(value) else None
        if isinstance(marks, tuple):
            yield from ((error_type, value) for error_type in marks)
