"""What ffmpeg is to do, as its arguments: scenes one after the other, with speech, music and words.

A scene lasts as long as the longer of its film and its speech: the film's last picture stands, or
silence is added. So a voice never runs into the next scene, and is never cut off.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from batuta.workers.media.call import NodeError
from batuta.workers.media.film.ffmpeg import Probe, source

FPS = 24
SIDE_MAX = 3_840  # pixels of the longer side
SCENES_MAX = 100
FADE_S = 0.5  # of a transition
WORDS_MAX = 2_000  # characters of a subtitle
_RATES = "aresample=44100,aformat=sample_fmts=fltp:channel_layouts=stereo"
_RATIOS = {"1:1": (1, 1), "16:9": (16, 9), "9:16": (9, 16), "4:3": (4, 3)}
_FILTERS = {
    "none": "",
    "grayscale": "hue=s=0",
    "sepia": "colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131",
    "high contrast": "eq=contrast=1.5",
}
_TRANSITIONS = {
    "cut": "",
    "cross-fade": "fade",
    "crossfade": "fade",
    "slide": "slideleft",
    "zoom": "zoomin",
}
_PLACES = {
    "bottom": "h-text_h-h/20",
    "top": "h/20",
    "center": "(h-text_h)/2",
    "middle": "(h-text_h)/2",
}
_COLOR = re.compile(r"#?([0-9a-fA-F]{6})")
_COLOR_NAMES = frozenset({"white", "black", "yellow", "red", "green", "blue", "cyan", "magenta"})


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A film, and the speech over it, as local files and what they are."""

    film: Path
    film_is: Probe
    speech: Path | None = None
    speech_is: Probe | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        spoken = self.speech_is.seconds if self.speech_is else 0.0
        return max(self.film_is.seconds, spoken, 1 / FPS)


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """A subtitle, its text in a file; ``font`` is one too. Both are names in the folder of work."""

    text: str
    font: str
    place: str = "bottom"
    color: str = "#ffffff"
    size: int = 24


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A film to be made of scenes; times in seconds, of the whole film."""

    scenes: tuple[Scene, ...]
    music: Path | None = None
    speech_volume: float = 1.0
    music_volume: float = 0.3
    words: Words | None = None
    start: float = 0.0
    end: float | None = None
    ratio: str = ""
    look: str = ""
    transition: str = ""
    bytes_max: int = 200_000_000


def arguments(cut: Cut, out: Path) -> list[str]:
    """Return the arguments of ffmpeg for a cut.

    Raises:
        NodeError: A word of it is none that is known, or it ends before it begins.
    """
    inputs: list[str] = []
    chains: list[str] = []
    size = _size(cut.scenes[0].film_is, cut.ratio)
    count = 0
    for index, scene in enumerate(cut.scenes):
        film, count = count, count + 1
        inputs += source(scene.film)
        spoken = None
        if scene.speech is not None:
            spoken, count = count, count + 1
            inputs += source(scene.speech)
        chains += _scene(index, scene, film, spoken, size, cut.speech_volume)
    chains += _joined(cut.scenes, _one_of(_TRANSITIONS, cut.transition, "cut", "transition"))
    look = [_one_of(_FILTERS, cut.look, "none", "filter")]
    if cut.words is not None:
        look.append(_drawn(cut.words))
    chains.append(f"[film]{','.join(filter(None, look)) or 'null'}[picture]")
    sound = "voice"
    if cut.music is not None:
        inputs += source(cut.music, "-stream_loop", "-1")
        chains.append(f"[{count}:a:0]{_RATES},volume={cut.music_volume:.3f}[music]")
        # amix would do, but before ffmpeg 4.4 it makes each as quiet as there are inputs
        mixed = "amerge=inputs=2,pan=stereo|c0=c0+c2|c1=c1+c3"
        chains.append(f"[voice][music]{mixed}[sound]")
        sound = "sound"
    return [
        *inputs,
        "-filter_complex",
        ";".join(chains),
        *("-map", "[picture]", "-map", f"[{sound}]"),
        *_span(cut),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"),
        *("-c:a", "aac", "-b:a", "160k", "-movflags", "+faststart"),
        *("-map_metadata", "-1", "-fs", str(cut.bytes_max), "-f", "mp4"),
        f"file:{out}",
    ]


def _scene(
    index: int,
    scene: Scene,
    film: int,
    spoken: int | None,
    size: tuple[int, int],
    volume: float,
) -> list[str]:
    """Return the chains that make a scene's picture and sound all of one kind and length."""
    width, height = size
    held = max(scene.seconds - scene.film_is.seconds, 0.0)
    picture = (
        f"[{film}:v:0]fps={FPS},scale={width}:{height}:force_original_aspect_ratio=increase,"
        f"crop={width}:{height},setsar=1,format=yuv420p,"
        f"tpad=stop_mode=clone:stop_duration={held:.3f},"
        f"trim=duration={scene.seconds:.3f},setpts=PTS-STARTPTS,settb=1/{FPS}[v{index}]"
    )
    end = f"apad,atrim=duration={scene.seconds:.3f},asetpts=PTS-STARTPTS[a{index}]"
    if spoken is not None:
        return [picture, f"[{spoken}:a:0]{_RATES},volume={volume:.3f},{end}"]
    if scene.film_is.has_audio:
        return [picture, f"[{film}:a:0]{_RATES},{end}"]
    silence = f"anullsrc=r=44100:cl=stereo,atrim=duration={scene.seconds:.3f}"
    return [picture, f"{silence},{_RATES}[a{index}]"]


def _joined(scenes: Sequence[Scene], transition: str) -> list[str]:
    """Return the chains that put scenes one after the other, as [film] and [voice]."""
    if not transition or len(scenes) == 1 or any(one.seconds <= 2 * FADE_S for one in scenes):
        pairs = "".join(f"[v{index}][a{index}]" for index in range(len(scenes)))
        return [f"{pairs}concat=n={len(scenes)}:v=1:a=1[film][voice]"]
    chains: list[str] = []
    picture, voice, at = "v0", "a0", scenes[0].seconds
    last = len(scenes) - 1
    for index in range(1, len(scenes)):
        film, sound = ("film", "voice") if index == last else (f"x{index}", f"y{index}")
        at -= FADE_S
        chains.append(
            f"[{picture}][v{index}]xfade=transition={transition}:duration={FADE_S}:"
            f"offset={at:.3f}[{film}]"
        )
        chains.append(f"[{voice}][a{index}]acrossfade=d={FADE_S}[{sound}]")
        picture, voice, at = film, sound, at + scenes[index].seconds
    return chains


def _size(first: Probe, ratio: str) -> tuple[int, int]:
    """Return width and height of the whole film: even, as the first scene's or cut to a ratio."""
    width, height = first.width, first.height
    if not width or not height:
        raise NodeError("the first film has no picture")
    if ratio and ratio.lower() not in ("none", "original"):
        if ratio not in _RATIOS:
            raise NodeError(f"cropRatio is {ratio[:40]!r}; allowed is {', '.join(_RATIOS)}")
        across, down = _RATIOS[ratio]
        side = min(width / across, height / down)
        width, height = int(side * across), int(side * down)
    shrunk = min(1.0, SIDE_MAX / max(width, height))
    return (max(2, int(width * shrunk) // 2 * 2), max(2, int(height * shrunk) // 2 * 2))


def _drawn(words: Words) -> str:
    place = _one_of(_PLACES, words.place, "bottom", "subtitlePosition")
    color = _COLOR.fullmatch(words.color)
    if color is None and words.color.lower() not in _COLOR_NAMES:
        raise NodeError(f"subtitleColor is {words.color[:40]!r}; write it as #ffffff")
    shade = f"0x{color[1]}" if color else words.color.lower()
    # names of ours: without a character that the language of filters gives a meaning
    return (
        f"drawtext=fontfile={words.font}:textfile={words.text}:expansion=none:"
        f"fontcolor={shade}:fontsize={words.size}:x=(w-text_w)/2:y={place}:"
        "box=1:boxcolor=black@0.5:boxborderw=6"
    )


def _span(cut: Cut) -> list[str]:
    """Return which part of the whole film is kept."""
    whole = sum(scene.seconds for scene in cut.scenes)
    end = min(cut.end, whole) if cut.end is not None else whole
    if cut.start >= end:
        raise NodeError(f"startTime is {cut.start:g} s and the film ends at {end:g} s")
    return ["-ss", f"{cut.start:.3f}", "-t", f"{end - cut.start:.3f}"]


def _one_of(known: dict[str, str], given: str, default: str, key: str) -> str:
    word = given.strip().lower() or default
    if word not in known:
        raise NodeError(f"{key} is {given[:40]!r}; allowed is {', '.join(known)}")
    return known[word]
