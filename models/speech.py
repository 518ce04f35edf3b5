"""Synthesized speech: a glottal source and noise through the formants of random syllables (source-filter model).

Formants of vowels are those of Peterson and Barney (1952). Each speaker has a pitch and a length of the vocal tract,
each recording a background noise.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE = 16_000
VOWELS = (
    *((270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440)),
    *((570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690)),
)
"""Frequencies of the first three formants in Hz."""

BANDWIDTHS = 80.0, 100.0, 140.0
HISSES = 2500.0, 4200.0, 5500.0, 6800.0
"""Where the noise of fricatives is strongest, in Hz."""

Signal = NDArray[np.float64]


def utterance(rng: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    """Syllables and pauses of one speaker over background noise, between -1 and 1, at 16 kHz."""
    length = int(seconds * RATE)
    pitch, tract = rng.uniform(85, 240), rng.uniform(0.85, 1.2)
    pieces: list[Signal] = []
    while sum(map(len, pieces)) < length:
        pieces += [_consonant(rng), _vowel(rng, pitch, tract)]
        if rng.random() < 0.15:
            pieces.append(np.zeros(_samples(rng, 0.1, 0.4)))
    speech = np.concatenate(pieces)[:length]
    speech *= rng.uniform(0.1, 0.9) / np.abs(speech).max()
    level = np.sqrt(np.mean(speech**2)) * 10 ** (-rng.uniform(5, 45) / 20)
    noise = lfilter([1.0], [1.0, -rng.uniform(0.0, 0.95)], rng.standard_normal(length))
    mixed: Signal = speech + noise * level / np.std(noise)
    clipped: NDArray[np.float32] = np.clip(mixed, -1, 1).astype(np.float32)
    return clipped


def _vowel(rng: np.random.Generator, pitch: float, tract: float) -> Signal:
    """A vowel whose pitch falls or rises, gliding from one set of formants to the next."""
    count = _samples(rng, 0.08, 0.25)
    contour = pitch * np.linspace(rng.uniform(0.9, 1.15), rng.uniform(0.8, 1.1), count)
    phase = np.cumsum(contour) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0) - contour / RATE
    breath = 0.02 * rng.standard_normal(count)
    formants = np.array(VOWELS[int(rng.integers(len(VOWELS)))]) * tract
    return _envelope(_resonant(pulses + breath, formants, BANDWIDTHS))


def _consonant(rng: np.random.Generator) -> Signal:
    """A fricative, or the silence and burst of a stop."""
    hiss = rng.standard_normal(_samples(rng, 0.04, 0.12))
    shaped = _resonant(hiss, np.array([HISSES[int(rng.integers(len(HISSES)))]]), (900.0,))
    if rng.random() < 0.5:
        return 0.3 * _envelope(shaped)
    return np.concatenate([np.zeros(_samples(rng, 0.03, 0.08)), 0.5 * shaped[: RATE // 100]])


def _resonant(source: Signal, formants: NDArray[np.floating], bandwidths: tuple[float, ...]) -> Signal:
    """``source`` through a resonator for each formant (Klatt 1980), scaled to a peak of 1."""
    for frequency, bandwidth in zip(formants, bandwidths, strict=True):
        radius = np.exp(-np.pi * bandwidth / RATE)
        middle, last = 2 * radius * np.cos(2 * np.pi * frequency / RATE), -(radius**2)
        source = lfilter([1 - middle - last], [1.0, -middle, -last], source)
    return source / float(np.abs(source).max())


def _envelope(signal: Signal) -> Signal:
    fade = np.minimum(1.0, np.linspace(0, 6, len(signal)))
    return signal * fade * fade[::-1]


def _samples(rng: np.random.Generator, shortest: float, longest: float) -> int:
    return int(rng.uniform(shortest, longest) * RATE)
