"""Voice-activity networks, in which all layers are in branches or none is: quantized, and no drift over 100 chunks.

The layer that reads the spectrum's magnitudes stays in float: eight bits do not hold both loud and quiet sounds.
"""

from fnmatch import fnmatch

import numpy as np
import pytest
from numpy.typing import NDArray

import requant
from models.voice_activity import LISTENERS, Listener, listen, speech, spoken
from requant.runtime.outputs import numbers
from requant.runtime.session import runner

pytestmark = pytest.mark.download

ENOUGH, DRIFT = 25.0, 3.0


def decibels(errors: NDArray[np.float64]) -> float:
    """Return the SQNR of the squared errors and sizes in ``errors`` [..., 2]."""
    noise, signal = errors.reshape(-1, 2).sum(axis=0)
    return float(10 * np.log10(signal / noise))


def squares(expected: object, actual: object) -> tuple[float, float]:
    y, z = numbers(expected), numbers(actual)
    return float(np.square(y - z).sum()), float(np.square(y).sum())


@pytest.mark.parametrize("name", LISTENERS)
def test_layers_in_branches_are_quantized_as_others_are(name: str) -> None:
    listener = LISTENERS[name]
    model, feeds = listener.model(), spoken(listener, range(10), 2.0)
    result = requant.optimize(model, feeds[:: 1 if len(feeds) < 100 else 3], target="tensorrt", keep=listener.loudness)
    assert requant.check(result.model, "tensorrt") == []
    layers = [layer for layer in result.report.layers if layer.op_type != "LSTM"]
    reasons = [layer.reason for layer in layers if not layer.quantized]
    assert len(layers) == listener.layers
    assert sum("too few" in reason for reason in reasons) + len(listener.rates) == len(reasons) <= listener.layers / 2
    assert _worst_step(listener, result) >= ENOUGH


@pytest.mark.parametrize("name", ["two branches", "two branches, the cell unrolled", "opset 15"])
def test_an_error_does_not_grow_while_the_state_is_carried(name: str) -> None:
    listener = LISTENERS[name]
    result = requant.optimize(
        listener.model(), spoken(listener, range(10), 2.0)[::3], target="tensorrt", keep=listener.loudness
    )
    for rate in listener.rates:
        errors = np.sum([_carried(listener, result, seed, rate) for seed in range(100, 112)], axis=0)
        early, late = (decibels(errors[step - 5 : step + 6, 1]) for step in (5, 100))
        assert late >= early - DRIFT
        assert decibels(errors) >= ENOUGH - 2


def _carried(listener: Listener, result: requant.Result, seed: int, rate: int) -> NDArray[np.float64]:
    """Return the squared errors and sizes at each of 106 steps, of each output."""
    model, audio = listener.model(), speech(seed, 3.5, rate)
    sides = [listen(runner(one), model, audio, rate) for one in (model, result.model)]
    steps = [
        [squares(y, z) for y, z in zip(expected, actual, strict=True)]
        for (_, expected), (_, actual) in zip(*sides, strict=True)
    ]
    return np.array(steps)[:106]


@pytest.mark.parametrize("name", LISTENERS)
def test_the_layer_behind_the_spectrum_stays_in_float_by_itself(name: str) -> None:
    """Nothing is asked to be kept; where the outputs are good without it, all layers are in int8."""
    listener = LISTENERS[name]
    model, feeds = listener.model(), spoken(listener, range(10), 2.0)
    report = (result := requant.optimize(model, feeds[:: 1 if len(feeds) < 100 else 3], target="tensorrt")).report
    noisy = [layer.name for layer in report.layers if "of the noise at the model's outputs" in layer.reason]
    loud = {name for name in noisy for pattern in listener.loudness if fnmatch(name, pattern)}
    assert len(loud) == len(listener.rates) or not noisy
    assert _worst_step(listener, result) >= ENOUGH


def _worst_step(listener: Listener, result: requant.Result) -> float:
    """Return the SQNR of all outputs, one step ahead, over the recording that is worst."""
    model = listener.model()
    float_run, run = runner(model), runner(result.model)
    recordings = [(rate, speech(seed, 3.5, rate)) for rate in listener.rates for seed in (100, 101)]
    return min(
        decibels(
            np.array(
                [
                    [squares(y, z) for y, z in zip(outputs, run(feed), strict=True)]
                    for feed, outputs in listen(float_run, model, audio, rate)
                ]
            )
        )
        for rate, audio in recordings
    )
