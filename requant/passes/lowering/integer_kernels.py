"""Write kernels that run on integers as Q/DQ around their nodes, in the spelling of which ONNX Runtime makes a kernel.

    Conv          Q(Conv(DQ(x), DQ(w)))                                       QLinearConv
    SiLU          g = Q(Sigmoid(DQ(x)); 1/255, 0)      Q(Mul(DQ(x), DQ(g)))      QLinearSigmoid, QLinearMul
    HardSigmoid   Q(Add(DQ(x; α s, z), DQ(255; β/255, 0)); 1/255, 0)          QLinearAdd, which saturates at 0 and 1
    HardSwish     g = HardSigmoid of x                 Q(Mul(DQ(x), DQ(g)))      QLinearAdd, QLinearMul
    x + c, x · c  Q(op(DQ(x), DQ(255; c/255, 0)))
    others        Q(op(DQ(x), …))

The integers of x are read as α x where α s is their scale.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ...ir.build import describe, insert_behind
from ...ir.constants import array, constant
from ...ir.kernels import Kernel
from ...ir.names import fresh_name
from ...ir.ops import SIZES
from ...ir.quantizer import Quantizer
from ...ir.transform.edit import graph_of
from ..annotations import INTEGER
from .quantized_values import LoweringContext, dequantized_value, quantized_value

Contexts = Mapping[ir.Graph, LoweringContext]

_HALF_WAY, _SLOPE = 0.5, 1 / 6
"""β and α of the gate of HardSwish."""


def quantize_kernels(kernels: Sequence[Kernel], contexts: Contexts) -> list[ir.Value]:
    """Put Q and DQ around ``kernels``, and return what is behind the DQs."""
    written = {value: kernel.nodes[-1] for kernel in kernels for value in kernel.outputs}
    nodes = {node for kernel in kernels for node in kernel.nodes}
    for kernel in kernels:
        _read_sizes(kernel)
        if kernel.kind in _SPELLINGS:
            _SPELLINGS[kernel.kind](kernel, contexts[graph_of(kernel.nodes[0])])
    dequantized = list[ir.Value]()
    for value in dict.fromkeys(value for kernel in kernels for value in kernel.values):
        if value in written:
            own = contexts[graph_of(written[value])]
            dequantized += _quantize(value, {use.node for use in value.uses()}, dict.fromkeys(contexts, own))
        else:
            dequantized += _quantize(value, nodes, contexts)
        if value.is_graph_output() and value in written:
            _replace_output(value, contexts[graph_of(written[value])])
    return dequantized


def _quantize(value: ir.Value, readers: set[ir.Node], contexts: Contexts) -> list[ir.Value]:
    """Let ``readers`` read ``value`` behind Q and DQ; return that."""
    plan = INTEGER.get(value)
    assert plan is not None
    dequantized: dict[ir.Value, None] = {}
    for use in [use for use in value.uses() if use.node in readers and use.node.op_type != "QuantizeLinear"]:
        behind = dequantized_value(value, plan, contexts[graph_of(use.node)])
        use.node.replace_input_with(use.idx, behind)
        dequantized[behind] = None
    return list(dequantized)


def _replace_output(value: ir.Value, context: LoweringContext) -> None:
    """Let the graph return ``value`` behind Q and DQ, under its name."""
    plan, graph = INTEGER.get(value), context.graph
    assert plan is not None
    behind, name = dequantized_value(value, plan, context), value.name
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = behind
    value.name = fresh_name(graph, f"{name}.float")
    behind.name = name


def _read_sizes(kernel: Kernel) -> None:
    """Let what asks for the size of the output of a Conv ask for that of what is behind it, which is quantized."""
    if len(kernel.nodes) > 1 and kernel.linear is not None:
        for use in kernel.linear.node.outputs[0].uses():
            if use.node.op_type in SIZES:
                use.node.replace_input_with(use.idx, kernel.outputs[0])


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
    (node,), (data,) = kernel.nodes, kernel.inputs
    hard_sigmoid = ir.node("HardSigmoid", [data], name=f"{node.name}.gate")
    context.graph.insert_before(node, hard_sigmoid)
    name = f"{kernel.outputs[0].name}.gate"
    gate = describe(context.graph, hard_sigmoid.outputs[0], name, data.shape, data.dtype)
    _saturate(hard_sigmoid, data, (_SLOPE, _HALF_WAY), context)
    node.op_type = "Mul"
    node.resize_inputs(2)
    node.replace_input_with(1, dequantized_value(gate, _gate(context), context))


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
    graph, dtype = context.graph, context.engine.activations[ir.DataType.INT8].dtype
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
    dtype = context.engine.activations[ir.DataType.INT8].dtype
    return Quantizer(np.asarray(1, np.float32), interval=(0.0, 1.0)).with_zero_point(dtype)


_SPELLINGS: dict[str, Callable[[Kernel, LoweringContext], None]] = {
    "Silu": _silu,
    "HardSwish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "Add": _with_number,
    "Mul": _with_number,
}
"""By kind, what is to be done within a kernel."""
