"""Kernels: which nodes an engine can run as one kernel on integers, and which of these are linked to a Conv."""

import numpy as np
import onnx
import pytest

from requant.ir.kernels import Kernel, find_kernels, moved_together
from requant.ir.load import load

SMALL = "<float zero = {0.0}, float six = {6.0}, float one = {1.0}, float[4] factors = {1, 1, 2, 2}>"


def kernels(body: str) -> list[Kernel]:
    """Return the kernels of the graph in ``body``."""
    header = '<ir_version: 8, opset_import: ["": 17]>'
    proto = onnx.parser.parse_model(f"{header} g (float[1, 16, 6, 6] x) => (float[n, k, h, w] y) {SMALL} {{ {body} }}")
    for name, shape in {
        "w": (16, 16, 1, 1),
        "v": (16, 32, 1, 1),
        "roi": (8,),
        "channels": (16, 1, 1),
        "row": (1, 16, 1, 6),
        "long": (1,) * 5,
    }.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return find_kernels(load(proto).graph)


def names(body: str) -> list[str]:
    """Return the kernels as text: kind, inputs and outputs."""
    return [
        f"{kernel.kind}: {' '.join(value.name or '' for value in kernel.inputs)} > "
        f"{' '.join(value.name or '' for value in kernel.outputs)}"
        for kernel in kernels(body)
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Conv(x, w)", ["Conv: x > y"]),
        ("c = Conv(x, w) y = Relu(c)", ["Conv: x > y"]),
        ("c = Conv(x, w) y = Clip(c, zero, six)", ["Conv: x > y"]),
        ("c = Conv(x, w) s = Shape(c) r = Relu(c) y = Reshape(r, s)", ["Conv: x > r", "Move: r > y"]),
        ("c = Conv(x, w) g = Sigmoid(c) y = Mul(c, g)", ["Conv: x > c", "Silu: c > y"]),
        ("c = Conv(x, w) g = Sigmoid(c) y = Mul(g, c)", ["Conv: x > c", "Silu: c > y"]),
        (
            "c = Conv(x, w) g = Sigmoid(c) s = Mul(c, g) y = Add(s, g)",
            ["Conv: x > c", "Sigmoid: c > g", "Mul: c g > s", "Add: s g > y"],
        ),
        ("c = Conv(x, w) g = Sigmoid(c) y = Mul(x, g)", ["Conv: x > c", "Sigmoid: c > g", "Mul: x g > y"]),
        ("c = Conv(x, w) y = Add(one, c)", ["Conv: x > c", "Add: c > y"]),
        ("c = Conv(x, w) y = Mul(c, six)", ["Conv: x > c", "Mul: c > y"]),
        ("c = Conv(x, w) y = HardSwish(c)", ["Conv: x > c", "HardSwish: c > y"]),
        ("c = Conv(x, w) y = HardSigmoid(c)", ["Conv: x > c", "HardSigmoid: c > y"]),
        ("c = Conv(x, w) t = Concat<axis = 1>(c, x) y = Conv(t, v)", ["Conv: x > c", "Concat: c x > t", "Conv: t > y"]),
        ('c = Conv(x, w) y = Resize<mode = "nearest">(c, , factors)', ["Conv: x > c", "Resize: c > y"]),
        ("c = Conv(x, w) s, t = Split<axis = 1>(c) y = Add(s, t)", ["Conv: x > c", "Move: c > s t", "Add: s t > y"]),
    ],
)
def test_a_kernel_has_the_nodes_that_run_as_one(body: str, expected: list[str]) -> None:
    assert names(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv(x, w) r = Relu(c) y = Add(r, c)",  # two read the output of the Conv
        "c = Conv(x, w) y = Clip(c, x, six)",  # its bounds are not constant
    ],
)
def test_an_activation_that_is_not_alone_or_not_constant_is_none_of_the_conv(body: str) -> None:
    assert names(body)[0] == "Conv: x > c"


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ('Resize<mode = "linear">(c, , factors)', "interpolates"),
        ('Resize<coordinate_transformation_mode = "tf_crop_and_resize">(c, roi, factors)', "may fill in a number"),
        ("HardSigmoid<alpha = -0.2>(c)", "falls"),
        ("HardSigmoid<beta = 0.0>(c)", "has no offset"),
        ("Add(c, channels)", "has a constant of several elements"),
        ("Add(c, long)", "has a constant that adds an axis"),
        ("Concat<axis = 2>(c, row)", "has a constant of its own range"),
        ("Exp(c)", "has no integer kernel"),
        ("DepthToSpace<blocksize = 2>(c)", "moves blocks"),
    ],
)
def test_what_is_no_kernel_is_left_out(op: str, reason: str) -> None:
    assert names(f"c = Conv(x, w) y = {op}") == ["Conv: x > c"], reason


def test_a_max_pool_with_indices_is_no_kernel() -> None:
    body = "c = Conv(x, w) y, i = MaxPool<kernel_shape = [2, 2]>(c)"
    assert names(body) == ["Conv: x > c"]


def test_kernels_without_a_conv_are_left_out() -> None:
    assert names("g = Sigmoid(x) y = Mul(x, g)") == []
    assert names("e = Exp(x) g = Sigmoid(e) s = Mul(e, g) c = Conv(x, w) y = Relu(c)") == ["Conv: x > y"]


def test_what_reads_the_integers_of_another_graph_is_left_out() -> None:
    """An engine fuses the nodes of one graph."""
    body = (
        "c = Conv(x, w) n = ReduceMax<keepdims = 0>(x) o = Greater(n, one) "
        "y = If(o)<then_branch = g () => (float[n, k, h, w] p) { p = Conv(c, w) }, "
        "else_branch = g () => (float[n, k, h, w] q) { q = Conv(x, w) }>"
    )
    assert names(body) == ["Conv: x > c", "Conv: x > q"]


def test_values_that_are_moved_into_one_another_are_a_group() -> None:
    groups = moved_together(
        kernels("c = Conv(x, w) t = Concat<axis = 1>(c, x) s, u = Split<axis = 1>(t) y = Conv(s, w)")
    )
    by_name = {value.name: sorted(other.name or "" for other in group) for value, group in groups.items()}
    assert by_name["c"] == by_name["s"] == ["c", "s", "t", "x"], "nothing reads u"
    assert by_name["y"] == ["y"]
