"""The workers of the media pipeline.

    batuta worker examples.media.workers

No model is asked and nothing is fetched: the script is put together from the topic, and the files
are real but small, so that the pipeline runs anywhere in a second.
"""

import asyncio
import hashlib
import html
import os
import re
from pathlib import Path
from typing import Any

import batuta
from examples.media.picture import png
from examples.media.sound import mix, read_wav, tones, write_wav

WIDTH, HEIGHT = 160, 90
SCALES = {"calm": (220.0, 261.6, 329.6, 392.0), "bright": (293.7, 370.0, 440.0, 587.3)}


@batuta.task("write_script")
async def write_script(topic: str, task: batuta.TaskContext) -> dict[str, Any]:
    """Put a script together; the same topic always gives the same one."""
    await asyncio.sleep(_pace_s())
    digest = hashlib.sha256(topic.encode()).digest()
    folder = _home() / f"{re.sub(r'[^a-z0-9]+', '-', topic.lower())[:40]}-{task.workflow_id[-12:]}"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "title": f"A minute about {topic}",
        "mood": ("calm", "bright")[digest[0] % 2],
        "palette": [list(digest[at : at + 3]) for at in (1, 4, 7)],
        "sentences": [
            f"Everybody has heard of {topic}.",
            f"Few have looked at {topic} closely.",
            "Let us.",
        ],
        "folder": str(folder),
    }


@batuta.task("draw_image")
def draw_image(folder: str, palette: list[list[int]]) -> dict[str, Any]:
    """Draw the title picture."""
    colours = [(red, green, blue) for red, green, blue in palette]
    file = Path(folder) / "title.png"
    file.write_bytes(png(WIDTH, HEIGHT, colours))
    return {"file": str(file), "width": WIDTH, "height": HEIGHT}


@batuta.task("speak_narration")
def speak_narration(folder: str, sentences: list[str]) -> dict[str, Any]:
    """Speak in tones: a word is as high as its first letter and as long as itself."""
    notes = [
        (150.0 + 10 * (ord(word[0].lower()) % 26), 0.02 * len(word) + 0.04)
        for sentence in sentences
        for word in sentence.split()
    ]
    file = Path(folder) / "narration.wav"
    return {"file": str(file), "seconds": write_wav(file, tones(notes))}


@batuta.task("compose_music")
def compose_music(folder: str, mood: str) -> dict[str, Any]:
    """Go up the scale of the mood and down again."""
    scale = SCALES[mood]
    file = Path(folder) / "music.wav"
    seconds = write_wav(file, tones([(hertz, 0.15) for hertz in (*scale, *reversed(scale))]))
    return {"file": str(file), "seconds": seconds}


@batuta.task("assemble")
def assemble(folder: str, title: str, image: str, narration: str, music: str) -> dict[str, Any]:
    """Mix the sounds and put all parts on a page."""
    soundtrack = Path(folder) / "soundtrack.wav"
    seconds = write_wav(soundtrack, mix(read_wav(Path(narration)), read_wav(Path(music))))
    page = Path(folder) / "index.html"
    name = html.escape(title)
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>{name}</title><h1>{name}</h1>"
        f'<img src="{Path(image).name}" alt=""><br>'
        f'<audio controls src="{soundtrack.name}"></audio>\n',
        "utf-8",
    )
    return {"soundtrack": str(soundtrack), "page": str(page), "seconds": seconds}


def _home() -> Path:
    return Path(os.environ.get("MEDIA_HOME", ".batuta/media")).absolute()


def _pace_s() -> float:
    return float(os.environ.get("MEDIA_PACE", "0.3"))
