"""Sounds to analyse: clicks of a tone, so many a minute."""

import io
import math
import wave
from array import array

RATE = 8_000
CLICK_S = 0.05


def clicks(bpm: float, *, seconds: float = 6.0, tone_hz: float = 1_000.0) -> bytes:
    """Make a WAV file: a short tone at each beat."""
    samples = array("h", bytes(2 * int(seconds * RATE)))
    beat = 0
    while (start := round(beat * 60.0 / bpm * RATE)) < len(samples):
        for k in range(min(int(CLICK_S * RATE), len(samples) - start)):
            fall = 1 - k / (CLICK_S * RATE)
            samples[start + k] = int(20_000 * fall * math.sin(2 * math.pi * tone_hz * k / RATE))
        beat += 1
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(samples.tobytes())
    return file.getvalue()
