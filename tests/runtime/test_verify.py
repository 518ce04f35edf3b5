"""Verification: what counts as unchanged, and what the message says otherwise."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.errors import VerificationError
from requant.runtime.verify import verify

Build = Callable[[str], onnx.ModelProto]
X = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)}


def graph(build: Build, body: str, **constants: float) -> ir.Model:
    parameters = ", ".join(f"float {name} = {{{value}}}" for name, value in constants.items())
    return ir.from_proto(build(f"(float[8, 8] x) => (float[n, m] y) <{parameters}> {{ {body} }}"))


@pytest.mark.parametrize(
    ("body", "good", "bad"),
    [
        ("y = Mul(x, k)", 1.0005, 1.01),
        ("m = Mul(x, k) y = Sigmoid(m)", 1.001, 1.1),
        ("m = Add(x, k) p = Sigmoid(m) y = Transpose(p)", -17.0, -6.0),  # 4e-8, and 3e-3
        ("m = Mul(x, k) y = Relu(m)", 1.0005, 1.01),
    ],
)
def test_what_moves_no_more_than_rounding_does_is_unchanged(body: str, good: float, bad: float, build: Build) -> None:
    before = graph(build, body, k=-16.0 if "Add" in body else 1.0)
    assert verify(before, graph(build, body, k=good), [X], rewrite="it") <= 1e-3
    with pytest.raises(VerificationError, match=r"it changed the model: value 'y' differs by .* nothing was written"):
        verify(before, graph(build, body, k=bad), [X], rewrite="it")


def test_small_values_that_are_no_probabilities_count_as_they_are(build: Build) -> None:
    body = "m = Mul(x, k) y = Relu(m)"
    with pytest.raises(VerificationError):
        verify(graph(build, body, k=1e-8), graph(build, body, k=2e-8), [X], rewrite="it")


def test_another_size_is_a_difference(build: Build) -> None:
    body = "c = Greater(x, k) i = NonZero(c) y = Cast<to = 1>(i)"
    with pytest.raises(VerificationError, match="'y' differs by inf"):
        verify(graph(build, body, k=0.0), graph(build, body, k=0.5), [X], rewrite="it")


@pytest.mark.parametrize("special", ["-inf", "nan"])
def test_what_is_not_finite_must_stay_the_same(special: str, build: Build) -> None:
    branch = "l" if special == "-inf" else "n"
    body = f"c = Less(x, k) d = Sub(k, k) l = Log(d) n = Sub(l, l) y = Where(c, {branch}, x)"
    before = graph(build, body, k=0.0)
    assert verify(before, graph(build, body, k=0.0), [X], rewrite="it") == 0
    with pytest.raises(VerificationError, match="'y' differs by inf"):
        verify(before, graph(build, body, k=0.5), [X], rewrite="it")


def test_sequences_and_text_are_compared_too(build: Build) -> None:
    model = "(float[8, 8] x) => (seq(float[8, 1]) y, string[8] t) <float k = {{{k}}}> {{ {body} }}"
    body = (
        'm = Mul(x, k) y = SplitToSequence<axis = 1>(m) p = Greater(m, x) a = Constant<value_string = "a">()'
        ' b = Constant<value_string = "b">() i = Constant<value_ints = [1]>() n = Cast<to = 7>(p)'
        " r = ReduceMax<axes = [1], keepdims = 0>(n) g = Cast<to = 9>(r) t = Where(g, a, b)"
    )
    same, near, far = (ir.from_proto(build(model.format(k=k, body=body))) for k in (1.0, 0.9999, 0.5))
    assert verify(same, same, [X], rewrite="it") == 0
    with pytest.raises(VerificationError, match="'t' differs by inf"):
        verify(same, near, [X], rewrite="it")
    with pytest.raises(VerificationError, match=r"'y' differs by 0\.5"):
        verify(same, far, [X], rewrite="it")
