"""The collector measures what the model computes, whatever the order of the samples."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant import DataError
from requant.calib.collect import collect, statistics, watched
from requant.calib.rows import dropped_rows
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.runtime.feeds import Feed
from requant.runtime.session import runner

SPEC = synthetic.Transformer(layers=1)


def collected(feeds: Sequence[Feed]) -> ir.Model:
    model = load(synthetic.pre_norm(SPEC))
    canonicalize(model)
    collect(model, feeds)
    return model


def test_minima_and_maxima_are_exact() -> None:
    feeds = synthetic.feeds(SPEC, 4)
    model = collected(feeds)
    names = [value.name or "" for value in watched(model)]
    run = runner(model, names, optimized=True)
    computed = [run(feed)[1:] for feed in feeds]
    for index, value in enumerate(watched(model)):
        data = np.concatenate([outputs[index].reshape(-1, outputs[index].shape[-1]) for outputs in computed])
        measured = statistics(value)
        assert measured is not None
        np.testing.assert_array_equal(measured.minimum, data.min(0))
        np.testing.assert_array_equal(measured.maximum, data.max(0))
        assert measured.count == len(data)


def test_the_order_of_samples_does_not_matter() -> None:
    feeds = synthetic.feeds(SPEC, 4)
    for value, same_value in zip(watched(collected(feeds)), watched(collected(feeds[::-1])), strict=True):
        first, second = statistics(value), statistics(same_value)
        assert first is not None
        assert second is not None
        for array, same_array in zip(astuple(first), astuple(second), strict=True):
            np.testing.assert_array_equal(array, same_array)


def exponential(feeds: Sequence[Feed]) -> tuple[ir.Model, ir.Value]:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[n, 16] x) => (float[n, 16] y) '
        "<float[16, 16] w> { big = Exp(x) y = MatMul(big, w) }"
    )
    weight, data = model.graph[1].inputs[1], model.graph[1].inputs[0]
    assert weight is not None
    assert data is not None
    weight.const_value = ir.tensor(np.eye(16, dtype=np.float32), name="w")
    model.graph.register_initializer(weight)
    collect(model, feeds)
    return model, data


ONES, NONE = np.ones((2, 16), np.float32), np.zeros((0, 16), np.float32)
SPOILT = np.stack([ONES[0], np.where(np.arange(16) == 3, 100, ONES[0])]).astype(np.float32)


def test_rows_that_are_not_finite_are_left_out_and_counted() -> None:
    model, data = exponential([{"x": SPOILT}, {"x": ONES}, {"x": -np.inf * ONES}])
    measured = statistics(data)
    assert measured is not None
    assert (measured.count, measured.minimum[3]) == (5, 0)
    assert measured.maximum[3] == pytest.approx(np.e)
    assert dropped_rows(model) == "1 of 6 rows at 'big' are NaN or infinite and were left out"


def test_an_empty_value_adds_nothing() -> None:
    model, data = exponential([{"x": NONE}, {"x": ONES}, {"x": NONE}])
    measured = statistics(data)
    assert measured is not None
    assert measured.count == 2
    assert dropped_rows(model) is None


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.parametrize(
    ("x", "reason"), [(100 * ONES, "is NaN or infinite in all 2 rows"), (NONE, "is empty in all calibration")]
)
def test_a_value_without_statistics_has_a_reason(x: np.ndarray, reason: str) -> None:
    feeds = [{"x": x, "z": ONES}]
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[n, 16] x, float[m, 16] z) => (float[n, 16] y, float u) '
        "<float[16, 16] w> { big = Exp(x) y = MatMul(big, w) v = MatMul(z, w) u = ReduceSum<keepdims = 0>(v) }"
    )
    weight = model.graph[1].inputs[1]
    assert weight is not None
    weight.const_value = ir.tensor(np.eye(16, dtype=np.float32), name="w")
    model.graph.register_initializer(weight)
    layers = {layer.output: layer for layer in requant.optimize(model, feeds).report.layers}
    assert layers["v"].quantized
    assert reason in layers["y"].reason


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        collected([])
