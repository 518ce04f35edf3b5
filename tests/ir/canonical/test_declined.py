"""Canonical passes log at DEBUG the reason for which they leave an almost matching pattern as it is."""

import logging
from collections.abc import Callable

import onnx
import pytest

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

IMAGE = "(float[B,4,7,7] x) => (float[B,N,H,W] y)"
NORM = "float[4] g, float[4] b, float[4] e, float[4,4,3,3] w"
ROWS = "(float[B,S,D] x) => (float[B,S,D] y)"

NEAR_MATCHES = {
    "a second consumer": (
        f"{IMAGE} <{NORM}> {{ v = Abs(e)  a = Conv(x, w)  n = BatchNormalization(a, g, b, e, v)  y = Add(n, a) }}",
        "'a' has other consumers, and its only consumer is not a Conv or Gemm",
    ),
    "zeros around a shifted input": (
        f"{IMAGE} <{NORM}> {{ v = Abs(e)  n = BatchNormalization(x, g, b, e, v)  y = Conv<pads = [1,1,1,1]>(n, w) }}",
        "'y' pads its input with zeros, which a shift would change",
    ),
    "a gain of dynamic width": (
        f"""{ROWS} {{ m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)
        p = Constant<value = float {{2.0}}>()  h = Constant<value = float {{0.001}}>()
        q = Pow(d, p)  c = ReduceMean<axes = [-1]>(q)  s = Add(c, h)  r = Sqrt(s)  y = Div(d, r) }}""",
        "it has no gain, and the width of its input is dynamic",
    ),
}


@pytest.mark.parametrize(("text", "reason"), NEAR_MATCHES.values(), ids=NEAR_MATCHES)
def test_a_near_match_logs_its_reason(
    text: str, reason: str, build: Callable[[str], onnx.ModelProto], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="requant.ir.canonical"):
        canonicalize(load(build(text)))
    assert any(reason in message for message in caplog.messages), caplog.messages
