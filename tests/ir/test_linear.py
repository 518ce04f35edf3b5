"""MatMul, Gemm and convolutions are one thing seen one way, and what is not linear with a constant weight is none."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.linear import Linear, as_linear, find_linears
from requant.ir.load import load

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]

MATRIX = "(float[B,4,6] x) => (float[B,4,3] y) <float[6,3] w, float[3] b, float[1,3] b2, float[1,1,3] b3, float s>"
ROWS = "(float[B,6] x) => (float[B,3] y) <float[6,3] w, float[3,6] t, float[3] b, float[1,3] b2, float[1] b1>"
IMAGE = "(float[B,6,5,5] x) => (float[B,4,N,M] y) <float[4,6,1,1] w, float[4,6,3,3] k, float[4,3,3,3] g, float[4] b>"

BIASED = {
    "right": (f"{MATRIX} {{ p = MatMul(x, w)  y = Add(p, b) }}", "Add", 1),
    "left": (f"{MATRIX} {{ p = MatMul(x, w)  y = Add(b, p) }}", "Add", 0),
    "rank 2": (f"{MATRIX} {{ p = MatMul(x, w)  y = Add(p, b2) }}", "Add", 1),
    "rank 3": (f"{MATRIX} {{ p = MatMul(x, w)  y = Add(b3, p) }}", "Add", 0),
    "scalar": (f"{MATRIX} {{ p = MatMul(x, w)  y = Add(p, s) }}", "Add", 1),
    "gemm": (f"{ROWS} {{ y = Gemm(x, w, b) }}", "Gemm", 2),
    "gemm rank 2": (f"{ROWS} {{ y = Gemm(x, w, b2) }}", "Gemm", 2),
    "gemm scalar": (f"{ROWS} {{ y = Gemm(x, w, b1) }}", "Gemm", 2),
    "gemm transposed": (f"{ROWS} {{ y = Gemm<transB = 1>(x, t, b) }}", "Gemm", 2),
    "conv": (f"{IMAGE} {{ y = Conv(x, w, b) }}", "Conv", 2),
}

UNBIASED = {
    "none": f"{MATRIX} {{ y = MatMul(x, w) }}",
    "residual": f"{MATRIX} {{ p = MatMul(x, w)  y = Add(p, p) }}",
    "two consumers": f"{MATRIX} {{ p = MatMul(x, w)  q = Add(p, b)  y = Mul(p, q) }}",
    "output": "(float[B,6] x) => (float[B,3] p, float[B,3] y) <float[6,3] w, float[3] b> "
    "{ p = MatMul(x, w)  y = Add(p, b) }",
    "runtime": "(float[B,6] x, float[3] b) => (float[B,3] y) <float[6,3] w> { p = MatMul(x, w)  y = Add(p, b) }",
    "per row": "(float[4,6] x) => (float[4,3] y) <float[6,3] w, float[4,3] b> { p = MatMul(x, w)  y = Add(p, b) }",
    "one output": "(float[B,6] x) => (float[B,5] y) <float[6,1] w, float[5] b> { p = MatMul(x, w)  y = Add(p, b) }",
    "gemm": f"{ROWS} {{ y = Gemm(x, w) }}",
    "conv": f"{IMAGE} {{ y = Conv(x, k) }}",
}

REFUSED = {
    "vector": "(float[B,6] x) => (float[B] y) <float[6] w> { y = MatMul(x, w) }",
    "weight on the left": "(float[6,3] x) => (float[4,3] y) <float[4,6] w> { y = MatMul(w, x) }",
    "two activations": "(float[4,6] x, float[6,4] z) => (float[4,4] y) { y = MatMul(x, z) }",
    "two constants": "(float[4,4] x) => (float[4,4] y) <float[4,4] w> { z = MatMul(w, w)  y = Add(x, z) }",
    "a repeated constant": "(int64[2] n) => (float[A,B] y) <float[6] z, float[6,3] w> "
    "{ e = Expand(z, n)  y = MatMul(e, w) }",
    "zeros": "(int64[2] n) => (float[A,B] y) <float[6,3] w> { e = ConstantOfShape(n)  y = MatMul(e, w) }",
    "runtime weight": "(float[B,6] x, float[6,3] w) => (float[B,3] y) { y = MatMul(x, w) }",
    "gemm transA": "(float[6,4] x) => (float[4,3] y) <float[6,3] w> { y = Gemm<transA = 1>(x, w) }",
    "gemm without its bias": f"{ROWS} {{ y = Gemm<beta = 0.0>(x, w, b) }}",
    "gemm with a bias per row": "(float[4,6] x) => (float[4,3] y) <float[6,3] w, float[4,1] c> { y = Gemm(x, w, c) }",
    "gemm with a runtime bias": "(float[B,6] x, float[3] c) => (float[B,3] y) <float[6,3] w> { y = Gemm(x, w, c) }",
    "conv with a runtime bias": "(float[B,6,5,5] x, float[4] c) => (float[B,4,5,5] y) <float[4,6,1,1] w> "
    "{ y = Conv(x, w, c) }",
    "another domain": f"{MATRIX} {{ y = com.microsoft.MatMul(x, w) }}",
    "another op": f"{MATRIX} {{ y = Mul(x, s) }}",
}


def _only(text: str, build: Build) -> Linear:
    (linear,) = find_linears(load(build(text)).graph)
    return linear


@pytest.mark.parametrize("name", BIASED)
def test_the_bias_is_found(name: str, build: Build) -> None:
    text, op_type, position = BIASED[name]
    linear = _only(text, build)
    assert linear.bias is not None
    node, index = linear.bias
    assert (node.op_type, index) == (op_type, position)
    bias = node.inputs[index]
    assert bias is not None
    assert bias.const_value is not None
    assert linear.output.name == "y"


@pytest.mark.parametrize("name", UNBIASED)
def test_other_additions_are_no_bias(name: str, build: Build) -> None:
    linear = _only(UNBIASED[name], build)
    assert linear.bias is None
    assert linear.output is linear.node.outputs[0]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_linear_in_its_data_is_none(name: str, build: Build) -> None:
    for node in load(build(REFUSED[name])).graph:
        assert as_linear(node) is None


@pytest.mark.parametrize(
    ("text", "inputs", "outputs", "groups", "padded"),
    [
        (f"{MATRIX} {{ y = MatMul(x, w) }}", 6, 3, 1, False),
        (f"{ROWS} {{ y = Gemm(x, w) }}", 6, 3, 1, False),
        (f"{ROWS} {{ y = Gemm<transB = 1>(x, t) }}", 6, 3, 1, False),
        (f"{IMAGE} {{ y = Conv(x, w) }}", 6, 4, 1, False),
        (f"{IMAGE} {{ y = Conv(x, k) }}", 6, 4, 1, False),
        (f"{IMAGE} {{ y = Conv<pads = [0, 0, 0, 0]>(x, k) }}", 6, 4, 1, False),
        (f'{IMAGE} {{ y = Conv<auto_pad = "VALID">(x, k) }}', 6, 4, 1, False),
        (f"{IMAGE} {{ y = Conv<pads = [0, 0, 1, 0]>(x, k) }}", 6, 4, 1, True),
        (f'{IMAGE} {{ y = Conv<auto_pad = "SAME_UPPER">(x, k) }}', 6, 4, 1, True),
        (f"{IMAGE} {{ y = Conv<group = 2>(x, g) }}", 6, 4, 2, False),
    ],
)
def test_shapes_groups_and_padding(
    text: str, inputs: int, outputs: int, groups: int, padded: bool, build: Build
) -> None:
    linear = _only(text, build)
    assert (linear.inputs, linear.outputs, linear.groups, linear.padded) == (inputs, outputs, groups, padded)


@pytest.mark.parametrize("name", [name for name in BIASED if "gemm scalar" not in name])
def test_the_matrix_times_the_data_is_the_product(name: str, build: Build, compute: Compute) -> None:
    text, *_ = BIASED[name]
    model = load(build(text))
    (linear,) = find_linears(model.graph)
    model.graph.outputs.append(linear.data)
    y, x = compute(model)
    assert linear.bias is not None
    bias = linear.bias[0].inputs[linear.bias[1]]
    assert bias is not None
    assert bias.const_value is not None
    x, y = (np.moveaxis(np.asarray(array, np.float64), linear.data_axis, -1) for array in (x, y))
    np.testing.assert_allclose(x @ linear.matrix() + bias.const_value.numpy(), y, rtol=1e-4, atol=1e-5)


def test_a_grouped_matrix_has_a_row_for_every_channel(build: Build) -> None:
    linear = _only(f"{IMAGE} {{ y = Conv<group = 2>(x, g) }}", build)
    weight = linear.weight.const_value
    assert weight is not None
    matrix = linear.matrix()
    assert matrix.shape == (6, 2 * 9)
    for channel in range(6):
        outputs = slice(0, 2) if channel < 3 else slice(2, 4)
        np.testing.assert_array_equal(matrix[channel], weight.numpy()[outputs, channel % 3].ravel())


def test_a_linear_is_called_by_its_node_or_its_output(build: Build) -> None:
    linear = _only(f"{MATRIX} {{ y = MatMul(x, w) }}", build)
    assert linear.name == "y"
    linear.node.name = "head"
    assert linear.name == "head"
