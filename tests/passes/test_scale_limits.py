"""A value without a range keeps its layers in float, and no scale is below float32's smallest normal number."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from requant.ir.constants import array
from requant.recipe import RECIPES

TINY = float(np.finfo(np.float32).tiny)
STATIC = [name for name, recipe in RECIPES.items() if recipe.calibrated]


def two_inputs(weight: float = 1.0) -> onnx.ModelProto:
    """The sum of two linear layers; the weight of the second is of a size."""
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[b,32] x, float[b,32] other) => (float[b,32] y)
        { [first] p = MatMul(x, w) [second] q = MatMul(other, v) y = Add(p, q) }"""
    )
    weights = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    for name, values in zip("wv", weights * np.array([1, weight], np.float32)[:, None, None], strict=True):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return proto


def data(size: float) -> dict[str, NDArray[np.float32]]:
    first, second = np.random.default_rng(1).normal(size=(2, 64, 32)).astype(np.float32)
    return {"x": first, "other": second * np.float32(size)}


def reasons(result: requant.Result) -> dict[str, str]:
    return {layer.name: layer.reason for layer in result.report.layers}


def scales(model: ir.Model) -> NDArray[np.float32]:
    nodes = [node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    values = [array(node.inputs[1]) for node in nodes]
    return np.concatenate([np.ravel(scale).astype(np.float32) for scale in values if scale is not None])


@pytest.mark.parametrize("recipe", STATIC)
def test_zero_in_all_of_calibration(recipe: str) -> None:
    result = requant.optimize(two_inputs(), data(0), recipe, "tensorrt")
    assert reasons(result) == {"first": "", "second": "its input is 0 in all of calibration"}


@pytest.mark.parametrize("recipe", [*STATIC, "int8-weight", "int4-weight"])
@pytest.mark.parametrize(
    ("size", "weight", "reason"),
    [
        (1e-38, 1.0, "its input is at most 3e-38 in calibration, too small for a scale"),
        (1e-33, 1.0, "its input is at most 4e-33 in calibration, too small for a scale"),
        (1.0, 1e-38, "its weight is at most"),
    ],
)
def test_too_small_for_a_scale(recipe: str, size: float, weight: float, reason: str) -> None:
    result = requant.optimize(two_inputs(weight), data(size), recipe, "tensorrt")
    assert not reasons(result)["first"]
    assert reasons(result)["second"].startswith(reason)
    assert scales(result.model).min() >= TINY


@pytest.mark.parametrize("recipe", STATIC)
def test_a_product_too_small_for_a_scale(recipe: str) -> None:
    result = requant.optimize(two_inputs(1e-20), data(1e-20), recipe, "tensorrt")
    assert "too small for a scale of the product" in reasons(result)["second"]


@pytest.mark.parametrize("recipe", ["int8", "int8-plain", "fp8", "int8-weight"])
def test_channels_that_pruning_has_left_cost_no_layer(recipe: str) -> None:
    proto = two_inputs()
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[1]).copy()
    weight[:, 3], weight[:, 4] = 0, 1e-40
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(weight, "v"))
    result = requant.optimize(proto, data(1), recipe, "tensorrt")
    assert not any(reasons(result).values())
    assert scales(result.model).min() >= TINY
