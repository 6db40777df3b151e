"""A WAV file as numbers."""

import sys
import wave
from array import array
from pathlib import Path
from typing import NamedTuple

SECONDS_MAX = 600.0  # of one file; a longer one is refused, not cut
_TYPES = {1: "B", 2: "h", 4: "i"}


class Sound(NamedTuple):
    """Samples between -1 and 1, of all channels taken together."""

    samples: list[float]
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


def read(path: Path) -> Sound:
    """Read a WAV file of 8, 16 or 32 bits.

    Raises:
        ValueError: It is none, it is empty, or it is too long.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames = file.getparams()[:4]
            if not frames or frames / rate > SECONDS_MAX:
                raise ValueError(f"it has {frames} frames; up to {SECONDS_MAX:g} s are read")
            content = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path.name} is no WAV file: {error}") from error
    if width not in _TYPES:
        raise ValueError(f"{path.name} has {8 * width} bits a sample; 8, 16 and 32 are read")
    numbers = array(_TYPES[width], content[: len(content) // (width * channels) * width * channels])
    if sys.byteorder == "big":
        numbers.byteswap()
    middle, scale = (128, 128.0) if width == 1 else (0, float(1 << (8 * width - 1)))
    if channels == 1:
        samples = [(one - middle) / scale for one in numbers]
    else:
        lanes = [numbers[lane::channels] for lane in range(channels)]
        scale *= channels
        samples = [
            (sum(several) - middle * channels) / scale for several in zip(*lanes, strict=True)
        ]
    return Sound(samples, rate, channels)
