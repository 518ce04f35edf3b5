"""Random feeds that a model runs with, whatever sizes depend on each other in it."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant
from requant import DataError
from requant.calib.sources import batches
from requant.calib.synthetic import fitting_sizes
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

Build = Callable[[str], onnx.ModelProto]

DECODER = """(int64[N, S] ids, int64[N, TOTAL] mask, float[N, 4, P, 8] past)
    => (float[N, S, 32] y, float[N, 4, q, 8] now)
    <float[50, 32] table, float[32, 32] wq, float[32, 32] wk, float[32, 32] wo, int64[4] split = {0, 0, 4, 8},
     int64[3] joined = {0, 0, 32}, int64[2] axes = {1, 2}, int64[1] last = {1}, int64 zero = {0}, int64 one = {1},
     int64 two = {2}> {
    x = Gather(table, ids)  a = MatMul(x, wq)  b = MatMul(x, wk)
    ah = Reshape(a, split)  at = Transpose<perm = [0, 2, 1, 3]>(ah)
    bh = Reshape(b, split)  bt = Transpose<perm = [0, 2, 1, 3]>(bh)
    now = Concat<axis = 2>(past, bt)  k = Transpose<perm = [0, 1, 3, 2]>(now)  s = MatMul(at, k)
    MASKED
    e = Unsqueeze(f, axes)  t = Add(s, e)  p = Softmax<axis = -1>(t)  v = MatMul(p, now)
    w = Transpose<perm = [0, 2, 1, 3]>(v)  o = Reshape(w, joined)  y = MatMul(o, wo) }"""
"""A decoder with a cache; what its mask is called, and how it is read, differs."""

ADDED = "f = Cast<to = 1>(mask)"
GATHERED = """n = Shape(now)  length = Gather(n, two)  i = Range(zero, length, one)  j = Unsqueeze(i, last)
    r = Transpose(mask)  g = GatherND(r, j)  h = Transpose(g)  f = Cast<to = 1>(h)"""


@pytest.mark.parametrize("mask", [ADDED, GATHERED], ids=["added", "gathered"])
@pytest.mark.parametrize(
    ("total", "sizes"),
    [
        ("T", {"N": 1, "S": 32, "P": 32, "T": 64}),
        ('"P + S"', {"N": 1, "S": 32, "P": 32, "P + S": 64}),
    ],
)
def test_a_mask_is_as_long_as_past_and_new(mask: str, total: str, sizes: dict[str, int], build: Build) -> None:
    model = load(_decoder(build, mask, total))
    canonicalize(model)
    assert fitting_sizes(model) == sizes
    assert [feed["mask"].shape for feed in batches(None, model)] == [(1, 64)] * 16


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.parametrize("recipe", ["int8", "int8-weight", "int4-weight", "int8-dynamic"])
@pytest.mark.filterwarnings("ignore::requant.errors.SyntheticCalibrationWarning")
def test_a_decoder_is_quantized_without_data(recipe: str, build: Build) -> None:
    layers = requant.optimize(_decoder(build, GATHERED, "T"), None, recipe).report.layers
    assert len(layers) == 3
    assert all(layer.quantized for layer in layers)


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.filterwarnings("ignore::requant.errors.SyntheticCalibrationWarning")
def test_a_recipe_that_needs_no_data_never_fails_on_them(build: Build) -> None:
    text = "(float[N, 48] x, int64[M] i) => (float[n, m] y) <float[48, 16] w> { p = MatMul(x, w)  y = Reshape(p, i) }"
    with pytest.raises(DataError, match="random inputs do not fit the model, pass calibration data: "):
        requant.optimize(build(text), None)
    for recipe in ("int8-weight", "int4-weight", "int8-dynamic"):
        result = requant.optimize(build(text), None, recipe)
        assert [layer.quantized for layer in result.report.layers] == [True]
        assert result.report.message.startswith("neither verified nor measured: random inputs do not fit the model")
    feed = {"x": np.ones((2, 48), np.float32), "i": np.array([4, 8])}
    assert requant.optimize(build(text), [feed]).report.layers[0].quantized


@pytest.mark.filterwarnings("ignore::requant.errors.SyntheticCalibrationWarning")
def test_no_gigabytes_are_made_up(build: Build) -> None:
    text = """(float[10000, 3, 224, 224] x) => (float[10000, 8, 224, 224] y) <float[8, 3, 1, 1] w> {
        y = Conv(x, w) }"""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="would have 1505280000 elements a sample, more than the 67108864 "):
            requant.optimize(build(text))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    text = "(float[10000, 100, 100] x) => (float[10000, 100, 16] y) <float[100, 16] w> { y = MatMul(x, w) }"
    result = requant.optimize(build(text), recipe="int8-weight")
    assert result.report.message.startswith("neither verified nor measured: random inputs would have ")


def _decoder(build: Build, mask: str, total: str) -> onnx.ModelProto:
    proto = build(DECODER.replace("MASKED", mask).replace("TOTAL", "T"))
    if total != "T":
        proto.graph.input[1].type.tensor_type.shape.dim[1].dim_param = total.strip('"')
    return proto
