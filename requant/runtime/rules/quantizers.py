"""What the rules look for in Q and DQ nodes, and in the model as a whole."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from ...ir.constants import array, is_constant
from .parts import Step
from .qdq_graph import View
from .rule import Find, Violation
from .traverse import consumers

_INTEGER_OPS = (
    *("QLinear", "QGemm", "QAttention", "QEmbed", "QOrdered", "QMoE"),
    *("DynamicQuantize", "MatMulInteger", "MatMulNBits", "ConvInteger"),
)
"""How the names of ops on integer codes begin."""


def opset_too_high(view: View) -> Iterator[Violation]:
    """The ONNX opset is newer than the engine."""
    opset = view.model.opset_imports.get("", 0)
    if opset > view.engine.highest_opset:
        yield None, f"opset {opset} is above {view.engine.highest_opset}"


def ir_version_too_high(view: View) -> Iterator[Violation]:
    """The file format is newer than the engine."""
    version, highest = view.model.ir_version, view.engine.highest_ir
    if version is not None and version > highest:
        yield None, f"IR version {version} is above {highest}"


def integer_op(view: View) -> Iterator[Violation]:
    """An op that multiplies codes itself, instead of Q/DQ around a float op."""
    for node in view.model.graph.all_nodes():
        if node.op_type.startswith(_INTEGER_OPS):
            yield node, node.op_type


def nothing_quantized(view: View) -> Iterator[Violation]:
    """A model of which no layer multiplies quantized values."""
    layers = any(layer.steps for layer in view.layers.values())
    if not layers and next(integer_op(view), None) is None:
        yield None, "no layer of the model is quantized"


def nonzero_zero_point(view: View) -> Iterator[Violation]:
    """Codes that are not symmetric about 0."""
    for step in _quantizers(view):
        zero_point = step.zero_point
        if zero_point is not None and (odd := zero_point[zero_point.astype(np.float32) != 0]).size:
            yield step.node, f"zero point {odd.flat[0]}"


def computed_scale(view: View) -> Iterator[Violation]:
    """A scale or zero point that depends on the data."""
    for step in _quantizers(view):
        if any(value is not None and not _known(value) for value in step.node.inputs[1:3]):
            yield step.node, "scale or zero point"


def scale_per_channel(view: View) -> Iterator[Violation]:
    """An activation with several scales."""
    for step in _quantizers(view):
        scale = step.scale
        if not step.fixed and scale is not None and scale.size > 1:
            yield step.node, f"{scale.size} scales"


def scale_not_positive(view: View) -> Iterator[Violation]:
    """A scale that is 0, negative or NaN."""
    yield from _scales(view, lambda scale, smallest: not scale > 0)


def scale_not_normal(view: View) -> Iterator[Violation]:
    """A scale that is infinite, or too small for its type to hold exactly."""
    yield from _scales(view, lambda scale, smallest: scale == np.inf or 0 < scale < smallest)


def dangling_quantize(view: View) -> Iterator[Violation]:
    """Codes that something else than a DQ reads, or nothing."""
    for node, step in view.steps.items():
        found = list(consumers(node.outputs[0])) if step.quantizes else []
        strays = {consumer.op_type if consumer else "an output" for consumer in found if consumer not in view.steps}
        if step.quantizes and (strays or not found):
            yield node, ", ".join(sorted(strays)) or "nothing"


def coded(*types: ir.DataType, fixed: bool | None = None) -> Find:
    """What finds codes of ``types``: all of them, or the weights' (``fixed``), or the activations' (not)."""

    def find(view: View) -> Iterator[Violation]:
        for step in _quantizers(view):
            if step.codes in types and fixed in (None, step.fixed):
                yield step.node, step.codes.name.lower()

    return find


def _quantizers(view: View) -> Iterator[Step]:
    """Every step, but of a Q and its DQ with the same scale and zero point the Q alone."""
    for step in view.steps.values():
        before = None if step.quantizes else view.step_of(step.node.inputs[0])
        if before is None or not same(before, step):
            yield step


def same(first: Step, second: Step) -> bool:
    """Whether two steps have the same scale and zero point."""
    return len(first.node.inputs) == len(second.node.inputs) and all(
        one is other or (one is not None and other is not None and _equal(one, other))
        for one, other in zip(first.node.inputs[1:], second.node.inputs[1:], strict=True)
    )


def _equal(one: ir.Value, other: ir.Value) -> bool:
    first, second = array(one), array(other)
    return first is not None and second is not None and np.array_equal(first, second, equal_nan=True)


def _known(value: ir.Value) -> bool:
    """Whether ``value`` is constant, or a Cast of what is."""
    producer = value.producer()
    cast = producer is not None and producer.op_type == "Cast" and is_constant(producer.inputs[0])
    return is_constant(value) or cast


def _scales(view: View, bad: Callable[[float, float], bool]) -> Iterator[Violation]:
    for step in _quantizers(view):
        value, scale = step.node.inputs[1], step.scale
        if scale is None or value is None:
            continue
        smallest = float(value.dtype.tiny) if value.dtype is not None else 0.0
        for number in scale.astype(np.float32).flat:
            if bad(float(number), smallest):
                yield step.node, f"scale {number}"
                break
