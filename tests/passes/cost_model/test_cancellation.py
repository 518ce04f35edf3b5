"""Quiet rows keep no digits behind a shift: what is left of them is rounding, and a logarithm shows it."""

from collections.abc import Callable

import numpy as np
import onnx

import requant
from requant.passes.cost_model.cancellation import LOST_DIGITS, keeps_digits

BODY = """(float[n, 200, 64] x) => (float[n, 200, 40] y) <float[64, 40] w, float least = {1e-10}>
    { p = Mul(x, x) v = Abs(w) m = MatMul(p, v) c = Max(m, least) y = Log(c) }"""


def spectra(count: int) -> list[dict[str, np.ndarray]]:
    """Frames from loud to quiet, 120 dB apart."""
    rng = np.random.default_rng(0)
    loudness = np.logspace(0, -6, 200)[:, None]
    return [{"x": (rng.standard_normal((1, 200, 64)) * loudness).astype(np.float32)} for _ in range(count)]


def test_a_logarithm_of_a_power_spectrum_is_not_shifted(build: Callable[[str], onnx.ModelProto]) -> None:
    """It raised that the rewrite had changed the model."""
    result = requant.optimize(build(BODY), spectra(8), target="tensorrt")
    assert result.report.verification is not None
    assert {(site.shift["max"], site.shift_blocked) for site in result.report.sites if site.shift} == {
        (0.0, LOST_DIGITS)
    }


def test_rows_of_one_size_keep_their_digits() -> None:
    shift, energy = np.full(64, 3.0), np.ones(64)
    assert keeps_digits(shift, energy, np.full(100, 64.0))
    assert keeps_digits(shift, energy, np.zeros(100))


def test_a_few_rows_may_be_quiet() -> None:
    shift, energy, size = np.full(64, 3.0), np.ones(64), np.full(100, 64.0)
    size[:1] = 1e-12
    assert keeps_digits(shift, energy, size)
    size[:2] = 1e-12
    assert not keeps_digits(shift, energy, size)
