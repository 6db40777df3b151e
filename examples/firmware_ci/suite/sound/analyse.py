"""Tempo, spectrum and envelope of a sound."""

import cmath
import itertools
import math
from typing import NamedTuple

from examples.firmware_ci.suite.sound.read import Sound

HOP_S = 0.01  # between two looks at the energy: 60 to 200 beats a minute are 30 to 100 of them
BPM_MIN, BPM_MAX = 60.0, 200.0
HALF_SCORE = 0.7  # of the best one's, from which half its lag is the beat
FRAMES_MAX = 200  # of a spectrum, evenly over the sound: half a second of Python each 100
POINTS = 100  # of an envelope
FFT_MAX = 8_192


class Tempo(NamedTuple):
    """Beats a minute, and from 0 to 1 how much the sound repeats itself at them."""

    bpm: float
    confidence: float


class Spectrum(NamedTuple):
    """The mean magnitude of each bin of frequencies, and the strongest frequency."""

    bins: list[float]
    dominant_frequency_hz: float


class Envelope(NamedTuple):
    """How loud it is over time, at most, and on average."""

    envelope: list[float]
    peak_amplitude: float
    rms_amplitude: float


def tempo(sound: Sound) -> Tempo:
    """Find the beat: the lag at which the rises of the energy repeat themselves best."""
    hop = max(round(sound.rate * HOP_S), 1)
    energies = [
        math.sqrt(sum(one * one for one in sound.samples[at : at + hop]) / hop)
        for at in range(0, len(sound.samples) - hop, hop)
    ]
    rises = [max(after - before, 0.0) for before, after in itertools.pairwise(energies)]
    # a beat between two looks falls into both, so that each is spread to its neighbours
    rises = [(a + 2 * b + c) / 4 for a, b, c in zip(rises, rises[1:], rises[2:], strict=False)]
    mean = sum(rises) / len(rises) if rises else 0.0
    rises = [one - mean for one in rises]
    whole = sum(one * one for one in rises)
    per_minute = 60.0 * sound.rate / hop
    lags = range(math.floor(per_minute / BPM_MAX), math.ceil(per_minute / BPM_MIN) + 1)
    scores = {lag: _repeats(rises, lag) for lag in lags if 0 < lag < len(rises)}
    if not scores or whole <= 0:
        return Tempo(0.0, 0.0)
    best = max(scores, key=lambda lag: scores[lag])
    # what repeats itself at each beat does so at every second one too: the faster counts
    twice = max((best // 2, (best + 1) // 2, best // 2 - 1), key=lambda lag: scores.get(lag, 0.0))
    if scores.get(twice, 0.0) > HALF_SCORE * scores[best]:
        best = twice
    lag = best + _summit(scores.get(best - 1, 0.0), scores[best], scores.get(best + 1, 0.0))
    return Tempo(round(per_minute / lag, 1), round(min(max(scores[best] / whole, 0.0), 1.0), 3))


def spectrum(sound: Sound, fft_size: int) -> Spectrum:
    """Average the magnitudes of frames of ``fft_size`` samples.

    Raises:
        ValueError: The size is no power of two from 16 to FFT_MAX.
    """
    if not 16 <= fft_size <= FFT_MAX or fft_size & (fft_size - 1):
        raise ValueError(f"fft_size {fft_size} is no power of two from 16 to {FFT_MAX}")
    window = [0.5 - 0.5 * math.cos(2 * math.pi * k / fft_size) for k in range(fft_size)]
    starts = range(0, max(len(sound.samples) - fft_size, 0) + 1, fft_size)
    starts = starts[:: max(len(starts) // FRAMES_MAX, 1)]
    sums = [0.0] * (fft_size // 2)
    for start in starts:
        frame = sound.samples[start : start + fft_size]
        frame += [0.0] * (fft_size - len(frame))
        found = fft([one * weight for one, weight in zip(frame, window, strict=True)])
        sums = [total + abs(one) for total, one in zip(sums, found, strict=False)]
    bins = [2 * total / len(starts) / sum(window) for total in sums]
    best = max(range(1, len(bins)), key=lambda k: bins[k])  # bin 0 is no frequency
    after = bins[best + 1] if best + 1 < len(bins) else 0.0
    place = best + _summit(bins[best - 1], bins[best], after)
    return Spectrum([round(one, 6) for one in bins], round(place * sound.rate / fft_size, 1))


def envelope(sound: Sound) -> Envelope:
    """Give the root mean square of POINTS slices."""
    samples = sound.samples
    size = max(len(samples) // POINTS, 1)
    slices = [samples[at : at + size] for at in range(0, len(samples), size)][:POINTS]
    return Envelope(
        [round(_rms(one), 5) for one in slices],
        round(max(abs(one) for one in samples), 5),
        round(_rms(samples), 5),
    )


def fft(values: list[float]) -> list[complex]:
    """Return the discrete Fourier transform of 2^n numbers (Cooley and Tukey, by halves)."""
    count = len(values)
    if count == 1:
        return [complex(values[0])]
    even, odd = fft(values[::2]), fft(values[1::2])
    turned = [cmath.exp(-2j * math.pi * k / count) * odd[k] for k in range(count // 2)]
    return [a + b for a, b in zip(even, turned, strict=True)] + [
        a - b for a, b in zip(even, turned, strict=True)
    ]


def _repeats(rises: list[float], lag: int) -> float:
    return sum(a * b for a, b in zip(rises, rises[lag:], strict=False))


def _summit(before: float, at: float, after: float) -> float:
    """Give how far from the middle one of three points the parabola through them is highest."""
    bend = before - 2 * at + after
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))


def _rms(samples: list[float]) -> float:
    return math.sqrt(sum(one * one for one in samples) / len(samples)) if samples else 0.0
