"""A quantized graph as the rules see it: its Q and DQ nodes and its linear layers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir
from onnx_ir.passes import common

from ...errors import SourceError
from ...ir.constants import is_constant
from ...ir.formats import ActivationType
from ...ir.load import reason
from ...ir.ops import CONVERSIONS, QUANTIZERS, SHAPED
from ...ir.quantized import integer_type
from ...ir.schema import require_schemas
from .qdq_nodes import Layer, ProductOperand, QdqNode
from .traverse import MOVERS, label

_OUT_AXIS: dict[str, Callable[[ir.Node, int, int], int]] = {
    "MatMul": lambda node, position, rank: rank - 2 + position,
    "Gemm": lambda node, position, rank: position ^ node.attributes.get_int(("transA", "transB")[position], 0),
    "Conv": lambda node, position, rank: 0,
    "ConvTranspose": lambda node, position, rank: 1,
}
"""Of each linear op, the axis of the operand at ``position`` that is not contracted."""

_PREPARE = ir.passes.Sequential(common.InlinePass(), common.ShapeInferencePass(strict_mode=False))


class EngineFacts(Protocol):
    """The facts of a `Target` that rules and fixes ask for; see there."""

    @property
    def name(self) -> str: ...
    @property
    def activations(self) -> Mapping[ir.DataType, ActivationType]: ...
    @property
    def fewest_channels(self) -> int: ...
    @property
    def integer_outputs(self) -> frozenset[str]: ...
    @property
    def highest_opset(self) -> int: ...
    @property
    def highest_ir(self) -> int: ...


@dataclass(frozen=True)
class QdqGraph:
    """A model, the target it is meant for, and its Q/DQ nodes and linear layers by node, in graph order.

    ``constants`` holds the values that are computed from constants alone, without these.
    """

    model: ir.Model
    target: EngineFacts
    nodes: dict[ir.Node, QdqNode]
    layers: dict[ir.Node, Layer]
    constants: set[ir.Value]

    @property
    def opset(self) -> int:
        """The version of the ONNX operators."""
        return self.model.opset_imports.get("", 0)

    def products(self, *op_types: str) -> Iterator[Layer]:
        """Iterate over the layers, of ``op_types`` if given, whose operands both come from a DQ."""
        for layer in self.layers.values():
            if len(layer.dequantizers) == 2 and layer.node.op_type in (op_types or _OUT_AXIS):
                yield layer

    def activations(self, dtype: ir.DataType) -> Iterator[tuple[Layer, QdqNode]]:
        """Iterate over the layers of `products` with the DQ of each activation in ``dtype`` that they read."""
        for layer in self.products():
            for operand in layer.operands:
                dequantizer = operand.dequantizer
                if dequantizer is not None and not operand.constant and dequantizer.dtype == dtype:
                    yield layer, dequantizer

    def producer(self, value: ir.Value | None) -> QdqNode | None:
        """Return the Q or DQ that computes ``value``; None where another node does."""
        node = value.producer() if value is not None else None
        return self.nodes.get(node) if node is not None else None

    def label(self, node: ir.Node | None) -> str:
        """Return the name that findings use for ``node``; None stands for the model."""
        return label(node) if node is not None else self.model.graph.name or "graph"

    def is_constant(self, value: ir.Value | None) -> bool:
        """Tell whether ``value`` is independent of the model's inputs."""
        return is_constant(value) or value in self.constants


def qdq_graph(model: ir.Model, target: EngineFacts) -> QdqGraph:
    """Read a copy of ``model`` that shares the weights, with functions inlined and shapes inferred.

    Raises:
        SourceError: a function calls itself, or a node is not what its operator takes.
    """
    try:
        copy = _PREPARE(model.clone()).model
    except ir.passes.PassError as error:
        raise SourceError(f"the functions of the model cannot be inlined: {reason(error)}") from error
    require_schemas(copy, "the model")  # a function may hand on an input that its caller left out
    return scan(copy, target)


def scan(model: ir.Model, target: EngineFacts) -> QdqGraph:
    """Read a model that is a copy made by `qdq_graph` already."""
    graph = QdqGraph(model, target, {}, {}, set())
    for node in model.graph.all_nodes():
        constant = _is_constant(node, graph)
        if node.op_type == "Constant":
            node.outputs[0].const_value = _tensor(node)
        if node.op_type in QUANTIZERS and len(node.inputs) > 1:
            graph.nodes[node] = QdqNode(node, integer_type(node) or ir.DataType.UINT8, constant)
        elif node.op_type in _OUT_AXIS and len(node.inputs) > 1:
            first, second = (_operand(node, position, graph) for position in (0, 1))
            if not (first.constant and second.constant):
                graph.layers[node] = Layer(node, (first, second))
        if constant:
            graph.constants.update(node.outputs)
    return graph


def _tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """Return the tensor in a Constant node; `onnx_ir.convenience.get_const_tensor` would rename the caller's."""
    attribute = next(iter(node.attributes.values()), None)
    if attribute is None or attribute.is_ref() or attribute.type == ir.AttributeType.SPARSE_TENSOR:
        return None
    return attribute.as_tensor() if attribute.type == ir.AttributeType.TENSOR else ir.tensor(attribute.value)


def _is_constant(node: ir.Node, graph: QdqGraph) -> bool:
    """Tell whether ``node`` only converts or moves constants, if to a shape that is none."""
    converts = node.op_type in MOVERS or node.op_type in QUANTIZERS
    data = node.inputs[:1] if node.op_type in SHAPED else node.inputs
    return converts and bool(data) and all(value is None or graph.is_constant(value) for value in data)


def _operand(node: ir.Node, position: int, graph: QdqGraph) -> ProductOperand:
    value, path = node.inputs[position], list[ir.Node]()
    constant = graph.is_constant(value)
    while value is not None and (mover := value.producer()) is not None and mover.op_type in MOVERS:
        path.append(mover)
        value = next(iter(mover.inputs), None)
    qdq = graph.producer(value)
    dequantizer = qdq if qdq is not None and not qdq.quantizes else None
    rank = len(value.shape) if value is not None and value.shape is not None else 0
    axis = _axis(dequantizer, path, rank) if dequantizer else None
    return ProductOperand(dequantizer, constant, not path, axis, _OUT_AXIS[node.op_type](node, position, rank))


def _axis(dequantizer: QdqNode, path: list[ir.Node], rank: int) -> int | None:
    """Return the axis of the scale after the movers of ``path``, of which the last comes first."""
    scale = dequantizer.scale
    if scale is None or scale.ndim != 1 or scale.size == 1 or rank == 0:
        return None
    axis: int = dequantizer.node.attributes.get_int("axis", 1) % rank
    for mover in reversed(path):
        if mover.op_type == "Transpose":
            order = list(mover.attributes.get_ints("perm", tuple(range(rank))[::-1]))
            axis = order.index(axis) if axis in order else -1
        elif mover.op_type not in CONVERSIONS:
            axis = -1
        if axis < 0:
            return None
    return axis
