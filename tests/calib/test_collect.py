"""The collector sees what the model computes, whatever the order of the samples."""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import onnx_ir as ir
import pytest

from models import synthetic
from requant import DataError
from requant.calib.collect import collect, statistics, watched
from requant.ir.canonical.form import canonicalize
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
    seen = [run(feed)[1:] for feed in feeds]
    for index, value in enumerate(watched(model)):
        data = np.concatenate([outputs[index].reshape(-1, outputs[index].shape[-1]) for outputs in seen])
        found = statistics(value)
        assert found is not None
        np.testing.assert_array_equal(found.minimum, data.min(0))
        np.testing.assert_array_equal(found.maximum, data.max(0))
        assert found.count == len(data)


def test_the_order_of_samples_does_not_matter() -> None:
    feeds = synthetic.feeds(SPEC, 4)
    for one, other in zip(watched(collected(feeds)), watched(collected(feeds[::-1])), strict=True):
        first, second = statistics(one), statistics(other)
        assert first is not None
        assert second is not None
        for left, right in zip(astuple(first), astuple(second), strict=True):
            np.testing.assert_array_equal(left, right)


def test_infinity_inside_the_model_is_named() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1, 16] x) => (float[1, 16] y) '
        "<float[16, 16] w> { big = Exp(x) y = MatMul(big, w) }"
    )
    weight = model.graph[1].inputs[1]
    assert weight is not None
    weight.const_value = ir.tensor(np.eye(16, dtype=np.float32), name="w")
    model.graph.register_initializer(weight)
    with pytest.raises(DataError, match="computes NaN or infinity at 'big'"):
        collect(model, [{"x": np.full((1, 16), 100, np.float32)}])


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        collected([])
