"""Lower the plan for an engine: DequantizeLinear(QuantizeLinear(x)) where the engine has an integer kernel.

    cpu        uint8 codes with zero point 128: x / s + 128 is the same real grid as int8 with zero point 0
    tensorrt   int8 codes with zero point 0, float bias, nothing on the output of a linear layer

On ONNX Runtime's CPU a float bias of shape [N] after a MatMul makes a float Gemm of the product, which is slower than
the float model. The bias is written so that this fusion does not apply: as [1, …, N] where the product has three
axes or more, else as int32 codes with the scale of the product.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..ir.constants import array, constant, lazily
from ..ir.linear import Linear, find_linears
from ..ir.rewrite.edit import add_to_bias
from ..runtime.targets import Target, target
from .choose_layers import KEPT
from .plan_quantizers import Quantizer, quantizer
from .records import LAYERS, LayerRecord
from .round_weights import BIAS


@dataclass(frozen=True)
class InsertQDQ(ir.passes.InPlacePass):
    """Insert Q/DQ pairs for every planned linear layer that ``target`` runs in integers.

    Needs a plan (`PlanQuantizers`). Layers left in float are recorded with the reason.
    """

    target: str = "tensorrt"

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model has no plan."""
        linears = list(find_linears(model.graph))
        if linears and not any(quantizer(linear.data) or KEPT in linear.node.meta for linear in linears):
            raise ir.passes.PreconditionError("no plan: run requant.passes.PlanQuantizers first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        engine = target(self.target)
        layers = [_judge(linear, engine) for linear in find_linears(model.graph)]
        dequantized: dict[ir.Value, ir.Value] = {}
        for linear, record in layers:
            if record.quantized:
                _lower(linear, engine, dequantized)
        model.meta[LAYERS] = tuple(record for _, record in layers)
        RemoveUnusedNodesPass()(model)  # the float weights, which nobody reads any more
        return ir.passes.PassResult(model, any(record.quantized for _, record in layers))


def _judge(linear: Linear, engine: Target) -> tuple[Linear, LayerRecord]:
    planned = quantizer(linear.data) is not None and quantizer(linear.weight) is not None
    reason = linear.node.meta.get(KEPT) or engine.excludes(linear) or ("" if planned else "it has no planned quantizer")
    output = linear.output.name or ""
    return linear, LayerRecord(linear.name, linear.node.op_type, linear.shape, output, not reason, str(reason))


def _lower(linear: Linear, engine: Target, dequantized: dict[ir.Value, ir.Value]) -> None:
    graph, activation, weight = linear.node.graph, quantizer(linear.data), quantizer(linear.weight)
    assert isinstance(graph, ir.Graph)
    assert activation is not None
    assert weight is not None
    correction = linear.node.meta.get(BIAS)
    if isinstance(correction, np.ndarray):
        add_to_bias(linear, correction)
    for value, insert in ((linear.data, _activation), (linear.weight, _weight)):
        if value not in dequantized:
            dequantized[value] = insert(graph, linear, activation if value is linear.data else weight, engine)
    linear.node.replace_input_with(0, dequantized[linear.data])
    linear.node.replace_input_with(1, dequantized[linear.weight])
    if engine.bias == "fused" and linear.bias is not None:
        _write_bias(graph, linear, activation.scale * weight.scale)


def _activation(graph: ir.Graph, linear: Linear, planned: Quantizer, engine: Target) -> ir.Value:
    value, name = linear.data, linear.data.name
    scale = constant(graph, planned.scale, f"{name}.scale")
    zero_point = constant(graph, np.array(engine.zero_point, engine.activation.numpy()), f"{name}.zero_point")
    limited = _limited(graph, value, planned)
    codes = ir.node("QuantizeLinear", [limited, scale, zero_point], name=f"{name}.quantize")
    result = ir.node("DequantizeLinear", [codes.outputs[0], scale, zero_point], name=f"{name}.dequantize")
    _describe(codes.outputs[0], f"{name}.codes", value.shape, engine.activation)
    _describe(result.outputs[0], f"{name}.dequantized", value.shape, value.dtype)
    producer, clip = value.producer(), limited.producer()
    steps = [codes, result] if limited is value or clip is None else [clip, codes, result]
    if producer is not None:
        graph.insert_after(producer, steps)
    else:
        graph.insert_before(graph[0], steps)
    return result.outputs[0]


def _limited(graph: ir.Graph, value: ir.Value, planned: Quantizer) -> ir.Value:
    """``value`` within the range of fewer than 8 bits, which QuantizeLinear does not saturate to."""
    if planned.bits == 8:
        return value
    half, name = 2 ** (planned.bits - 1), f"{value.name}.clip"
    bounds = [constant(graph, planned.scale * np.float32(bound), name) for bound in (-half, half - 1)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    _describe(clip.outputs[0], f"{name}.out", value.shape, value.dtype)
    return clip.outputs[0]


def _weight(graph: ir.Graph, linear: Linear, planned: Quantizer, engine: Target) -> ir.Value:
    value, name, tensor = linear.weight, linear.weight.name, linear.weight.const_value
    assert tensor is not None
    assert planned.axis is not None
    nearest = lazily(_rounder(planned), tensor, dtype=ir.DataType.INT8)
    codes = constant(graph, nearest if planned.codes is None else planned.codes, f"{name}.codes")
    scale = constant(graph, planned.scale, f"{name}.scale")
    zero_point = constant(graph, np.zeros(planned.scale.shape, np.int8), f"{name}.zero_point")
    node = ir.node("DequantizeLinear", [codes, scale, zero_point], {"axis": planned.axis}, name=f"{name}.dequantize")
    _describe(node.outputs[0], f"{name}.dequantized", value.shape, value.dtype)
    graph.insert_before(linear.node, node)
    return node.outputs[0]


def _rounder(planned: Quantizer) -> Callable[[NDArray[np.generic]], NDArray[np.generic]]:
    """What turns a weight into its codes, from -(2^(b-1) - 1) to 2^(b-1) - 1."""
    largest = 2 ** (planned.bits - 1) - 1

    def codes(weight: NDArray[np.generic]) -> NDArray[np.generic]:
        shape = [-1 if axis == planned.axis else 1 for axis in range(weight.ndim)]
        steps = np.round(weight.astype(np.float32, copy=False) / planned.scale.reshape(shape))
        return np.clip(steps, -largest, largest).astype(np.int8)

    return codes


def _write_bias(graph: ir.Graph, linear: Linear, scale: NDArray[np.float32]) -> None:
    """Rewrite the bias so that the CPU's integer kernel is chosen; see the module's docstring."""
    assert linear.bias is not None
    node, position = linear.bias
    bias = array(node.inputs[position])
    assert bias is not None
    flat = np.broadcast_to(bias.reshape(-1), scale.shape)
    rank = len(linear.output.shape) if linear.output.shape is not None else 0
    name = f"{linear.output.name}.bias"
    if linear.node.op_type == "MatMul" and rank > 2:
        node.replace_input_with(position, constant(graph, flat.reshape((1,) * (rank - 1) + (-1,)), name))
        return
    codes = np.clip(np.round(flat.astype(np.float64) / scale), -(2.0**31), 2.0**31 - 1).astype(np.int32)
    inputs = [constant(graph, codes, f"{name}.codes"), constant(graph, scale, f"{name}.scale")]
    dequantize = ir.node("DequantizeLinear", inputs, {"axis": 0}, name=f"{name}.dequantize")
    _describe(dequantize.outputs[0], f"{name}.dequantized", ir.Shape(scale.shape), ir.DataType.FLOAT)
    graph.insert_before(node, dequantize)
    node.replace_input_with(position, dequantize.outputs[0])


def _describe(value: ir.Value, name: str, shape: ir.Shape | None, dtype: ir.DataType | None) -> None:
    value.name, value.shape = name, shape
    value.type = ir.TensorType(dtype) if dtype is not None else None
