"""From a sound to the parameters of a light pattern."""

import csv
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import batuta
from examples.firmware_ci.suite import place, web
from examples.firmware_ci.suite.sound import analyse
from examples.firmware_ci.suite.sound.read import Sound, read

BYTES_MAX = 50_000_000  # of a sound file
DOWNLOAD_S = 30.0
FORMATS = ("json", "csv")
_REST_BPM = 120.0  # at which a pattern runs at its own speed


@batuta.task("download_audio_file")
def download_audio_file(url: str) -> dict[str, Any]:
    """Fetch a sound over HTTP, or take one that lies in the store already."""
    folder = place.folder("audio")
    name = hashlib.sha256(url.encode()).hexdigest()[:24]
    path = folder / f"{name}.wav"
    if urlsplit(url).scheme == "file":
        given = Path(unquote(urlsplit(url).path))
        if given.parent.resolve() != folder.resolve() or given.is_symlink():
            raise batuta.FatalError(f"{url!r} is not in {folder}")
        shutil.copyfile(given, path)
    else:
        try:
            status, content = web.ask(url, answer_s=DOWNLOAD_S, bytes_max=BYTES_MAX)
        except ValueError as error:
            raise batuta.FatalError(str(error)) from error
        if status >= 300:
            raise web.UnreachableError(f"{url} answers {status}")
        path.write_bytes(content)
    return {"local_path": str(path), "file_size_bytes": path.stat().st_size}


@batuta.task("validate_audio_format")
def validate_audio_format(
    file_path: str, expected_sample_rate: int | None = None
) -> dict[str, Any]:
    """Refuse what is no sound of the rate that is expected."""
    sound = _read(file_path)
    if expected_sample_rate and sound.rate != int(expected_sample_rate):
        raise batuta.FatalError(
            f"the sound has {sound.rate} samples a second, not {expected_sample_rate}"
        )
    return {
        "valid": True,
        "sample_rate": sound.rate,
        "channels": sound.channels,
        "duration_seconds": round(sound.seconds, 3),
    }


@batuta.task("extract_tempo", concurrency=2)
def extract_tempo(audio_file: str) -> dict[str, Any]:
    """Find the beat."""
    return analyse.tempo(_read(audio_file))._asdict()


@batuta.task("extract_frequency_spectrum", concurrency=2)
def extract_frequency_spectrum(audio_file: str, fft_size: int = 512) -> dict[str, Any]:
    """Find which frequencies there are."""
    try:
        return analyse.spectrum(_read(audio_file), int(fft_size))._asdict()
    except ValueError as error:
        raise batuta.FatalError(str(error)) from error


@batuta.task("extract_envelope", concurrency=2)
def extract_envelope(audio_file: str) -> dict[str, Any]:
    """Find how loud it is over time."""
    return analyse.envelope(_read(audio_file))._asdict()


@batuta.task("generate_pattern_parameters")
def generate_pattern_parameters(
    tempo: float, frequency_bins: list[float], envelope: list[float]
) -> dict[str, Any]:
    """Make parameters of all three: speed of the tempo, colours of low, middle and high tones.

    Light reacts to what is louder than usual: the mean of the envelope and half its spread.
    """
    thirds = max(len(frequency_bins) // 3, 1)
    shares = [sum(frequency_bins[at * thirds : (at + 1) * thirds]) for at in range(3)]
    loudest = max(*shares, 1e-9)
    mean = sum(envelope) / max(len(envelope), 1)
    spread = math.sqrt(sum((one - mean) ** 2 for one in envelope) / max(len(envelope), 1))
    return {
        "speed_multiplier": round(tempo / _REST_BPM, 3),
        "color_palette": [_colour(at, share / loudest) for at, share in enumerate(shares)],
        "reactivity_threshold": round(mean + spread / 2, 5),
    }


@batuta.task("export_features")
def export_features(
    features: dict[str, Any],
    task: batuta.TaskContext,
    format: str = "json",  # noqa: A002
) -> dict[str, Any]:
    """Write the parameters to a file, as JSON or CSV."""
    if format not in FORMATS:
        raise batuta.FatalError(f"format {format!r} is none of {', '.join(FORMATS)}")
    path = place.folder("patterns") / f"features-{task.workflow_id}.{format}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if format == "json":
            json.dump(features, file, indent=2)
        else:
            csv.writer(file).writerows(sorted(features.items()))
    return {"url": path.as_uri(), "local_path": str(path)}


def _read(name: str) -> Sound:
    path = Path(name)
    if path.parent.resolve() != place.folder("audio").resolve() or path.is_symlink():
        raise batuta.FatalError(f"{name!r} is not in the folder of sounds")
    try:
        return read(path)
    except (ValueError, OSError) as error:
        raise batuta.FatalError(str(error)) from error


def _colour(place_of: int, strength: float) -> str:
    """Give red for low tones, green for middle, blue for high ones; the stronger the brighter."""
    parts = ["00"] * 3
    parts[place_of] = f"{round(255 * min(strength, 1.0)):02x}"
    return "#" + "".join(parts)
