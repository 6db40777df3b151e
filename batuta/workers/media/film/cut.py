"""Making a film of others: fetch what is named, cut it, keep the result."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from batuta.store.blob.media import MEDIA_BYTES_MAX, MediaFile
from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError
from batuta.workers.media.film.ffmpeg import Probe, execute, probe, required
from batuta.workers.media.film.scene import SCENES_MAX, WORDS_MAX, Cut, Scene, Words, arguments
from batuta.workers.media.source import PIECE_BYTES, keep, take

WORK_FILES = 5  # times the largest file is what all that one film is made of may have
_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts")
_GOOD_FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf")


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """A film and the speech over it, as URLs; ``speech`` "" when there is none."""

    film: str
    speech: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A film to be made; ``how`` lacks the scenes, the music and the words, which are here."""

    shots: tuple[Shot, ...]
    how: Cut
    music: str = ""
    text: str = ""
    place: str = "bottom"
    color: str = "#ffffff"
    size: int = 24


async def make_film(services: Services, plan: Plan, *, workflow_id: str = "") -> MediaFile:
    """Cut a film and keep it.

    Raises:
        NodeError: There is no ffmpeg, or what is named is no film. TroubleError: It may pass.
    """
    if len(plan.shots) > SCENES_MAX:
        raise NodeError(f"{len(plan.shots)} films are given; {SCENES_MAX} at most are put together")
    program = required(services.ai.ffmpeg)
    bytes_max = services.media.bytes_max if services.media else MEDIA_BYTES_MAX
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="batuta-film-"))
    try:
        desk = _Desk(services, program, folder, bytes_max)
        scenes = [await desk.scene(shot) for shot in plan.shots]
        music = await desk.sound(plan.music) if plan.music else None
        words = await asyncio.to_thread(_words, plan, folder) if plan.text else None
        cut = replace(plan.how, scenes=tuple(scenes), music=music, words=words, bytes_max=bytes_max)
        out = folder / "out.mp4"
        await execute(program, arguments(cut, out), folder=folder)
        return await keep(services, _pieces(out), "video/mp4", workflow_id=workflow_id)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


class _Desk:
    """The folder of one piece of work; each URL is fetched once."""

    def __init__(self, services: Services, program: str, folder: Path, bytes_max: int) -> None:
        self._services = services
        self._program = program
        self._folder = folder
        self._bytes_max = bytes_max
        self._left = WORK_FILES * bytes_max
        self._found: dict[str, tuple[Path, Probe]] = {}

    async def scene(self, shot: Shot) -> Scene:
        """Fetch a shot's film and speech."""
        film, film_is = await self._fetched(shot.film, ("video", "image"))
        if not film_is.width:
            raise NodeError("a film has no picture")
        if not shot.speech:
            return Scene(film=film, film_is=film_is)
        speech = await self.sound(shot.speech)
        speech_is = self._found[shot.speech][1]
        return Scene(film=film, film_is=film_is, speech=speech, speech_is=speech_is)

    async def sound(self, url: str) -> Path:
        """Fetch a sound, or a film for its sound."""
        path, is_ = await self._fetched(url, ("audio", "video"))
        if not is_.has_audio:
            raise NodeError("what is to be heard has no sound")
        return path

    async def _fetched(self, url: str, kinds: Sequence[str]) -> tuple[Path, Probe]:
        if url not in self._found:
            path = self._folder / f"in{len(self._found)}"
            bytes_max = min(self._bytes_max, self._left)
            with path.open("wb") as file:
                await take(self._services, url, file.write, kinds=kinds, bytes_max=bytes_max)
                self._left -= file.tell()
            self._found[url] = path, await probe(self._program, path)
        return self._found[url]


def _words(plan: Plan, folder: Path) -> Words:
    (folder / "words.txt").write_text(plan.text[:WORDS_MAX], "utf-8")
    found = _font()
    if found is None:
        raise NodeError(
            "there is no font to write subtitleText with; install one (apt install "
            "fonts-dejavu-core), or leave subtitleText empty"
        )
    # the language of filters gives spaces, colons and quotes in a path a meaning of their own
    shutil.copyfile(found, folder / "font.ttf")
    return Words(
        text="words.txt", font="font.ttf", place=plan.place, color=plan.color, size=plan.size
    )


def _font() -> Path | None:
    """Return a font of this machine: a common one with many letters, else any."""
    found = {
        path.name: path
        for folder in _FONTS
        for path in sorted(Path(folder).rglob("*.ttf"))
        if path.is_file()
    }
    good = [found[name] for name in _GOOD_FONTS if name in found]
    return next(iter(good or found.values()), None)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with contextlib.closing(await asyncio.to_thread(path.open, "rb")) as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
