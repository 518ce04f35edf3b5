"""Constants in the layout in which their consumers read them, computed lazily.

Transpose(W), Cast(W), Reshape(W) are initializers        a factor, an addend or a gain [1, …, 1, C] is [C]
"""

import logging
from collections.abc import Callable

import onnx_ir as ir

from ..constants import constant, is_constant, lazily
from ..ops import ARITHMETIC, LAYER_NORMS
from ..refusal import declined

_LOGGER = logging.getLogger(__name__)


class FoldWeightLayout(ir.passes.InPlacePass):
    """Fold a Transpose, Cast or Reshape of an initializer into an initializer, computed when it is read."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in graph:
                if node.op_type in _LAYOUT and node.domain == "" and is_constant(node.inputs[0]):
                    modified |= isinstance(graph, ir.Graph) and _fold(graph, node)
        return ir.passes.PassResult(model, modified)


class DropLeadingAxes(ir.passes.InPlacePass):
    """Reshape a constant [1, …, 1, C] to [C] where it broadcasts in the same way."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in graph:
                for position in _BROADCAST.get(node.op_type, ()) if node.domain == "" else ():
                    modified |= isinstance(graph, ir.Graph) and _flatten(graph, node, position)
        return ir.passes.PassResult(model, modified)


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    source, out = node.inputs[0], node.outputs[0]
    if source is None or source.const_value is None:
        return False
    if out.is_graph_output():
        declined(_LOGGER, node, f"{out.name!r} is an output of the graph")
        return False
    if source.const_value.size == 1:
        return False  # a number, which fold_constants handles
    tensor = _LAYOUT[node.op_type](node, source.const_value)
    if tensor is None:
        declined(_LOGGER, node, "its output has no static shape")
        return False
    ir.convenience.replace_all_uses_with(out, constant(graph, tensor, f"{out.name}.folded"))
    graph.remove(node, safe=True)
    return True


def _transposed(node: ir.Node, tensor: ir.TensorProtocol) -> ir.LazyTensor:
    shape = tensor.shape.numpy()
    order = node.attributes.get_ints("perm", tuple(reversed(range(len(shape)))))
    return lazily(lambda weight: weight.transpose(order), tensor, shape=tuple(shape[axis] for axis in order))


def _cast(node: ir.Node, tensor: ir.TensorProtocol) -> ir.LazyTensor:
    return lazily(lambda weight: weight, tensor, dtype=ir.DataType(node.attributes.get_int("to", 0)))


def _reshaped(node: ir.Node, tensor: ir.TensorProtocol) -> ir.LazyTensor | None:
    """Reshape lazily; PaddlePaddle reshapes γ by a slice of x's shape, which is static although it is computed."""
    shape = node.outputs[0].shape
    if shape is None or not shape.is_static():
        return None
    return lazily(lambda weight: weight.reshape(shape.numpy()), tensor, shape=shape.numpy())


_LAYOUT: dict[str, Callable[[ir.Node, ir.TensorProtocol], ir.LazyTensor | None]] = {
    "Transpose": _transposed,
    "Cast": _cast,
    "Reshape": _reshaped,
}

_BROADCAST = {
    **dict.fromkeys(ARITHMETIC, (0, 1)),
    "LayerNormalization": (1, 2),
    **dict.fromkeys(LAYER_NORMS - {"LayerNormalization"}, (1,)),
}
"""The inputs that may be a vector for the last axis."""


def _flatten(graph: ir.Graph, node: ir.Node, position: int) -> bool:
    value = node.inputs[position] if len(node.inputs) > position else None
    data = node.inputs[1 - position] if node.op_type in ARITHMETIC else node.inputs[0]
    if value is None or value.const_value is None or not is_constant(value) or data is None or data.shape is None:
        return False
    shape = value.const_value.shape.numpy()
    if len(shape) < 2 or len(shape) > len(data.shape) or shape[-1] == 1 or set(shape[:-1]) != {1}:
        return False
    tensor = lazily(lambda vector: vector.reshape(-1), value.const_value, shape=(shape[-1],))
    node.replace_input_with(position, constant(graph, tensor, f"{value.name}.flat"))
    return True
