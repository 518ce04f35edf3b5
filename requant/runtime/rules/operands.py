"""What the rules look for in the two operands of a product."""

from collections.abc import Iterator
from math import inf

import onnx_ir as ir

from .parts import Layer, Operand, Step
from .qdq_graph import View
from .rule import Find, Violation
from .traverse import PAIR, maker

TARGET = "requant.target"
"""Key in a model's metadata of the target that it was quantized for: what is in codes there is what the recipe has."""


def weight_scale_axis(*op_types: str) -> Find:
    """What finds a weight of ``op_types``, or of all, with scales along an axis that is summed over."""

    def find(view: View) -> Iterator[Violation]:
        for layer in view.products(*op_types):
            weight = layer.weight
            if weight is not None and weight.axis not in (None, weight.out_axis):
                yield layer.node, f"axis {weight.axis} instead of {weight.out_axis}"

    return find


def float_partner(view: View) -> Iterator[Violation]:
    """A dequantized activation that is multiplied by a float operand.

    Unless the codes are what the kernel of the layer before writes.
    """
    for one, other, layer in _lone(view):
        if not one.fixed and not _is_written(one, view):
            yield layer.node, "weight" if other.fixed else "second activation"


def weight_only(view: View) -> Iterator[Violation]:
    """An 8-bit weight that a float activation is multiplied by, unless the model says that this engine's user asked."""
    if view.model.metadata_props.get(TARGET) == view.engine.name:
        return
    for one, _, layer in _lone(view):
        if one.fixed and one.step and one.step.codes in (ir.DataType.INT8, ir.DataType.UINT8):
            yield layer.node, one.step.codes.name.lower()


def small_weight(view: View) -> Iterator[Violation]:
    """A weight of fewer than 8 bits beside a quantized activation."""
    for layer, weight in _weights(view):
        if weight.codes.bitwidth < 8:
            yield layer.node, weight.codes.name.lower()


def blocked_weight(view: View) -> Iterator[Violation]:
    """A weight with scales by blocks beside a quantized activation."""
    for layer, weight in _weights(view):
        if block := weight.node.attributes.get_int("block_size", 0):
            yield layer.node, f"blocks of {block}"


def uint8_weight(view: View) -> Iterator[Violation]:
    """A weight in uint8 codes beside a quantized activation."""
    for layer, weight in _weights(view):
        if weight.codes == ir.DataType.UINT8:
            yield layer.node, "uint8"


def half_scale(view: View) -> Iterator[Violation]:
    """A product in half precision."""
    for layer in view.products():
        scale = layer.steps[0].node.inputs[1]
        if scale is not None and scale.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            yield layer.node, scale.dtype.name.lower()


def weight_first(view: View) -> Iterator[Violation]:
    """A weight that is the first operand."""
    for layer in view.products():
        if layer.operands[0].fixed:
            yield layer.node, "the weight is the first operand"


def weight_moved(view: View) -> Iterator[Violation]:
    """A weight, the second operand, that does not come straight from its DQ."""
    for layer in view.products():
        weight = layer.operands[1]
        if weight.fixed and not layer.operands[0].fixed and not weight.direct:
            yield layer.node, "another op is between the weight and its DequantizeLinear"


def shared_int8(view: View) -> Iterator[Violation]:
    """Signed activation codes that several nodes read, where the engine wants unsigned ones."""
    wanted = view.engine.activations.get(ir.DataType.INT8)
    if wanted is None or wanted.dtype == ir.DataType.INT8:
        return
    for layer, step in view.activations(ir.DataType.INT8):
        codes = step.node.inputs[0]
        tails = [use.node.outputs[0] for use in codes.uses()] if codes is not None else []
        count = sum(len(tail.uses()) + tail.is_graph_output() for tail in tails)
        if count > 1:
            yield layer.node, f"{count} consumers"


def integer_product(view: View) -> Iterator[Violation]:
    """A layer with both operands quantized."""
    for layer in view.products():
        yield layer.node, layer.node.op_type


def thin_layer(view: View) -> Iterator[Violation]:
    """A quantized layer with fewer channels than an integer kernel needs to pay."""
    for layer in view.products():
        inputs, outputs = _channels(layer)
        thin, fewest = min(inputs, outputs), view.engine.fewest_channels
        if thin < fewest and not (layer.node.op_type in ("Conv", "ConvTranspose") and thin % 8 == 0):
            yield layer.node, f"{inputs} to {outputs} channels"


def _channels(layer: Layer) -> tuple[float, float]:
    """K and N of the layer's weight; infinite when there is no weight or its sizes are not known."""
    value, groups = layer.node.inputs[1], layer.node.attributes.get_int("group", 1)
    sizes = [size for size in value.shape or () if isinstance(size, int)] if value is not None else []
    if not layer.operands[1].fixed or value is None or len(sizes) < 2 or len(sizes) != len(value.shape or ()):
        return inf, inf
    if layer.node.op_type == "Conv":
        return sizes[1] * groups, sizes[0]
    if layer.node.op_type == "ConvTranspose":
        return sizes[0], sizes[1] * groups
    return sizes[-2], sizes[-1]


def _weights(view: View) -> Iterator[tuple[Layer, Step]]:
    for layer in view.products():
        if layer.weight is not None and layer.weight.step is not None:
            yield layer, layer.weight.step


def _is_written(operand: Operand, view: View) -> bool:
    node = maker(operand.step.node.inputs[0], PAIR | {"Relu", "Clip"}) if operand.step else None
    return node is not None and node in view.layers and node.op_type in view.engine.writes_codes


def _lone(view: View) -> Iterator[tuple[Operand, Operand, Layer]]:
    """Layers with one dequantized operand: that one, the float one, the layer."""
    for layer in view.layers.values():
        first, second = layer.operands
        if (first.step is None) != (second.step is None):
            yield (first, second, layer) if first.step else (second, first, layer)
