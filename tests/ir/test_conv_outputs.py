"""Where a Conv can write codes, and where it is refused."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from requant.ir.conv_outputs import ConvOutput, conv_outputs
from requant.ir.linear import find_linears
from requant.ir.load import load

SMALL = "<float zero = {0.0}, float six = {6.0}, float one = {1.0}, int64[8] ends = {0, 0, 1, 1, 0, 0, 1, 1}>"


def found(body: str, *, coded: Sequence[str] = "cdefg") -> dict[str, tuple[str, str] | str]:
    """By the outputs of Convs that are to be in codes: the value that is rounded and that of its grid, or why not."""
    header = '<ir_version: 8, opset_import: ["": 17]>'
    proto = onnx.parser.parse_model(f"{header} g (float[1, 16, 6, 6] x) => (float[n, k, h, w] y) {SMALL} {{ {body} }}")
    for name, shape in {"w": (16, 16, 1, 1), "v": (16, 32, 1, 1), "z": (576, 8)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    layers = [linear for linear in find_linears(load(proto).graph) if linear.output.name in set(coded)]
    return {
        node.outputs[0].name or "": (conv_output.value.name or "", conv_output.grid.name or "")
        if isinstance(conv_output, ConvOutput)
        else conv_output
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
def test_codes_are_those_that_the_readers_want(body: str, conv_output: tuple[str, str]) -> None:
    assert found(body)["c"] == conv_output


def test_what_lands_in_two_values_has_a_grid_of_its_own() -> None:
    body = (
        "c = Conv(x, w) p = MaxPool<kernel_shape = [2, 2]>(c) q = MaxPool<kernel_shape = [3, 3]>(c) "
        "d = Conv(p, w) e = Conv(q, w) f = Relu(d) y = Relu(e)"
    )
    assert found(body)["c"] == ("c", "c")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Identity(x) c = Conv(x, w)", None),
        ("c = Conv(x, w) f = Flatten<axis = 2>(c) y = Add(f, f)", "Flatten is to read what is not rounded"),
        ("c = Conv(x, w) y = Add(c, one)", "Add is to read what is not rounded"),
        ("c = Conv(x, w) p = Concat<axis = 1>(c, x) y = Sigmoid(p)", "Sigmoid is to read what is not rounded"),
        ("c = Conv(x, w) p = Pad(c, ends, one) d = Conv(p, w) y = Relu(d)", "Pad is to read what is not rounded"),
        ("c = Conv(x, w) y = HardSwish(c)", "HardSwish is to read what is not rounded"),
        ("c = Conv(x, w) r = Relu(c) d = Conv(r, w) s = Sigmoid(r) y = Mul(d, s)", "Sigmoid is to read"),
    ],
    ids=[
        "nobody",
        "patches",
        "patches and positions",
        "logits",
        "Pad with 1",
        "HardSwish",
        "gate",
    ],
)
def test_it_is_refused_where_somebody_needs_what_is_not_rounded(body: str, reason: str | None) -> None:
    conv_output = found(body)["c"]
    assert conv_output == ("c", "c") if reason is None else reason in conv_output


def test_an_output_of_the_model_is_not_rounded() -> None:
    assert found("r = Relu(x) y = Conv(r, w)", coded="y") == {"y": "its output is an output of the model"}
    assert found("c = Conv(x, w) y = Relu(c)") == {"c": "its output is an output of the model"}


def test_what_a_branch_reads_is_not_rounded() -> None:
    body = (
        "c = Conv(x, w) n = ReduceMax<keepdims = 0>(x) o = Greater(n, one) "
        "y = If(o)<then_branch = g () => (float[n, k, h, w] p) { p = Relu(c) }, "
        "else_branch = g () => (float[n, k, h, w] q) { q = Neg(c) }>"
    )
    assert "is to read what is not rounded" in found(body)["c"]


def test_many_paths_are_walked_once() -> None:
    chain = " ".join(f"m{i} = Relu(t{i}) n{i} = Relu(t{i}) t{i + 1} = Concat<axis = 2>(m{i}, n{i})" for i in range(40))
    assert found(f"t0 = Conv(x, w) {chain} y = AveragePool<kernel_shape = [1, 1]>(t40)", coded=("t0",))["t0"] == (
        "t0",
        "t0",
    )


def test_a_layer_in_float_reads_rounded_data_and_gives_no_grid() -> None:
    body = "c = Conv(x, w) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r) d = Conv(p, w) y = Relu(d)"
    assert found(body, coded="c") == {"c": ("r", "r")}
