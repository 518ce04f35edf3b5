"""Residual sums behind a Conv: they read the residual in int8 where it is quantized, in fine steps."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.formats import FP8, INT8, Format
from requant.ir.load import load
from requant.passes import InsertQDQ, PlanQuantizers, SelectLayers
from requant.passes.annotations import layer_records
from requant.runtime.check import check
from requant.runtime.openvino import compile_model, kernels
from requant.runtime.session import runner
from requant.runtime.targets import TARGETS

WEIGHTS = {"w": (32, 32, 1, 1), "v": (32, 32, 3, 3), "b": (32,)}
BLOCK = "r = Relu(x) c = Conv(r, w, b) s = Add(c, r) y = Relu(s)"
DEEP = (
    "r = Relu(x) c = Conv(r, w) d = Relu(c) e = Conv<pads = [1, 1, 1, 1]>(d, v, b) s = Add(r, e) "
    "t = Relu(s) f = Conv(t, w) y = Add(f, t)"
)


def planned(
    body: str, *, outputs: str = "y", size: float = 1.0, fmt: Format = INT8, keep: tuple[str, ...] = ()
) -> ir.Model:
    arguments, results = (", ".join(f"float[1, 32, 6, 6] {name}" for name in names) for names in ("xz", outputs))
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g ({arguments}) => ({results}) {{ {body} }}'
    )
    rng = np.random.default_rng(0)
    arrays = {name: (size * rng.normal(size=shape)).astype(np.float32) for name, shape in WEIGHTS.items()}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    model = load(proto)
    canonicalize(model, fmt.opset)
    collect(model, [feed(model)])
    SelectLayers(keep)(model)
    PlanQuantizers((fmt,))(model)
    return model


def feed(model: ir.Model) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {value.name or "": rng.normal(size=(1, 32, 6, 6)).astype(np.float32) for value in model.graph.inputs}


def lowered(model: ir.Model, target: str = "tensorrt") -> ir.Model:
    copy = model.clone()
    InsertQDQ(target)(copy)
    assert check(copy, target) == []
    return copy


def sums(model: ir.Model) -> list[str]:
    """The residuals that Adds read, but for those that a Conv makes."""
    read = [value for node in model.graph if node.op_type == "Add" for value in node.inputs if value is not None]
    makers = {value: value.producer() for value in read}
    return [value.name or "" for value, node in makers.items() if node is None or node.op_type != "Conv"]


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "openvino"])
def test_a_residual_that_is_quantized_anyway_is_read_in_int8(target: str) -> None:
    model = planned(BLOCK)
    artifact = lowered(model, target)
    assert sums(artifact) == ["r.dequantized"]
    assert [node.op_type for node in artifact.graph].count("QuantizeLinear") == 1
    assert [record.format for record in layer_records(artifact)] == ["int8 by int8, and its residual"]


def test_it_is_rounded_once_and_nothing_else_changes() -> None:
    artifact = lowered(planned(BLOCK.replace("y = Relu(s)", "y = Identity(s)")))
    whole = artifact.clone()
    add = next(node for node in whole.graph if node.op_type == "Add")
    position, residual = next(
        (i, value) for i, value in enumerate(add.inputs) if value and value.name == "r.dequantized"
    )
    quantize = next(node for node in whole.graph if node.op_type == "QuantizeLinear")
    add.replace_input_with(position, quantize.inputs[0])
    step = artifact.graph.initializers["r.scale"].const_value
    assert residual is not None
    assert step is not None
    r = np.maximum(feed(artifact)["x"], 0)
    difference = np.subtract(*(runner(each)(feed(artifact))[0].astype(np.float64) for each in (artifact, whole)))
    np.testing.assert_allclose(difference, np.round(r / step.numpy()) * step.numpy() - r, atol=1e-5)


def test_every_block_of_a_trunk() -> None:
    assert sums(lowered(planned(DEEP))) == ["r.dequantized", "t.dequantized"]


LEFT: dict[str, Callable[[], ir.Model]] = {
    "no layer reads it": lambda: planned(BLOCK.replace("Add(c, r)", "Add(c, z)")),
    "the product is read elsewhere": lambda: planned(BLOCK.replace("y = Relu(s)", "t = Relu(s) y = Sub(t, c)")),
    "the product is an output": lambda: planned(BLOCK, outputs="yc"),
    "the Conv adds little to it": lambda: planned(BLOCK, size=0.01),
    "it has 6 bits": lambda: planned(BLOCK, fmt=Format(bits=6)),
    "it is e4m3": lambda: planned(BLOCK, fmt=FP8),
    "it is no sum": lambda: planned(BLOCK.replace("Add(c, r)", "Mul(c, r)")),
}


@pytest.mark.parametrize("why", LEFT)
def test_it_stays_in_float_where(why: str) -> None:
    artifact = lowered(LEFT[why]())
    assert all(record.quantized for record in layer_records(artifact))
    assert not [name for name in sums(artifact) if name.endswith(".dequantized")]


def test_a_layer_that_stays_in_float_leaves_its_sum_alone() -> None:
    body = "r = Relu(x) [kept] c = Conv(r, w, b) d = Conv(r, w) s = Add(c, r) y = Add(s, d)"
    assert "r" in sums(lowered(planned(body, keep=("kept",))))


def test_products_of_matrices_leave_their_residual_in_float() -> None:
    """TensorRT's kernels for them read it in float all the same."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[8, 32] x) => (float[8, 32] y) '
        "{ m = MatMul(x, w) y = Add(m, x) }"
    )
    weight = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    model = load(proto)
    canonicalize(model)
    collect(model, [{"x": weight[:8]}])
    PlanQuantizers()(model)
    assert "x" in {
        value.name for node in lowered(model).graph if node.op_type == "Add" for value in node.inputs if value
    }


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
def test_openvino_adds_int8_in_the_kernel_of_the_conv() -> None:
    model = planned(DEEP)
    artifact = lowered(model, "openvino")
    exact, expected, actual = (
        runner(each, target=target, threads=1)(feed(model))[0].astype(np.float64)
        for each, target in ((model, "cpu"), (artifact, "cpu"), (artifact, "openvino"))
    )
    assert 0 < np.linalg.norm(actual - expected) < 0.5 * np.linalg.norm(expected - exact)
    ran = [kind for kind, _ in kernels(compile_model(artifact))]
    assert ran.count("Convolution") == 3
    assert not {"Eltwise", "Add"} & set(ran)


@pytest.mark.parametrize(("limit", "residual"), [(1e-6, "r"), (1e6, "r.dequantized")])
def test_an_engine_says_how_much_noise_a_residual_may_bring(limit: float, residual: str) -> None:
    model = planned(BLOCK)
    InsertQDQ(replace(TARGETS["tensorrt"], loudest_residual=limit))(model)
    assert sums(model) == [residual]
