"""Activations: the sizes and the statistics of the values between kernels."""

from unittest.mock import patch

import numpy as np
import onnx_ir as ir
import pytest

from requant.calib import activations
from requant.calib.activations import ACTIVATION, Activation, activation, measure_activations
from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.runtime.session import runner
from tests.passes.convnets import feeds, random, source

BODY = (
    "c = Conv(x, u, b) r = Relu(c) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r) g = Sigmoid(p) "
    "s = Mul(p, g) t = Concat<axis = 1>(s, p) d = Conv(t, z) f = Flatten(d) m = MatMul(f, v) y = Unsqueeze(m, ends)"
)
WEIGHTS = {"z": random((32, 64, 1, 1)), "v": random((32 * 36, 16)), "ends": np.array([2, 3])}


def model_of(body: str) -> ir.Model:
    model = load(source(body, WEIGHTS))
    canonicalize(model)
    collect(model, feeds())
    return model


def values(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name or "": value for node in model.graph for value in (*node.inputs, *node.outputs) if value}


def entries(model: ir.Model) -> dict[str, Activation]:
    return {name: entry for name, value in values(model).items() if (entry := activation(value)) is not None}


def test_sizes_are_those_of_the_first_feed() -> None:
    model = model_of(BODY)
    measure_activations(model, feeds())
    shapes = {name: entry.shape for name, entry in entries(model).items()}
    assert shapes == {
        "x": (1, 3, 14, 14), "r": (1, 32, 12, 12), "p": (1, 32, 6, 6), "s": (1, 32, 6, 6), "t": (1, 64, 6, 6),
        "d": (1, 32, 6, 6), "f": (1, 1152),
    }  # fmt: skip
    elements = [(entry.elements, np.prod(entry.shape)) for entry in entries(model).values()]
    assert all(count == size for count, size in elements)


def test_what_is_moved_has_no_statistics() -> None:
    model = model_of(BODY)
    measure_activations(model, feeds())
    assert {name for name, entry in entries(model).items() if entry.statistics is None} == {"p", "t", "f"}


def test_statistics_are_those_of_all_feeds() -> None:
    model = model_of(BODY)
    measure_activations(model, feeds())
    for name in ("x", "r", "s", "d"):
        entry = activation(values(model)[name])
        assert entry is not None
        assert entry.statistics is not None
        parts = np.concatenate([np.asarray(runner(model, [name])(feed)[-1]) for feed in feeds()])
        axes = tuple(axis for axis in range(parts.ndim) if axis != 1)
        np.testing.assert_allclose(entry.statistics.maximum, parts.max(axes), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(entry.statistics.minimum, parts.min(axes), rtol=1e-5, atol=1e-6)


def test_what_was_measured_before_a_rewrite_is_replaced() -> None:
    model = model_of(BODY)
    measure_activations(model, feeds())
    before = activation(values(model)["r"])
    for value in values(model).values():
        if (entry := activation(value)) is not None:
            value.meta[ACTIVATION] = Activation((7,), 7, entry.statistics)
    measure_activations(model, feeds())
    after = activation(values(model)["r"])
    assert before is not None
    assert after is not None
    assert (after.shape, after.elements) == (before.shape, before.elements)


@pytest.mark.parametrize(
    "body", ["f = Flatten(x) m = MatMul(f, k) y = Unsqueeze(m, ends)", "g = Sigmoid(x) y = Mul(x, g)"]
)
def test_a_model_without_convs_is_not_run(body: str) -> None:
    model = load(source(body, {**WEIGHTS, "k": random((588, 16))}))
    with patch.object(activations, "runner") as run:
        measure_activations(model, feeds())
    run.assert_not_called()
    assert not any(activation(value) for value in values(model).values())


def test_a_number_is_no_activation() -> None:
    model = model_of("c = Conv(x, u) n = ReduceMax<keepdims = 0>(c) l = Mul(c, n) y = Conv(l, w)")
    measure_activations(model, feeds())
    assert activation(values(model)["n"]) is None
    assert activation(values(model)["l"]) is not None
