"""A quantized graph as the rules see it: its Q and DQ nodes and its linear layers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from ...errors import SourceError
from ...ir.constants import is_constant
from ...ir.load import reason
from ...ir.schema import require_schemas
from ..targets import Target
from .parts import Layer, Operand, Step
from .traverse import MOVERS, name

_SAME_AXES = frozenset({"Identity", "Cast"})

_OUT_AXIS: dict[str, Callable[[ir.Node, int, int], int]] = {
    "MatMul": lambda node, position, rank: rank - 2 + position,
    "Gemm": lambda node, position, rank: position ^ node.attributes.get_int(("transA", "transB")[position], 0),
    "Conv": lambda node, position, rank: 0,
    "ConvTranspose": lambda node, position, rank: 1,
}
"""Of each linear op, the axis of the operand at ``position`` that is not contracted."""

_PREPARE = ir.passes.Sequential(common.InlinePass(), common.ShapeInferencePass(strict_mode=False))


@dataclass(frozen=True)
class View:
    """A model, the engine it is meant for, and its steps and layers by node, in graph order.

    ``fixed`` has the values that are known before the first run, but for the constants themselves.
    """

    model: ir.Model
    engine: Target
    steps: dict[ir.Node, Step]
    layers: dict[ir.Node, Layer]
    fixed: set[ir.Value]

    def products(self, *op_types: str) -> Iterator[Layer]:
        """The layers, of ``op_types`` if given, of which both operands come from a DQ."""
        for layer in self.layers.values():
            if len(layer.steps) == 2 and layer.node.op_type in (op_types or _OUT_AXIS):
                yield layer

    def activations(self, codes: ir.DataType) -> Iterator[tuple[Layer, Step]]:
        """The layers of `products` with each activation in ``codes`` that they read."""
        for layer in self.products():
            for operand in layer.operands:
                if operand.step is not None and not operand.fixed and operand.step.codes == codes:
                    yield layer, operand.step

    def step_of(self, value: ir.Value | None) -> Step | None:
        """The Q or DQ that makes ``value``."""
        node = value.producer() if value is not None else None
        return self.steps.get(node) if node is not None else None

    def label(self, node: ir.Node | None) -> str:
        """What findings call ``node``; None stands for the model."""
        return name(node) if node is not None else self.model.graph.name or "graph"

    def known(self, value: ir.Value | None) -> bool:
        """Whether ``value`` is known before the first run."""
        return is_constant(value) or value in self.fixed


def view(model: ir.Model, engine: Target) -> View:
    """``model`` as the rules see it: a copy that shares the weights, functions inlined, shapes inferred.

    Raises:
        SourceError: a function calls itself, or a node is not what its operator takes.
    """
    try:
        copy = _PREPARE(model.clone()).model
    except ir.passes.PassError as error:
        raise SourceError(f"the functions of the model cannot be written out: {reason(error)}") from error
    require_schemas(copy, "the model")  # a function may hand on an input that its caller left out
    return look(copy, engine)


def look(model: ir.Model, engine: Target) -> View:
    """`view` of a model that is such a copy already."""
    seen = View(model, engine, {}, {}, set())
    for node in model.graph.all_nodes():
        known = _follows(node, seen)
        if node.op_type == "Constant":
            node.outputs[0].const_value = _held(node)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.inputs) > 1:
            seen.steps[node] = Step(node, _codes(node), known)
        elif node.op_type in _OUT_AXIS and len(node.inputs) > 1:
            first, second = (_operand(node, position, seen) for position in (0, 1))
            if not (first.fixed and second.fixed):
                seen.layers[node] = Layer(node, (first, second))
        if known:
            seen.fixed.update(node.outputs)
    return seen


def _held(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor in a Constant node; `onnx_ir.convenience.get_const_tensor` would rename the caller's."""
    attribute = next(iter(node.attributes.values()), None)
    if attribute is None or attribute.is_ref() or attribute.type == ir.AttributeType.SPARSE_TENSOR:
        return None
    return attribute.as_tensor() if attribute.type == ir.AttributeType.TENSOR else ir.tensor(attribute.value)


def _follows(node: ir.Node, seen: View) -> bool:
    """Whether ``node`` only converts or moves what is known before the first run, if to a shape that is not."""
    converts = node.op_type in MOVERS or node.op_type in ("QuantizeLinear", "DequantizeLinear")
    data = node.inputs[:1] if node.op_type in ("Reshape", "Expand") else node.inputs
    return converts and bool(data) and all(value is None or seen.known(value) for value in data)


def _codes(node: ir.Node) -> ir.DataType:
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    coded = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    known = (value.dtype for value in (zero_point, coded) if value is not None)
    return next((dtype for dtype in known if dtype is not None), ir.DataType.UINT8)


def _operand(node: ir.Node, position: int, seen: View) -> Operand:
    value, path = node.inputs[position], list[ir.Node]()
    known = seen.known(value)
    while value is not None and (mover := value.producer()) is not None and mover.op_type in MOVERS:
        path.append(mover)
        value = next(iter(mover.inputs), None)
    step = seen.step_of(value)
    step = step if step is not None and not step.quantizes else None
    rank = len(value.shape) if value is not None and value.shape is not None else 0
    axis = _axis(step, path, rank) if step else None
    return Operand(step, known, not path, axis, _OUT_AXIS[node.op_type](node, position, rank))


def _axis(step: Step, path: list[ir.Node], rank: int) -> int | None:
    """The axis of the scale after the movers of ``path``, of which the last comes first."""
    scale = step.scale
    if scale is None or scale.ndim != 1 or scale.size == 1 or rank == 0:
        return None
    axis: int = step.node.attributes.get_int("axis", 1) % rank
    for mover in reversed(path):
        if mover.op_type == "Transpose":
            order = list(mover.attributes.get_ints("perm", tuple(range(rank))[::-1]))
            axis = order.index(axis) if axis in order else -1
        elif mover.op_type not in _SAME_AXES:
            axis = -1
        if axis < 0:
            return None
    return axis
