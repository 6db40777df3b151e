"""Running ffmpeg: found where it is, told what it may read, and ended in time with all it started.

It reads local files only, which we have fetched, and only as plain media: lists of other files
(playlists, concat scripts) could name any file of the machine. Its arguments are never a shell's.
"""

import asyncio
import contextlib
import importlib
import os
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from batuta.workers.media.call import NodeError, TroubleError

WORK_S = 600.0  # for one run of ffmpeg
PROBE_S = 20.0
CLOSE_S = 1.0
AT_ONCE = 2  # runs of ffmpeg in this process; each may use all cores
SAID_CHARACTERS = 500  # of what ffmpeg says that are in an error
SAID_BYTES = 20_000  # of what ffmpeg says that are kept, its end
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,wav,mp3,ogg,flac,aac,aiff,gif,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,h264,hevc,ivf"
)
PIXELS_MAX = 40_000_000  # of a picture; 8K has 33 million
_READ = (
    *("-protocol_whitelist", "file", "-format_whitelist", _FORMATS),
    *("-max_pixels", str(PIXELS_MAX)),
)
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_VIDEO = re.compile(r"Stream #.*: Video: .*?, (\d{1,5})x(\d{1,5})")
_AUDIO = re.compile(r"Stream #.*: Audio: ")

_slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is; sizes in pixels, 0 where it has no picture."""

    seconds: float
    width: int = 0
    height: int = 0
    has_audio: bool = False


def find(given: str) -> str | None:
    """Return the ffmpeg to run: the one given, on PATH, or of the package imageio-ffmpeg."""
    if given:
        return shutil.which(given)
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        package = importlib.import_module("imageio_ffmpeg")
        return str(package.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def required(given: str) -> str:
    """Return the ffmpeg to run.

    Raises:
        NodeError: There is none.
    """
    found = find(given)
    if found is None:
        where = f"the setting ffmpeg names {given!r}, which is no program" if given else "there is"
        raise NodeError(
            f"{where}{'' if given else ' no ffmpeg'}; install the package ffmpeg (apt install "
            "ffmpeg, brew install ffmpeg) or pip install imageio-ffmpeg, or set BATUTA_FFMPEG"
        )
    return found


def source(path: Path, *before: str) -> list[str]:
    """Return the arguments that make a local file an input; ``before``: options of that input."""
    return [*_READ, *before, "-i", f"file:{path}"]


async def probe(program: str, path: Path) -> Probe:
    """Say what a file is.

    Raises:
        NodeError: It is no media that can be read. TroubleError: ffmpeg took too long.
    """
    # without an output ffmpeg fails, having said what its input is
    _, said = await _execute(
        [program, "-nostdin", "-hide_banner", *source(path)], PROBE_S, path.parent
    )
    video, found = _VIDEO.search(said), _DURATION.search(said)
    has_audio = _AUDIO.search(said) is not None
    if video is None and not has_audio:
        raise NodeError(f"ffmpeg cannot read a file as film or sound: {_last(said)}")
    seconds = 0.0
    if found is not None:
        seconds = int(found[1]) * 3_600 + int(found[2]) * 60 + float(found[3])
    return Probe(
        seconds=seconds,
        width=int(video[1]) if video else 0,
        height=int(video[2]) if video else 0,
        has_audio=has_audio,
    )


async def execute(
    program: str, arguments: Sequence[str], *, folder: Path, wait_s: float = WORK_S
) -> None:
    """Run ffmpeg in a folder; return once it has done its work.

    Raises:
        NodeError: It could not. TroubleError: It took too long, and was ended.
    """
    head = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    async with _slot():
        code, said = await _execute([*head, *arguments], wait_s, folder)
    if code:
        raise NodeError(f"ffmpeg failed: {_last(said)}")


async def _execute(command: Sequence[str], wait_s: float, folder: Path) -> tuple[int, str]:
    """Run a program in a group of its own, which is gone when this returns or raises."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # nothing of ours, which may be keys; fontconfig wants a home to look into
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": "/nonexistent"},
            start_new_session=True,
        )
    except OSError as error:
        raise NodeError(f"ffmpeg cannot be started: {error.strerror}") from None
    assert process.stderr is not None, "it is a pipe"
    try:
        async with asyncio.timeout(wait_s):
            said = await _tail(process.stderr)
            code = await process.wait()
    except TimeoutError:
        raise TroubleError(f"ffmpeg was ended after {wait_s:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        with contextlib.suppress(TimeoutError):  # what is left in the pipe, so that it is closed
            async with asyncio.timeout(CLOSE_S):
                await _tail(process.stderr)
    return code, said.decode("utf-8", "replace")


async def _tail(stream: asyncio.StreamReader) -> bytes:
    said = b""
    while piece := await stream.read(SAID_BYTES):
        said = (said + piece)[-SAID_BYTES:]
    return said


def _last(said: str) -> str:
    """Return the last lines of what ffmpeg said, without the paths of this machine."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = "; ".join(lines[-3:]) or "it did not say why"
    return re.sub(r"(file:)?/[^\s'\"]*/", "", text)[-SAID_CHARACTERS:]


def _slot() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    for gone in [one for one in _slots if one.is_closed()]:
        del _slots[gone]
    return _slots.setdefault(loop, asyncio.Semaphore(AT_ONCE))
