"""Samples lie along the first axis, unless the model scans over it."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant import DataError
from requant.calib.sample_axes import count_samples, sample_axes
from requant.calib.sources import batches
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

Build = Callable[[str], onnx.ModelProto]
RANDOM = np.random.default_rng(0)

LSTM = "<float[32, 16] w, float[1, 64, 16] k, float[1, 64, 16] r, int64[1] one = {1}, float[16, 16] v, float[2] h>"
BODY = "e = MatMul(x, w)  l = LSTM<hidden_size = 16>(e, k, r)  s = Squeeze(l, one)  y = MatMul(s, v)"
TIME_MAJOR = f"(float[T, N, 32] x) => (float[T, N, 16] y) {LSTM} {{ {BODY} }}"
BATCH_FIRST = f"""(float[N, T, 32] x) => (float[T, N, 16] y) {LSTM} {{
    t = Transpose<perm = [1, 0, 2]>(x)  {BODY.replace("(x,", "(t,")} }}"""
WITH_STATE = TIME_MAJOR.replace("x)", "x, int32[N] lens, float[2, N, 8] z, float[3] q)").replace(
    "y = MatMul(s, v)", "g = Cast<to = 1>(lens) a = ReduceSum(z) b = ReduceSum(q) y = MatMul(s, v)"
)
SCAN = """(float[T, N, 4] x, float[N, 4] s) => (float[T, N, 4] y) {
    e, y = Scan <num_scan_inputs = 1,
        body = b (float[N, 4] before, float[N, 4] xt) => (float[N, 4] after, float[N, 4] o) {
        after = Add(before, xt)  o = Tanh(after) }> (s, x) }"""


def canonical(text: str, build: Build) -> ir.Model:
    model = load(build(text))
    canonicalize(model)
    return model


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        (TIME_MAJOR, {"x": 1}),
        (BATCH_FIRST, {"x": 0}),
        (WITH_STATE, {"x": 1, "lens": 0, "z": 1, "q": None}),
        (SCAN, {"x": 1, "s": 0}),
        (TIME_MAJOR.replace("[T, N", "[T, 1"), {"x": None}),
        ("(float[N, 4] x, float t) => (float[N, 4] y) { y = Add(x, t) }", {"x": 0, "t": None}),
    ],
)
def test_axes_of_samples(text: str, axes: dict[str, int | None], build: Build) -> None:
    assert sample_axes(canonical(text, build)) == axes


def test_a_file_is_cut_along_the_axis_of_samples(build: Build) -> None:
    x = RANDOM.standard_normal((7, 5, 32)).astype(np.float32)
    model = canonical(TIME_MAJOR, build)
    feeds = list(batches({"x": x}, model))
    np.testing.assert_array_equal(np.concatenate([feed["x"] for feed in feeds], axis=1), x)
    assert [feed["x"].shape for feed in feeds] == [(7, 1, 32)] * 5
    assert requant.optimize(build(TIME_MAJOR), {"x": x}).report.calibration["samples"] == 5
    fixed = canonical(TIME_MAJOR.replace("[T, N", "[T, 1"), build)
    with pytest.raises(DataError, match="scans over the first axis of its inputs"):
        list(batches({"x": x[:, :1]}, fixed))
    assert len(list(batches([{"x": x[:, :1]}], fixed))) == 1


def test_samples_are_counted_where_there_are_some() -> None:
    empty, full = np.zeros((0, 2)), np.zeros((3, 2))
    assert count_samples({"past": empty, "x": full}, {"past": 0, "x": 0}) == 3
    assert count_samples({"x": full}, {"x": 1}) == 2
    assert count_samples({"past": empty}, {"past": 0}) == 0
    assert count_samples({"t": np.zeros(())}, {"t": None}) == 1


@pytest.mark.parametrize("t", [np.float32(0.5), np.linspace(0, 1, 6, dtype=np.float32)])
def test_a_number_is_taken_for_all_samples_or_for_each(t: np.ndarray, build: Build) -> None:
    model = canonical("(float[N, 4] x, float t) => (float[N, 4] y) { y = Add(x, t) }", build)
    feeds = list(batches({"x": np.ones((6, 4), np.float32), "t": np.asarray(t)}, model))
    assert [feed["t"].shape for feed in feeds] == [()] * 6
    np.testing.assert_array_equal([feed["t"] for feed in feeds], np.broadcast_to(t, 6))
    pairs = canonical("(float[2, 4] x, float t) => (float[2, 4] y) { y = Add(x, t) }", build)
    data = {"x": np.ones((6, 4), np.float32), "t": np.asarray(t)}
    if np.ndim(t):
        with pytest.raises(DataError, match="'t' is one number for each batch"):
            list(batches(data, pairs))
    else:
        assert len(list(batches(data, pairs))) == 3


def test_infinity_and_an_empty_axis_are_data_and_nan_is_not(build: Build) -> None:
    model = canonical("(float[N, P, 4] past, float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }", build)
    past, x = np.zeros((2, 0, 4), np.float32), np.full((2, 4), -np.inf, np.float32)
    assert len(list(batches([{"past": past, "x": x}], model))) == 1
    assert len(list(batches({"past": past, "x": x}, model))) == 2
    assert len(list(batches([{"past": past[:0], "x": x[:0]}, {"past": past, "x": x}], model))) == 1
    with pytest.raises(DataError, match="'x' holds NaN"):
        list(batches([{"past": past, "x": np.full_like(x, np.nan)}], model))
