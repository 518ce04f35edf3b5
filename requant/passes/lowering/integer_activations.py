"""Spell activations on integers, and sums and products with a number, so that ONNX Runtime makes kernels of them.

    SiLU          g = Q(Sigmoid(DQ(x)); 1/255, 0)      Q(Mul(DQ(x), DQ(g)))      QLinearSigmoid, QLinearMul
    HardSigmoid   Q(Add(DQ(x; α s, z), DQ(255; β/255, 0)); 1/255, 0)          QLinearAdd, which saturates at 0 and 1
    HardSwish     g = HardSigmoid of x                 Q(Mul(DQ(x), DQ(g)))      QLinearAdd, QLinearMul
      of d x      g = Q(Mul(DQ(x), DQ(d)); 6/256, 128)                        QLinearMul, which saturates at 0 and 1
                  Q(Mul(DQ(x), DQ(g; 1/256, 0)))                              QLinearMul
    x + c, x · c  Q(op(DQ(x), DQ(255; c/255, 0)))

The integers of x are read as α x where α s is their scale, and those of d x as its HardSigmoid.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ...ir.build import describe, insert_behind
from ...ir.constants import array, constant
from ...ir.kernels import Kernel
from ...ir.quantizer import Quantizer
from ...ir.scaled_hard_swish import OFFSET, SLOPE, ScaledHardSwish, as_scaled_hard_swish
from ..annotations import INTEGER
from .activations import QuantizedValue, dequantize
from .quantized_values import LoweringContext, dequantized_value, quantized_value

_STEP = 1 / 256
"""The step of a gate that is half open at a whole number of steps."""


def _silu(kernel: Kernel, context: LoweringContext) -> None:
    """Quantize the gate between Sigmoid and Mul."""
    sigmoid, product = kernel.nodes
    gate = sigmoid.outputs[0]
    behind = dequantized_value(gate, _gate(context), context)
    for position, value in enumerate(product.inputs):
        if value is gate:
            product.replace_input_with(position, behind)


def _hard_swish(kernel: Kernel, context: LoweringContext) -> None:
    """Make the HardSwish a product with a HardSigmoid of its data."""
    if len(kernel.nodes) > 1:
        _scaled_hard_swish(kernel, context)
        return
    (node,), (data,) = kernel.nodes, kernel.inputs
    hard_sigmoid = ir.node("HardSigmoid", [data], name=f"{node.name}.gate")
    context.graph.insert_before(node, hard_sigmoid)
    name = f"{kernel.outputs[0].name}.gate"
    gate = describe(context.graph, hard_sigmoid.outputs[0], name, data.shape, data.dtype)
    _saturate(hard_sigmoid, data, (SLOPE, OFFSET), context)
    node.op_type = "Mul"
    node.resize_inputs(2)
    node.replace_input_with(1, dequantized_value(gate, _gate(context), context))


def _scaled_hard_swish(kernel: Kernel, context: LoweringContext) -> None:
    """Let the product that scales the data back saturate where the gate does, and read its integers as the gate's."""
    restore, gate, product = kernel.nodes
    graph, plan, activation = context.graph, _gate(context), as_scaled_hard_swish(restore)
    assert activation is not None
    assert plan.zero_point is not None
    ramp = replace(plan, scale=np.asarray(_STEP / SLOPE, np.float32), zero_point=plan.zero_point + OFFSET / _STEP)
    scales = _dequantized_scales(activation, context)
    restore.replace_input_with(list(restore.inputs).index(activation.scale), scales)
    integers = quantized_value(restore.outputs[0], ramp, context).integers
    name, output = f"{gate.outputs[0].name}", gate.outputs[0]
    zero_point = constant(graph, plan.zero_point.astype(plan.dtype.numpy()), f"{name}.zero_point")
    read = QuantizedValue(integers, constant(graph, np.asarray(_STEP, np.float32), f"{name}.scale"), zero_point)
    product.replace_input_with(list(product.inputs).index(output), dequantize(graph, output, read))
    graph.remove(gate, safe=True)


def _dequantized_scales(activation: ScaledHardSwish, context: LoweringContext) -> ir.Value:
    """Return the scales behind a DQ, exact where each is a whole number of steps of the largest."""
    scale, graph = activation.scale, context.graph
    covered = 0.0, float(activation.scales.max())
    plan = Quantizer(np.asarray(1, np.float32), interval=covered).with_zero_point(_dtype(context))
    assert plan.zero_point is not None
    name, dtype = f"{scale.name}", plan.dtype.numpy()
    parts = (
        constant(graph, plan.encode(activation.scales).astype(dtype), f"{name}.codes"),
        constant(graph, plan.scale, f"{name}.scale"),
        constant(graph, plan.zero_point.astype(dtype), f"{name}.zero_point"),
    )
    node = ir.node("DequantizeLinear", parts, name=f"{name}.dequantize")
    graph.insert_before(activation.nodes[0], node)
    return describe(graph, node.outputs[0], f"{name}.dequantized", scale.shape, scale.dtype)


def _hard_sigmoid(kernel: Kernel, context: LoweringContext) -> None:
    node = kernel.nodes[0]
    alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    _saturate(node, kernel.inputs[0], (alpha, beta), context)


def _saturate(node: ir.Node, data: ir.Value, line: tuple[float, float], context: LoweringContext) -> None:
    """Make ``node``, a HardSigmoid of ``data``, a sum α x + β, which saturates where it is quantized."""
    graph, plan = context.graph, INTEGER.get(data)
    assert plan is not None
    dequantized_value(data, plan, context)  # before another DQ of the same integers is there
    integers, _, zero_point = quantized_value(data, plan, context)
    slope, offset = line
    name, scale_array = f"{node.outputs[0].name}", np.asarray(plan.scale * slope, np.float32)
    scaled = ir.node("DequantizeLinear", [integers, constant(graph, scale_array, f"{name}.slope"), zero_point])
    insert_behind(graph, integers, [scaled])
    beta = _dequantized_number(offset, data, node, context)
    node.op_type = "Add"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(0, describe(graph, scaled.outputs[0], f"{name}.scaled", data.shape, data.dtype))
    node.replace_input_with(1, beta)


def _with_number(kernel: Kernel, context: LoweringContext) -> None:
    """Let a sum or a product read the number among its operands as the largest integer times a scale."""
    (node,) = kernel.nodes
    for position, operand in enumerate(node.inputs):
        number = array(operand)
        if operand is not None and number is not None:
            node.replace_input_with(position, _dequantized_number(float(number.reshape(())), operand, node, context))


def _dequantized_number(number: float, operand: ir.Value, node: ir.Node, context: LoweringContext) -> ir.Value:
    """Return ``number`` behind a DQ, exact but for the rounding of its scale."""
    graph, dtype = context.graph, _dtype(context)
    lowest, highest = (np.array(end, dtype.numpy()) for end in (dtype.min, dtype.max))
    top, zero_point = (lowest, highest) if number < 0 else (highest, lowest)
    name = f"{node.outputs[0].name}.number"
    scale = np.asarray(abs(number) / (int(highest) - int(lowest)) or 1.0, np.float32)
    integers = zero_point if number == 0 else top
    parts = ((integers, f"{name}.codes"), (scale, f"{name}.scale"), (zero_point, f"{name}.zero_point"))
    dequantize = ir.node("DequantizeLinear", [constant(graph, *part) for part in parts], name=name)
    graph.insert_before(node, dequantize)
    return describe(graph, dequantize.outputs[0], f"{name}.dequantized", ir.Shape(()), operand.dtype)


def _gate(context: LoweringContext) -> Quantizer:
    """Return the quantizer of a value between 0 and 1."""
    return Quantizer(np.asarray(1, np.float32), interval=(0.0, 1.0)).with_zero_point(_dtype(context))


def _dtype(context: LoweringContext) -> ir.DataType:
    """Return the type of the integers between kernels."""
    return context.engine.activations[ir.DataType.INT8].dtype


SPELLINGS: dict[str, Callable[[Kernel, LoweringContext], None]] = {
    "Silu": _silu,
    "HardSwish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "Add": _with_number,
    "Mul": _with_number,
}
"""By kind, what is to be done within a kernel."""
