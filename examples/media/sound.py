"""Small sounds: tones, mixing, and WAV files."""

import array
import math
import wave
from collections.abc import Iterable
from pathlib import Path

RATE = 8_000  # samples a second; enough for a tone
LOUDEST = 12_000  # of 32,767, so that two sounds can be added


def tones(notes: Iterable[tuple[float, float]]) -> array.array:
    """Play tones one after another: (hertz, seconds) each; 0 hertz is a rest."""
    samples = array.array("h")
    for hertz, seconds in notes:
        count = int(seconds * RATE)
        for number in range(count):
            # fades in and out, so that it does not click
            gain = min(1.0, number / 200, (count - number) / 200)
            samples.append(int(LOUDEST * gain * math.sin(2 * math.pi * hertz * number / RATE)))
    return samples


def mix(first: array.array, second: array.array) -> array.array:
    """Play two sounds at once; the shorter one is repeated."""
    length = max(len(first), len(second))
    return array.array(
        "h",
        (
            max(-32_768, min(32_767, first[i % len(first)] + second[i % len(second)] // 2))
            for i in range(length)
        ),
    )


def write_wav(path: Path, samples: array.array) -> float:
    """Write a mono WAV file and give its seconds."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return len(samples) / RATE


def read_wav(path: Path) -> array.array:
    """Read a mono WAV file of 16 bits."""
    samples = array.array("h")
    with wave.open(str(path), "rb") as file:
        samples.frombytes(file.readframes(file.getnframes()))
    return samples
