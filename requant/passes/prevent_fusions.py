"""Spell a Q/DQ graph for another engine so that an ONNX Runtime session with default options computes it too.

    y = MatMul(DQ(x), DQ(w)) + b [N]    becomes    y = MatMul(DQ(x), DQ(w)) + b [1, N]          in half precision
    y = Gemm(DQ(x), DQ(w), b [N])       becomes    y = Gemm(DQ(x), DQ(w), b [1, N])             in half precision
    y = Q(Relu(Conv(DQ(x), DQ(w), b)))  becomes    y = Q(Relu(Conv(DQ(x), DQ(w)) + b))          in half precision
    y = Q(Relu(x), s, 0 in float8)      becomes    y = Q(Relu(x), s) with output_dtype float8

Such engines run a graph without ONNX Runtime's optimizations, but a default session on the CPU does not know. ONNX
Runtime 1.32 would quantize the bias of a Conv or Gemm by a Div of its type and float32; make a Gemm of a product and
a bias [N], by a Reshape of the data, through which it moves the quantizers and then contradicts their type; and take
Relu for a part of every quantizer whose zero point is neither int8 nor uint8. The last computes something else, the
others do not load. Each spelling says the same as before, and is one that the optimization does not match.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ..ir.constants import array, constant
from ..ir.float_types import HALVES
from ..ir.ops import COMMUTING, CONVOLUTIONS, FRAMING, RESAMPLING
from ..ir.opset import raise_opset
from ..ir.transform.edit import graph_of, insert_after
from ..ir.unused import remove_unused

_CLIPPING = frozenset({"Relu", "Clip"})  # what ONNX Runtime looks through, which is not all that clips
_PROPAGATING = COMMUTING | FRAMING | RESAMPLING
"""Ops that ONNX Runtime moves quantizers through, and some more."""

_TYPED_BY_ATTRIBUTE = 21
"""The first opset where a QuantizeLinear has `output_dtype`."""


@dataclass(frozen=True)
class PreventFusions(ir.passes.InPlacePass):
    """A pass that keeps optimizations of ONNX Runtime from a graph for another engine; it runs last.

    No kernel of TensorRT-RTX changes. Reads and writes no annotations.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if any(True for _ in _clipped_float8(model)):
            raise_opset(model, _TYPED_BY_ATTRIBUTE)
        quantizers = [*_clipped_float8(model)]
        for node in quantizers:
            _type_by_attribute(node)
        products = [node for node in model.graph.all_nodes() if _multiplies_halves(node)]
        is_moved = [_RESPELLINGS[node.op_type](node) for node in products]
        remove_unused(model)
        return ir.passes.PassResult(model, bool(quantizers) or any(is_moved))


def _clipped_float8(model: ir.Model) -> Iterator[ir.Node]:
    """Yield each quantizer to float8 that reads what a Relu or Clip wrote."""
    for node in model.graph.all_nodes():
        zero_point = node.inputs[2] if node.op_type == "QuantizeLinear" and len(node.inputs) > 2 else None
        dtype = zero_point.dtype if zero_point is not None else None
        if dtype is not None and dtype.is_floating_point() and _is_clipped(node.inputs[0]):
            yield node


def _is_clipped(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type in _PROPAGATING:
        return _is_clipped(producer.inputs[0])
    return producer is not None and producer.op_type in _CLIPPING


def _type_by_attribute(node: ir.Node) -> None:
    dtype = node.outputs[0].dtype
    assert dtype is not None
    node.resize_inputs(2)
    node.attributes["output_dtype"] = ir.AttrInt64("output_dtype", dtype)


def _multiplies_halves(node: ir.Node) -> bool:
    """Tell whether ``node`` is a product of two dequantized values in half precision."""
    producers = [value.producer() if value is not None else None for value in node.inputs[:2]]
    is_product = node.domain == "" and node.op_type in _RESPELLINGS
    dequantized = [producer is not None and producer.op_type == "DequantizeLinear" for producer in producers]
    return is_product and all(dequantized) and node.outputs[0].dtype in HALVES


def _move_bias(conv: ir.Node) -> bool:
    """Add the bias of a Conv behind it, if a QuantizeLinear reads the result, or what clips it."""
    bias, result = conv.inputs[2] if len(conv.inputs) > 2 else None, conv.outputs[0]
    data = array(bias)
    if bias is None or data is None or not _is_quantized(result):
        return False
    conv.resize_inputs(2)
    behind = data.reshape(-1, *(1,) * (len(result.shape or ()) - 2))
    insert_after(result, "Add", constant(graph_of(conv), behind, f"{bias.name}.behind"))
    return True


def _is_quantized(value: ir.Value) -> bool:
    """Tell whether one QuantizeLinear reads ``value``, or what a Relu or Clip makes of it, and nothing else."""
    consumers = [use.node for use in value.uses()]
    if len(consumers) != 1 or value.is_graph_output():
        return False
    node = consumers[0]
    passes = node.op_type in _CLIPPING | _PROPAGATING
    return node.op_type == "QuantizeLinear" or (passes and _is_quantized(node.outputs[0]))


def _widen_addend(matmul: ir.Node) -> bool:
    """Give the bias [N] that is added to a MatMul the shape [1, N]."""
    consumers = [use.node for use in matmul.outputs[0].uses()]
    is_sum = [consumer.op_type for consumer in consumers] == ["Add"]
    return is_sum and any(_widen(consumers[0], position) for position in (0, 1))


def _widen_bias(gemm: ir.Node) -> bool:
    """Give the bias [N] of a Gemm the shape [1, N]."""
    return len(gemm.inputs) > 2 and _widen(gemm, 2)


def _widen(node: ir.Node, position: int) -> bool:
    """Make a row of the constant [N] at an input, if it is one."""
    value = node.inputs[position]
    data = array(value)
    if value is None or data is None or data.ndim != 1:
        return False
    node.replace_input_with(position, constant(graph_of(node), data[None], f"{value.name}.row"))
    return True


_RESPELLINGS = {**dict.fromkeys(CONVOLUTIONS, _move_bias), "Gemm": _widen_bias, "MatMul": _widen_addend}
"""By the op of a product in half precision."""
