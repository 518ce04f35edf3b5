"""What the rules look for in the two operands of a product."""

from collections.abc import Iterator

import onnx_ir as ir

from .rule import Find, Offence
from .view import Layer, Operand, Step, View
from .walk import name, readers

_FLOAT_ONLY = frozenset(
    {"LayerNormalization", "Gelu", "Erf", "Tanh", "HardSwish", "Sqrt", "ReduceMean", "Sub", "ConvTranspose"}
)
"""Ops without an integer kernel in ONNX Runtime's CPU provider."""


def weight_scale_axis(*op_types: str) -> Find:
    """What finds a weight of ``op_types``, or of all, with scales along an axis that is summed over."""

    def find(view: View) -> Iterator[Offence]:
        for layer in view.products(*op_types):
            weight = layer.weight
            if weight is not None and weight.axis not in (None, weight.out_axis):
                yield name(layer.node), f"axis {weight.axis} instead of {weight.out_axis}"

    return find


def float_partner(view: View) -> Iterator[Offence]:
    """A dequantized activation that is multiplied by a float operand."""
    for one, other, layer in _lone(view):
        if not one.fixed:
            yield name(layer.node), "weight" if other.fixed else "second activation"


def weight_only(view: View) -> Iterator[Offence]:
    """An 8-bit weight that a float activation is multiplied by."""
    for one, _, layer in _lone(view):
        if one.fixed and one.step and one.step.codes in (ir.DataType.INT8, ir.DataType.UINT8):
            yield name(layer.node), one.step.codes.name.lower()


def small_weight(view: View) -> Iterator[Offence]:
    """A weight of fewer than 8 bits beside a quantized activation."""
    for layer, weight in _weights(view):
        if weight.codes.bitwidth < 8:
            yield name(layer.node), weight.codes.name.lower()


def blocked_weight(view: View) -> Iterator[Offence]:
    """A weight with scales by blocks beside a quantized activation."""
    for layer, weight in _weights(view):
        if block := weight.node.attributes.get_int("block_size", 0):
            yield name(layer.node), f"blocks of {block}"


def uint8_weight(view: View) -> Iterator[Offence]:
    """A weight in uint8 codes beside a quantized activation."""
    for layer, weight in _weights(view):
        if weight.codes == ir.DataType.UINT8:
            yield name(layer.node), "uint8"


def half_scale(view: View) -> Iterator[Offence]:
    """A product in half precision."""
    for layer in view.products():
        scale = layer.steps[0].node.inputs[1]
        if scale is not None and scale.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            yield name(layer.node), scale.dtype.name.lower()


def weight_place(view: View) -> Iterator[Offence]:
    """A weight that does not come straight from its DQ to the second input."""
    for layer in view.products():
        if layer.operands[0].fixed:
            yield name(layer.node), "the weight is the first operand"
        elif layer.operands[1].fixed and not layer.operands[1].direct:
            yield name(layer.node), "another op is between the weight and its DequantizeLinear"


def shared_int8(view: View) -> Iterator[Offence]:
    """Signed activation codes that several nodes read."""
    for layer, step in view.activations(ir.DataType.INT8):
        codes = step.node.inputs[0]
        tails = [use.node.outputs[0] for use in codes.uses()] if codes is not None else []
        count = sum(len(tail.uses()) + tail.is_graph_output() for tail in tails)
        if count > 1:
            yield name(layer.node), f"{count} readers"


def no_integer_kernel(view: View) -> Iterator[Offence]:
    """A dequantized activation that only ops without an integer kernel read."""
    for node, step in view.steps.items():
        found = [] if step.quantizes or step.fixed else list(readers(node.outputs[0]))
        if found and all(reader is not None and reader.op_type in _FLOAT_ONLY for reader in found):
            yield name(node), ", ".join(sorted({reader.op_type for reader in found if reader}))


def _weights(view: View) -> Iterator[tuple[Layer, Step]]:
    for layer in view.products():
        if layer.weight is not None and layer.weight.step is not None:
            yield layer, layer.weight.step


def _lone(view: View) -> Iterator[tuple[Operand, Operand, Layer]]:
    """Layers with one dequantized operand: that one, the float one, the layer."""
    for layer in view.layers.values():
        first, second = layer.operands
        if (first.step is None) != (second.step is None):
            yield (first, second, layer) if first.step else (second, first, layer)
