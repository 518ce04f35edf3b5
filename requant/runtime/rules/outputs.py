"""What the rules look for behind a product: its bias, what is quantized after it, who reads that."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ...ir.constants import array
from .parts import Layer, Step
from .qdq_graph import View
from .rule import Find, Violation
from .traverse import consumers, name, only_consumer

_CLOSE = 1e-3
"""Relative difference up to which two scales of a bias are taken for the same."""

_INT8_AFTER_CONV = frozenset({"AveragePool", "GlobalAveragePool", "Resize"})
"""Ops that gain from the quantized output of a Conv."""

_INT32 = 2.0**31

_INVALID_RESHAPE = 21
"""From this opset on, the Reshape that ONNX Runtime puts before a Gemm fails its own type check in int8."""


def quantized_output(view: View) -> Iterator[Violation]:
    """A linear layer whose output is quantized for consumers that gain nothing from it."""
    for layer in view.layers.values():
        for use in layer.node.outputs[0].uses():
            step = view.steps.get(use.node)
            if step is not None and step.quantizes and not _pays(layer, step, view):
                yield step.node, layer.node.op_type


def unquantized_output(view: View) -> Iterator[Violation]:
    """A Conv whose output, or the output of the Relu or Clip after it, is not quantized."""
    for layer in view.products("Conv"):
        if not _is_quantize(_next_consumer(layer.node.outputs[0]), view):
            yield layer.node, "output"


def relu_between(view: View) -> Iterator[Violation]:
    """A Relu between a linear layer and a Q whose codes reach below 0."""
    for layer in view.products():
        relu = only_consumer(layer.node.outputs[0])
        if relu is not None and relu.op_type == "Relu":
            after = only_consumer(relu.outputs[0])
            step = view.steps.get(after) if after is not None else None
            if step is not None and step.quantizes and _reaches_below_zero(step):
                yield layer.node, name(step.node)


def float_bias(view: View) -> Iterator[Violation]:
    """A float bias that makes the product a float Gemm."""
    for layer in view.products("Gemm", "MatMul"):
        bias, output = bias_of(layer)
        step = view.step_of(bias)
        coded = step is not None and step.codes == ir.DataType.INT32
        if bias is not None and not coded and not _is_quantize(only_consumer(output), view):
            yield layer.node, bias.name or "bias"


def bias_scale(*op_types: str) -> Find:
    """What finds an int32 bias of ``op_types`` whose scale is not that of the product."""

    def find(view: View) -> Iterator[Violation]:
        for layer in view.products(*op_types):
            step = view.step_of(bias_of(layer)[0])
            if step is not None and step.codes == ir.DataType.INT32 and not _has_scale_of(layer, step):
                yield layer.node, name(step.node)

    return find


def bias_overflow(view: View) -> Iterator[Violation]:
    """A float bias of a Conv between codes with more steps of the product than int32 has."""
    for layer in view.products("Conv"):
        value, output = bias_of(layer)
        bias, (data, weight) = array(value), (step.scale for step in layer.steps)
        if bias is None or data is None or weight is None or not _is_quantize(_next_consumer(output), view):
            continue
        product = (data.astype(np.float64) * weight.astype(np.float64)).reshape(-1) if data.size == 1 else np.zeros(0)
        fits = product.size in (1, bias.size) and bool((product > 0).all())
        steps = np.abs(bias.astype(np.float64)) / product if fits else np.zeros(0)
        if (worst := float(steps.max(initial=0))) > _INT32:
            yield layer.node, f"{worst:.0e} steps"


def absent_zero_point(*, bias: bool) -> Find:
    """Return what finds a Gemm, with a bias or without, with an operand whose zero point is left out.

    A MatMul and the Add after it are one with a bias.
    """

    def find(view: View) -> Iterator[Violation]:
        for layer in view.products(*(("Gemm", "MatMul") if bias else ("Gemm",))):
            if (bias_of(layer)[0] is not None) == bias:
                for step in layer.steps:
                    if len(step.node.inputs) < 3 or step.node.inputs[2] is None:
                        yield layer.node, name(step.node)

    return find


def gemm_factors(view: View) -> Iterator[Violation]:
    """A Gemm with a bias that multiplies it or the product by a factor."""
    for layer in view.products("Gemm"):
        for factor in ("alpha", "beta") if bias_of(layer)[0] is not None else ():
            if (number := layer.node.attributes.get_float(factor, 1.0)) != 1.0:
                yield layer.node, f"{factor} = {number:g}"


def reshaped_int8(view: View) -> Iterator[Violation]:
    """Signed activation codes of three axes or more whose product becomes a Gemm, at opset 21 or above."""
    if view.model.opset_imports.get("", 0) < _INVALID_RESHAPE:
        return
    for layer, _ in view.activations(ir.DataType.INT8):
        rank = len(layer.node.outputs[0].shape or ())
        if rank > 2 and bias_of(layer)[0] is not None:
            yield layer.node, f"{rank} axes"


def _next_consumer(output: ir.Value) -> ir.Node | None:
    """Who alone reads ``output``, or the Relu or Clip that alone reads it."""
    consumer = only_consumer(output)
    between = consumer is not None and consumer.op_type in ("Relu", "Clip")
    return only_consumer(consumer.outputs[0]) if consumer is not None and between else consumer


def _is_quantize(node: ir.Node | None, view: View) -> bool:
    return node is not None and node in view.steps and view.steps[node].quantizes


def _reaches_below_zero(step: Step) -> bool:
    zero_point = step.zero_point
    return zero_point is not None and bool((zero_point.astype(np.float32) > float(step.codes.min)).any())


def _has_scale_of(layer: Layer, bias: Step) -> bool:
    """Whether ``bias`` has the scale of the activation times the weight's. True when a scale is not known."""
    first, second, own = (step.scale for step in (*layer.steps, bias))
    if first is None or second is None or own is None or min(first.size, second.size) > 1:
        return True
    wanted = first.astype(np.float64).reshape(-1) * second.astype(np.float64).reshape(-1)
    actual = own.astype(np.float64).reshape(-1)
    fits = 1 in (wanted.size, actual.size) or wanted.size == actual.size
    return fits and np.allclose(actual, wanted, rtol=_CLOSE, atol=0)


def _pays(layer: Layer, step: Step, view: View) -> bool:
    """Whether somebody behind the Q's DQ works on its codes; True when there is no DQ."""
    tails = [node.outputs[0] for node in consumers(step.node.outputs[0]) if node is not None and node in view.steps]
    ends = [end for tail in tails for end in consumers(tail)]
    return not ends or any(end is not None and _gains(end, layer, view) for end in ends)


def _gains(end: ir.Node, layer: Layer, view: View) -> bool:
    if layer.node.op_type != "Conv":
        return end in view.layers
    residual = end.op_type == "Add" and all(value and value.const_value is None for value in end.inputs)
    return end in view.layers or residual or end.op_type in _INT8_AFTER_CONV


def bias_of(layer: Layer) -> tuple[ir.Value | None, ir.Value]:
    """What ONNX Runtime adds to the product within one Gemm or Conv, and the value after it.

    A MatMul and the Add after it become a Gemm when the product is a matrix, or when all its dimensions are
    known and the bias has one axis.
    """
    node, product = layer.node, layer.node.outputs[0]
    if node.op_type != "MatMul":
        return (node.inputs[2] if len(node.inputs) > 2 else None), product
    add = only_consumer(product)
    if add is None or add.op_type != "Add" or product.shape is None:
        return None, product
    bias = next((value for value in add.inputs if value is not product), None)
    if bias is None or bias.shape is None or len(bias.shape) == 0 or bias.shape[-1] != product.shape[-1]:
        return None, product
    if len(product.shape) > 2:
        weight = node.inputs[1]
        matrix = weight is not None and weight.shape is not None and len(weight.shape) == 2
        fused = matrix and product.shape.is_static() and len(bias.shape) == 1
    else:
        fused = len(bias.shape) <= 2
    return (bias, add.outputs[0]) if fused else (None, product)
