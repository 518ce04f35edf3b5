"""Synthesized speech: the same for the same seed, and of the shape that speech has."""

import numpy as np

from models.speech import RATE, utterance


def test_an_utterance_depends_on_its_seed_alone() -> None:
    first, again, other = (utterance(np.random.default_rng(seed), 1.0) for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_it_is_loud_and_silent_in_turns_and_strongest_below_the_third_formant() -> None:
    speech = np.concatenate([utterance(np.random.default_rng(seed), 2.0) for seed in range(8)])
    assert np.abs(speech).max() <= 1
    frames = np.square(speech.reshape(-1, RATE // 50)).mean(axis=1)
    assert np.percentile(frames, 90) > 10 * np.percentile(frames, 10)
    power = np.square(np.abs(np.fft.rfft(speech)))
    assert power[: len(power) * 3 // 8].sum() > 0.8 * power.sum()
