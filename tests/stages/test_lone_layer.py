"""The only layer in int8 stays in float where an output would be hardly more than noise."""

from collections.abc import Callable

import numpy as np
import onnx

import requant

BODY = """(float[n, 50, 64] x) => (float[n, 50, 64] y) <float[64, 64] w, float least = {1e-10}>
    { p = Mul(x, x) v = Abs(w) m = MatMul(p, v) c = Max(m, least) y = Log(c) }"""
LINEAR = "(float[n, 50, 64] x) => (float[n, 50, 64] y) <float[64, 64] w> { p = Mul(x, x) y = MatMul(p, w) }"


def frames(count: int) -> list[dict[str, np.ndarray]]:
    """Frames from loud to quiet, 120 dB apart."""
    rng = np.random.default_rng(0)
    loudness = np.logspace(0, -6, 50)[:, None]
    return [{"x": (rng.standard_normal((1, 50, 64)) * loudness).astype(np.float32)} for _ in range(count)]


def test_the_filters_of_a_logarithm_stay_in_float(build: Callable[[str], onnx.ModelProto]) -> None:
    report = requant.optimize(build(BODY), frames(16), target="tensorrt").report
    reason = r"it would be the only layer in int8, and the model's worst output would have "
    assert [layer.reason.startswith(reason) for layer in report.layers] == [True]
    assert report.message.startswith("nothing to quantize: every linear layer stays in float on tensorrt (it would be")


def test_so_they_do_not_where_nothing_is_lost(build: Callable[[str], onnx.ModelProto]) -> None:
    report = requant.optimize(build(LINEAR), frames(16), target="tensorrt").report
    assert [layer.quantized for layer in report.layers] == [True]


def test_nor_as_the_plain_recipe_has_it(build: Callable[[str], onnx.ModelProto]) -> None:
    report = requant.optimize(build(BODY), frames(16), "int8-plain", "tensorrt").report
    assert [layer.quantized for layer in report.layers] == [True]
