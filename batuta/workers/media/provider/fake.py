"""Results without a provider: made up from what was asked, the same each time, and real media.

Nothing here opens a connection. Films are made by ffmpeg where there is one; else each is the
second of film beside this module, with what was asked hidden in it, so that no two are the same.
"""

import array
import asyncio
import hashlib
import math
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import msgspec

from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError
from batuta.workers.media.film import ffmpeg
from batuta.workers.media.source import keep, own_file, url_of

SIZES = {"16:9": (320, 180), "9:16": (180, 320), "4:3": (320, 240)}
SQUARE = (256, 256)
FILM_S_MAX = 3.0  # small, whatever was asked
SOUND_S_MAX = 4.0
SPOKEN_S = 0.04  # of a letter
RATE = 8_000  # samples a second
_LOUDNESS = 9_000  # of 32,767
_SAMPLE = (Path(__file__).parent / "sample.mp4").read_bytes()
_WHO = ("a lamplighter", "a young sailor", "an old robot", "the last gardener", "a stray dog")
_DOES = ("finds", "builds", "loses", "remembers", "repairs", "follows")
_WHAT = ("a silver door", "the map of the tides", "a song", "an empty town", "a paper boat")
_WHERE = ("at dawn", "under the bridge", "in the first snow", "beside the sea", "by night")
_LINES = 6


def made_text(prompt: str, system: str, model: str) -> str:
    """Return a few sentences; the same for the same words."""
    seed = _seed("text", prompt, system, model)
    lines = []
    for index in range(_LINES):
        words = [
            pool[seed[(4 * index + part) % len(seed)] % len(pool)]
            for part, pool in enumerate((_WHO, _DOES, _WHAT, _WHERE))
        ]
        line = " ".join(words)
        lines.append(f"{line[0].upper()}{line[1:]}.")
    return " ".join(lines)


async def made_image(
    services: Services, *asked: Any, ratio: str = "", workflow_id: str = ""
) -> str:
    """Return the URL of a picture with colours of what was asked."""
    width, height = SIZES.get(ratio, SQUARE)
    raw = await asyncio.to_thread(_png, _seed("image", *asked), width, height)
    return url_of(services, await keep(services, raw, "image/png", workflow_id=workflow_id))


async def made_sound(services: Services, *asked: Any, seconds: float, workflow_id: str = "") -> str:
    """Return the URL of a tone, as high as what was asked says; SOUND_S_MAX long at most."""
    raw = await asyncio.to_thread(_wav, _seed("sound", *asked), min(seconds, SOUND_S_MAX))
    return url_of(services, await keep(services, raw, "audio/wav", workflow_id=workflow_id))


def spoken_s(text: str) -> float:
    """Return how long a text is spoken, in seconds."""
    return max(0.5, SPOKEN_S * len(text))


async def made_film(
    services: Services, *asked: Any, seconds: float, image_url: str = "", workflow_id: str = ""
) -> str:
    """Return the URL of a film: of a picture of ours, else of a colour that changes."""
    seed = _seed("film", *asked, image_url, seconds)
    program = ffmpeg.find(services.ai.ffmpeg)
    raw = None
    if program is not None:
        path = own_file(services, image_url) if image_url else None
        raw = await _filmed(program, seed, min(seconds, FILM_S_MAX), path)
    file = await keep(services, raw or _sample(seed), "video/mp4", workflow_id=workflow_id)
    return url_of(services, file)


async def made_service(
    services: Services, node: str, config: Any, *, workflow_id: str = ""
) -> dict[str, Any]:
    """Return what a service would: a picture or a film, by the node's type."""
    if node in ("lip_sync", "ai_avatar", "video_sound_effects"):
        url = await made_film(services, node, config, seconds=2.0, workflow_id=workflow_id)
        return {"videoUrl": url}
    return {"imageUrl": await made_image(services, node, config, workflow_id=workflow_id)}


def _seed(*asked: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).digest()


def _png(seed: bytes, width: int, height: int) -> bytes:
    """Return a picture that goes from one colour to another, with a disc of a third."""
    above, below, disc = seed[0:3], seed[3:6], seed[6:9]
    radius = min(width, height) // 4
    across = radius + seed[9] * (width - 2 * radius) // 256
    down = radius + seed[10] * (height - 2 * radius) // 256
    rows = []
    for y in range(height):
        pixel = bytes(
            (a * (height - y) + b * y) // height for a, b in zip(above, below, strict=True)
        )
        row = bytearray(pixel * width)
        reach = math.isqrt(max(radius * radius - (y - down) ** 2, 0))
        row[3 * (across - reach) : 3 * (across + reach)] = disc * (2 * reach)
        rows.append(b"\0" + bytes(row))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


def _wav(seed: bytes, seconds: float) -> bytes:
    """Return a tone of two notes that fades in and out."""
    count = max(int(seconds * RATE), RATE // 10)
    notes = [220.0 * 2 ** (seed[index] % 24 / 12) for index in range(2)]
    samples = array.array("h", bytes(2 * count))
    for index in range(count):
        at = index / RATE
        swell = min(1.0, 10 * at, 10 * (count - index) / RATE)
        tone = sum(math.sin(2 * math.pi * note * at) for note in notes) / 2
        samples[index] = int(_LOUDNESS * swell * tone)
    body = struct.pack(f"<{count}h", *samples)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8 + len(body), b"WAVE")
    return head + form + struct.pack("<4sI", b"data", len(body)) + body


async def _filmed(program: str, seed: bytes, seconds: float, image: Path | None) -> bytes | None:
    """Return a film made by ffmpeg; None where it cannot make one."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="batuta-fake-"))
    color = f"color=c=0x{seed[:3].hex()}:s=320x180:r=12,hue=h=t*{40 + seed[3] % 40}"
    shown, look = ["-f", "lavfi", "-i", color], "scale=trunc(iw/2)*2:trunc(ih/2)*2,setsar=1"
    if image is not None:
        shown = ffmpeg.source(image)
        look = f"loop=loop=-1:size=1,setpts=N/12/TB,fps=12,{look}"
    out = folder / "out.mp4"
    try:
        await ffmpeg.execute(
            program,
            [
                *shown,
                *("-t", f"{seconds:.3f}", "-vf", look),
                *("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"),
                *("-pix_fmt", "yuv420p", "-map_metadata", "-1", "-fflags", "+bitexact"),
                *("-flags:v", "+bitexact", "-movflags", "+faststart", "-f", "mp4", f"file:{out}"),
            ],
            folder=folder,
        )
        return await asyncio.to_thread(out.read_bytes)
    except NodeError:  # one without this encoder, say
        return None
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _sample(seed: bytes) -> bytes:
    """Return the film beside this module, with a box behind it that players pass over."""
    return _SAMPLE + struct.pack(">I4s", 8 + len(seed), b"free") + seed
