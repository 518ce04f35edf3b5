"""The quantized outputs of integer Convs, and the places where there are none."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from requant.ir.conv_outputs import ConvOutput, conv_outputs
from requant.ir.linear import find_linears
from requant.ir.load import load

SMALL = "<float zero = {0.0}, float six = {6.0}, float one = {1.0}, int64[8] ends = {0, 0, 1, 1, 0, 0, 1, 1}>"


def outputs(body: str, *, quantized: Sequence[str] = "cdefg") -> dict[str, tuple[str, str] | str]:
    """By the output of each quantized Conv: the value that is rounded and the one with whose scale, or why not."""
    header = '<ir_version: 8, opset_import: ["": 17]>'
    proto = onnx.parser.parse_model(f"{header} g (float[1, 16, 6, 6] x) => (float[n, k, h, w] y) {SMALL} {{ {body} }}")
    for name, shape in {"w": (16, 16, 1, 1), "v": (16, 32, 1, 1), "z": (576, 8)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    layers = [linear for linear in find_linears(load(proto).graph) if linear.output.name in set(quantized)]
    return {
        node.outputs[0].name or "": (conv_output.value.name or "", conv_output.quantized_as.name or "")
        if isinstance(conv_output, ConvOutput)
        else conv_output.reason
        for node, conv_output in conv_outputs(layers).items()
    }


@pytest.mark.parametrize(
    ("body", "conv_output"),
    [
        ("c = Conv(x, w) d = Conv(c, w) y = Relu(d)", ("c", "c")),
        ("c = Conv(x, w) r = Relu(c) d = Conv(r, w) y = Relu(d)", ("r", "r")),
        ("c = Conv(x, w) r = Clip(c, zero, six) d = Conv(r, w) y = Relu(d)", ("r", "r")),
        ("c = Conv(x, w) r = Clip(c, , six) d = Conv(r, w) y = Relu(d)", ("r", "r")),
        ("c = Conv(x, w) r = Clip(c, x, six) y = Add(r, x)", ("c", "c")),
        ("c = Conv(x, w) r = Clip(c, zero, x) y = Add(r, x)", ("c", "c")),
        ("c = Conv(x, w) r = Relu(c) d = Conv(r, w) a = Add(r, d) y = Relu(a)", ("r", "r")),
        ("c = Conv(x, w) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r) d = Conv(p, w) y = Relu(d)", ("r", "p")),
        ("c = Conv(x, w) r = Relu(c) t = Concat<axis = 1>(x, r) d = Conv(t, v) y = Relu(d)", ("r", "t")),
        ("c = Conv(x, w) r = Relu(c) p = Pad(r, ends) d = Conv(p, w) y = Relu(d)", ("r", "p")),
        ("c = Conv(x, w) r = Relu(c) p = Pad(r, ends, zero) d = Conv(p, w) y = Relu(d)", ("r", "p")),
        ("c = Conv(x, w) y = Add(c, x)", ("c", "c")),
        ("c = Conv(x, w) t = Concat<axis = 1>(c, x) y = AveragePool<kernel_shape = [2, 2]>(t)", ("c", "c")),
        ("c = Conv(x, w) f = Flatten(c) g = MatMul(f, z) y = Relu(g)", ("c", "f")),
        ("c = Conv(x, w) r = Relu(c) y = GlobalAveragePool(r)", ("r", "r")),
        ("c = Conv(x, w) s = Shape(c) r = Relu(c) d = Conv(r, w) y = Reshape(d, s)", ("r", "r")),
        ("c = Conv(x, w) r = Relu(c) y = Conv(r, w)", ("r", "r")),
    ],
    ids=[
        "Conv",
        "Relu",
        "Clip",
        "Clip above",
        "Clip from run time",
        "Clip to run time",
        "shared",
        "pool",
        "concat",
        "pad",
        "pad with 0",
        "sum",
        "average of a concat",
        "classifier",
        "average",
        "size",
        "float layer",
    ],
)
def test_the_scale_is_that_of_the_consumers(body: str, conv_output: tuple[str, str]) -> None:
    assert outputs(body)["c"] == conv_output


def test_a_value_moved_into_two_has_a_scale_of_its_own() -> None:
    body = (
        "c = Conv(x, w) p = MaxPool<kernel_shape = [2, 2]>(c) q = MaxPool<kernel_shape = [3, 3]>(c) "
        "d = Conv(p, w) e = Conv(q, w) f = Relu(d) y = Relu(e)"
    )
    assert outputs(body)["c"] == ("c", "c")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Identity(x) c = Conv(x, w)", None),
        ("c = Conv(x, w) f = Flatten<axis = 2>(c) y = Add(f, f)", "Flatten needs its float output"),
        ("c = Conv(x, w) y = Add(c, one)", "Add needs its float output"),
        ("c = Conv(x, w) p = Concat<axis = 1>(c, x) y = Sigmoid(p)", "Sigmoid needs its float output"),
        ("c = Conv(x, w) p = Pad(c, ends, one) d = Conv(p, w) y = Relu(d)", "Pad needs its float output"),
        ("c = Conv(x, w) y = HardSwish(c)", "HardSwish needs its float output"),
        ("c = Conv(x, w) r = Relu(c) d = Conv(r, w) s = Sigmoid(r) y = Mul(d, s)", "Sigmoid needs"),
    ],
    ids=[
        "no consumer",
        "patches",
        "patches and positions",
        "logits",
        "Pad with 1",
        "HardSwish",
        "gate",
    ],
)
def test_it_is_refused_where_a_consumer_needs_float(body: str, reason: str | None) -> None:
    conv_output = outputs(body)["c"]
    assert conv_output == ("c", "c") if reason is None else reason in conv_output


def test_an_output_of_the_model_is_not_rounded() -> None:
    assert outputs("r = Relu(x) y = Conv(r, w)", quantized="y") == {"y": "its output is an output of the model"}
    assert outputs("c = Conv(x, w) y = Relu(c)") == {"c": "its output is an output of the model"}


def test_a_value_that_a_subgraph_reads_is_not_rounded() -> None:
    body = (
        "c = Conv(x, w) n = ReduceMax<keepdims = 0>(x) o = Greater(n, one) "
        "y = If(o)<then_branch = g () => (float[n, k, h, w] p) { p = Relu(c) }, "
        "else_branch = g () => (float[n, k, h, w] q) { q = Neg(c) }>"
    )
    assert "needs its float output" in outputs(body)["c"]


def test_many_paths_are_walked_once() -> None:
    chain = " ".join(f"m{i} = Relu(t{i}) n{i} = Relu(t{i}) t{i + 1} = Concat<axis = 2>(m{i}, n{i})" for i in range(40))
    assert outputs(f"t0 = Conv(x, w) {chain} y = AveragePool<kernel_shape = [1, 1]>(t40)", quantized=("t0",))["t0"] == (
        "t0",
        "t0",
    )


def test_a_float_layer_reads_rounded_data_and_has_no_scale() -> None:
    body = "c = Conv(x, w) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r) d = Conv(p, w) y = Relu(d)"
    assert outputs(body, quantized="c") == {"c": ("r", "r")}
