"""Films that a real ffmpeg cuts: what is in them afterwards, and what it may not do."""

import asyncio
import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batuta.runtime.clock import pause
from batuta.store.blob.media import MediaFiles
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.film import cut, ffmpeg
from batuta.workers.media.provider import fake
from tests.media.conftest import AGGREGATED, Done, do

PROGRAM = ffmpeg.find("")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no ffmpeg on this machine")
RED, BLUE = "0xff0000", "0x0000ff"


def made(folder: Path, *, color: str = RED, seconds: float = 1, size: str = "64x36") -> bytes:
    """Make a film of one colour, with a tone."""
    assert PROGRAM is not None
    out = folder / "made.mp4"
    color_input = f"color=c={color}:s={size}:r=12:d={seconds}"
    tone = f"sine=frequency=440:duration={seconds}"
    inputs = ["-f", "lavfi", "-i", color_input, "-f", "lavfi", "-i", tone]
    kind = ["-pix_fmt", "yuv420p", "-preset", "ultrafast"]
    subprocess.run([PROGRAM, "-y", "-loglevel", "error", *inputs, *kind, str(out)], check=True)
    return out.read_bytes()


@pytest.fixture
def services(media: MediaFiles, offline: Services) -> Services:
    """Give services of a server that asks providers, of which none is needed here."""
    return Services(ai=Ai(), media=media, targets=offline.targets, retry_ms=1)


async def film(media: MediaFiles, folder: Path, **more: Any) -> str:
    return (await media.put(made(folder, **more), media_type="video/mp4")).url


async def sound(media: MediaFiles, seconds: float) -> str:
    return (await media.put(fake._wav(b"s" * 32, seconds), media_type="audio/wav")).url


async def seen(media: MediaFiles, done: Done) -> ffmpeg.Probe:
    """Say what the film of an output is."""
    assert done.status == "COMPLETED", done.reason
    path = media.path(done.output["videoUrl"].rpartition("/")[2])
    assert path is not None
    assert PROGRAM is not None
    return await ffmpeg.probe(PROGRAM, path)


def loudness_db(media: MediaFiles, done: Done) -> float:
    """Measure the mean volume of a film's sound."""
    path = media.path(done.output["videoUrl"].rpartition("/")[2])
    command = [str(PROGRAM), "-i", str(path), "-af", "volumedetect", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"mean_volume: (-?[\d.]+) dB", said)
    assert found, said
    return float(found[1])


def color_at(media: MediaFiles, done: Done, at: float) -> tuple[int, ...]:
    """Return the mean colour of a film's picture at a second."""
    path = media.path(done.output["videoUrl"].rpartition("/")[2])
    command = [str(PROGRAM), "-loglevel", "error", "-ss", str(at), "-i", str(path)]
    command += ["-frames:v", "1", "-vf", "scale=1:1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return tuple(subprocess.run(command, capture_output=True, check=True).stdout)


async def test_a_part_of_a_film_is_kept(
    services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    url = await film(media, tmp_path, seconds=3)

    done = await do(
        services, "edit_video", {"videoUrl": url, "startTime": "0:01", "endTime": "2 seconds"}
    )

    found = await seen(media, done)
    assert 0.9 <= found.seconds <= 1.15
    assert (found.width, found.height, found.has_audio) == (64, 36, True)
    path = media.path(done.output["videoUrl"].rpartition("/")[2])
    assert done.output["localPath"] == str(path)


async def test_speech_and_music_are_mixed_at_their_volumes(
    services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    config = {
        "videoUrl": await film(media, tmp_path),
        "speechUrl": await sound(media, 1.0),
        "musicUrl": await sound(media, 0.3),
    }

    loud = await do(services, "edit_video", {**config, "speechVolume": 1.0, "musicVolume": 0.3})
    low = await do(services, "edit_video", {**config, "speechVolume": 0.1, "musicVolume": 0.03})
    spoken = {key: value for key, value in config.items() if key != "musicUrl"}
    alone = await do(services, "edit_video", spoken)
    beside = await do(services, "edit_video", {**config, "musicVolume": 0})
    mute = await do(services, "edit_video", {**config, "speechVolume": 0, "musicVolume": 0})

    assert loudness_db(media, loud) - loudness_db(media, low) > 15
    assert abs(loudness_db(media, alone) - loudness_db(media, beside)) < 1, "it stays as loud"
    assert loudness_db(media, mute) < -80


async def test_a_scene_lasts_as_long_as_its_speech(
    services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    config = {
        "videoUrl": [
            await film(media, tmp_path, color=RED),
            await film(media, tmp_path, color=BLUE, size="36x64"),
        ],
        "speechUrl": [await sound(media, 2.0), await sound(media, 0.4)],
        "musicUrl": await sound(media, 0.5),
    }

    done = await do(services, "edit_video", config, AGGREGATED)

    found = await seen(media, done)
    assert done.output["itemsCount"] == 2
    assert 2.9 <= found.seconds <= 3.2
    assert (found.width, found.height) == (64, 36), "as the first one"
    red, blue = color_at(media, done, 1.7), color_at(media, done, 2.5)
    assert (red[0] > 200, red[2] < 50) == (True, True), "the picture stands while speech goes on"
    assert (blue[2] > 200, blue[0] < 50) == (True, True)


@pytest.mark.parametrize(
    ("config", "size"),
    [({"cropRatio": "1:1"}, (36, 36)), ({"cropRatio": "9:16"}, (20, 36)), ({}, (64, 36))],
)
async def test_a_film_is_cut_to_a_ratio(
    services: Services,
    media: MediaFiles,
    tmp_path: Path,
    config: dict[str, Any],
    size: tuple[int, int],
) -> None:
    done = await do(services, "edit_video", {"videoUrl": await film(media, tmp_path), **config})

    found = await seen(media, done)
    assert (found.width, found.height) == size


async def test_a_filter_changes_the_colours(
    services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    url = await film(media, tmp_path)

    done = await do(services, "edit_video", {"videoUrl": url, "filter": "Grayscale"})

    red, green, blue = color_at(media, done, 0.5)
    assert max(red, green, blue) - min(red, green, blue) < 12


@pytest.mark.skipif(cut._font() is None, reason="there is no font on this machine")
@pytest.mark.parametrize("place", ["top", "bottom", "center"])
async def test_words_are_written_whatever_they_are(
    services: Services, media: MediaFiles, tmp_path: Path, place: str
) -> None:
    url = await film(media, tmp_path, color="black", size="320x180")
    text = "It's 100% \\ 'fine': [a];%{localtime} \u2665\nNew line"
    config = {"videoUrl": url, "subtitleText": text, "subtitlePosition": place, "subtitleSize": 30}

    done = await do(services, "edit_video", {**config, "subtitleColor": "#ffffff"})

    assert sum(color_at(media, done, 0.5)) > 0, "something bright is on the black"


async def test_without_a_font_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    monkeypatch.setattr(cut, "_FONTS", (str(tmp_path / "none"),))

    done = await do(
        services, "edit_video", {"videoUrl": await film(media, tmp_path), "subtitleText": "Hi"}
    )

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "fonts-dejavu-core" in (done.reason or "")


@pytest.mark.parametrize("transition", ["Cut", "Cross-fade", "Zoom"])
async def test_clips_are_merged(
    services: Services, media: MediaFiles, tmp_path: Path, transition: str
) -> None:
    first = await film(media, tmp_path, seconds=1.5)
    second = await film(media, tmp_path, seconds=1.5, color=BLUE)

    done = await do(services, "clip_merger", {"clips": [first, second], "transition": transition})

    overlap = 0.5 if transition != "Cut" else 0.0
    found = await seen(media, done)
    assert abs(found.seconds - (3.0 - overlap)) < 0.2
    assert (done.output["clipsMerged"], done.output["note"]) == (2, "Merged 2 clips")
    assert color_at(media, done, 0.3)[0] > 200
    assert color_at(media, done, 2.2)[2] > 200


@pytest.mark.parametrize("shape", ["list", "objects", "json", "lines", "one"])
async def test_clips_may_be_written_in_several_ways(
    services: Services, media: MediaFiles, tmp_path: Path, shape: str
) -> None:
    url = await film(media, tmp_path, seconds=0.5)
    clips: Any = {
        "list": [url, url],
        "objects": [{"videoUrl": url}, {"url": url}],
        "json": f'["{url}", "{url}"]',
        "lines": f"{url}\n{url}\n",
        "one": url,
    }[shape]

    done = await do(services, "clip_merger", {"clips": clips})

    assert done.output["clipsMerged"] == (1 if shape == "one" else 2)
    assert abs((await seen(media, done)).seconds - (0.5 if shape == "one" else 1.0)) < 0.15


@pytest.mark.parametrize(
    ("node", "config", "why"),
    [
        ("edit_video", {}, "No input video provided"),
        ("edit_video", {"videoUrl": ""}, "No input video provided"),
        ("edit_video", {"items": "x"}, "No input videos provided"),
        ("edit_video", {"items": [{"speechUrl": "https://x"}]}, "No input videos provided"),
        ("clip_merger", {}, "No video clips to merge"),
        ("clip_merger", {"clips": []}, "No video clips to merge"),
        ("clip_merger", {"clips": ["", None, {}]}, "No video clips to merge"),
        ("clip_merger", {"clips": ["/files/x"] * 101}, "100 at most are merged"),
        ("edit_video", {"items": ["/files/x.mp4"] * 101}, "100 at most are put together"),
        ("edit_video", {"videoUrl": "/files/x", "startTime": "soon"}, "startTime is 'soon'"),
        ("edit_video", {"videoUrl": "/files/x", "musicVolume": 11}, "musicVolume is 11"),
        ("edit_video", {"videoUrl": "/files/x", "subtitleSize": 0}, "subtitleSize is 0"),
    ],
)
async def test_what_cannot_be_cut_is_said(
    services: Services, node: str, config: dict[str, Any], why: str
) -> None:
    done = await do(services, node, config)

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert why in (done.reason or "")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"startTime": "5"}, "startTime is 5 s and the film ends at"),
        ({"cropRatio": "2:1,drawtext=x"}, "cropRatio is"),
        ({"filter": "movie=/etc/passwd"}, "filter is"),
        ({"subtitleText": "x", "subtitleColor": "red:textfile=/etc/passwd"}, "subtitleColor is"),
        ({"subtitleText": "x", "subtitlePosition": "0:box=1"}, "subtitlePosition is"),
    ],
)
async def test_words_of_a_config_are_no_arguments_of_ffmpeg(
    services: Services, media: MediaFiles, tmp_path: Path, config: dict[str, Any], why: str
) -> None:
    done = await do(services, "edit_video", {"videoUrl": await film(media, tmp_path), **config})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert why in (done.reason or "")


async def test_all_that_a_film_is_made_of_has_a_limit_too(
    monkeypatch: pytest.MonkeyPatch, services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    monkeypatch.setattr(cut, "WORK_FILES", 0.004)
    urls = [await film(media, tmp_path, color=color) for color in (RED, BLUE, "white", "black")]

    done = await do(services, "clip_merger", {"clips": urls})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "a file is larger than" in (done.reason or "")


async def test_a_picture_that_would_fill_the_memory_is_not_unpacked(
    monkeypatch: pytest.MonkeyPatch, services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    monkeypatch.setattr(ffmpeg, "_READ", (*ffmpeg._READ[:-1], "2000"))

    done = await do(services, "clip_merger", {"clips": [await film(media, tmp_path)]})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"


async def test_the_folder_of_work_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    url = await film(media, tmp_path)

    assert (await do(services, "clip_merger", {"clips": [url]})).status == "COMPLETED"
    assert (await do(services, "clip_merger", {"clips": ["/files/x"]})).status != "COMPLETED"

    assert list(work.iterdir()) == []


async def test_without_ffmpeg_it_is_said_what_to_install(
    services: Services, media: MediaFiles, tmp_path: Path
) -> None:
    lacking = Services(
        ai=Ai(ffmpeg="/no/such/ffmpeg"), media=media, targets=services.targets, retry_ms=1
    )

    done = await do(lacking, "edit_video", {"videoUrl": await film(media, tmp_path)})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "/no/such/ffmpeg" in (done.reason or "")
    assert "apt install ffmpeg" in (done.reason or "")


def test_a_machine_without_ffmpeg_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.import_module", _no_module)

    with pytest.raises(Exception, match=r"there is no ffmpeg; install the package ffmpeg"):
        ffmpeg.required("")


def _no_module(name: str) -> Any:
    raise ImportError(name)


def script(folder: Path, body: str) -> str:
    """Write a program that stands for ffmpeg."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_an_ffmpeg_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; wait")

    with pytest.raises(ffmpeg.TroubleError, match=r"ended after 0\.5 s"):
        await ffmpeg.execute(program, [], folder=tmp_path, wait_s=0.5)

    child = int((tmp_path / "child").read_text())
    await until(lambda: not _is_alive(child))


async def test_an_ffmpeg_whose_task_is_cancelled_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path, f"echo $$ > {tmp_path}/own; sleep 600")
    running = asyncio.create_task(ffmpeg.execute(program, [], folder=tmp_path))
    own = tmp_path / "own"
    await until(lambda: own.exists() and own.read_text() != "")

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not _is_alive(int((tmp_path / "own").read_text()))


async def test_an_ffmpeg_gets_no_keys_and_its_words_no_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    program = script(tmp_path, 'echo "key:$OPENAI_API_KEY in file:/home/me/in0" >&2; exit 1')

    with pytest.raises(ffmpeg.NodeError) as caught:
        await ffmpeg.execute(program, [], folder=tmp_path)

    assert str(caught.value) == "ffmpeg failed: key: in in0"


async def test_an_ffmpeg_that_says_too_much_is_heard_to_the_end(tmp_path: Path) -> None:
    program = script(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo end >&2; exit 1")

    with pytest.raises(ffmpeg.NodeError, match="end"):
        await ffmpeg.execute(program, [], folder=tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    """Return once something outside of this process holds."""
    async with asyncio.timeout(10):
        while not condition():
            await pause(0.01)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        text = Path(f"/proc/{process}/stat").read_text("utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
