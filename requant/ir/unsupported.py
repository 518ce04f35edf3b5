"""Linear layers of which `requant.ir.linear` has no view, each with the reason why it stays in float.

A product of two activations, such as Q Kᵀ, is no linear layer.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .canonical.einsum_forms import as_product
from .constants import constant_shape, is_constant, is_repeated
from .linear import FEWEST_CHANNELS, as_linear
from .ops import CONVERSIONS, CONVOLUTIONS, LAYOUT, PRODUCTS, RECURRENT, SELECTION, is_op
from .recurrent import DYNAMIC_LSTM, as_recurrent
from .refusal import Refusal
from .shapes.contrib import CONTRIB
from .traverse import nodes_within, producer

_QUANTIZED = "its weight is quantized already"
_UNFOLDED = "its weight is computed from constants that could not be folded"
_REPEATED = "its input is a constant"
_VECTOR = "its weight is a vector: one output channel is too few for an integer kernel to pay"


@dataclass(frozen=True)
class UnsupportedLayer:
    """A layer that stays in float: its ``node``, its ``weight``, constant or not, and the ``reason``."""

    node: ir.Node
    weight: ir.Value
    reason: str

    @property
    def name(self) -> str:
        """The name in messages: the node's, else its output's."""
        return self.node.name or self.output or self.node.op_type

    @property
    def output(self) -> str:
        """The name of the first output that has one."""
        return next((value.name for value in self.node.outputs if value.name), "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape, with 0 for a dynamic size."""
        return tuple(dim if isinstance(dim, int) else 0 for dim in self.weight.shape or ())

    @property
    def refusal(self) -> Refusal:
        """The layer as an entry of a list of refusals."""
        return Refusal(self.node.op_type, self.output or "?", self.reason, (self.name,))


def find_unsupported(graph: ir.Graph) -> Iterator[UnsupportedLayer]:
    """Yield the linear layers of ``graph`` and of its bodies that `find_linears` does not find; takes linear time."""
    unfolded: set[ir.Value] = set()
    for node in nodes_within(graph):
        if _is_expression(node, unfolded):
            unfolded.update(node.outputs)
        elif as_linear(node) is None and (layer := _layer(node, unfolded)) is not None:
            yield layer


def no_layers(reasons: Iterable[str]) -> str:
    """Say why a graph has nothing to quantize whose linear layers, if any, stay in float for ``reasons``."""
    distinct = "; ".join(dict.fromkeys(reasons))
    if not distinct:
        return "the graph has no MatMul, Gemm or Conv with a constant weight"
    return f"every linear layer stays in float ({distinct})"


def _is_expression(node: ir.Node, unfolded: set[ir.Value]) -> bool:
    """Tell whether ``node`` computes with constants alone."""
    has_body = any(attribute.type in _BODIES for attribute in node.attributes.values())
    constant = all(value is None or is_constant(value) or value in unfolded for value in node.inputs)
    return bool(node.inputs) and constant and not has_body


_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _layer(node: ir.Node, unfolded: set[ir.Value]) -> UnsupportedLayer | None:
    """View ``node`` as a layer that stays in float; None where it is no linear layer."""
    positions, find_reason = _LAYERS.get((node.domain, node.op_type), ((), _one_node))
    for position in positions:
        weight = node.inputs[position] if position < len(node.inputs) else None
        if weight is None or (node.domain == "" and weight.dtype is not None and not weight.dtype.is_floating_point()):
            continue
        constant = is_constant(weight)
        reason = find_reason(node, position) if constant else _computed_weight(node, weight, unfolded)
        if reason is not None:
            return UnsupportedLayer(node, weight, reason)
    return None


def _computed_weight(node: ir.Node, weight: ir.Value, unfolded: set[ir.Value]) -> str | None:
    """Return the reason that lies in a weight that is no constant; None where it is an activation."""
    source = producer(weight, through=LAYOUT | CONVERSIONS)
    if weight in unfolded:
        is_compressed = source is not None and source.op_type == "DequantizeLinear"
        return _QUANTIZED if is_compressed else _UNFOLDED
    table = source.inputs[0] if source is not None and is_op(source, SELECTION) else None
    if table is not None and is_constant(table) and table.shape is not None and len(table.shape) > 2:
        return f"its weight is picked at run time from {table.name!r}"
    return "its weight is computed at run time" if is_op(node, CONVOLUTIONS | RECURRENT | {"DeformConv"}) else None


def _product(node: ir.Node, position: int) -> str | None:
    """Return the reason for a MatMul or Gemm with a constant operand."""
    shape, other = constant_shape(node.inputs[position]), node.inputs[1 - position]
    if len(shape) < 2:
        return _VECTOR if len(shape) == 1 else None
    if position == 1:
        return _REPEATED if other is not None and is_repeated(other) else None
    if min(shape[-2:]) < FEWEST_CHANNELS:
        return f"{shape[-1]} to {shape[-2]} channels are too few for an integer kernel to pay"
    return "its weight is the first operand, and the rank of the second one is not known"


def _convolution(node: ir.Node, position: int) -> str | None:
    """Return the reason for a convolution with a constant weight."""
    if node.inputs[0] is not None and is_repeated(node.inputs[0]):
        return _REPEATED
    return "no engine has an integer ConvTranspose in groups" if node.op_type == "ConvTranspose" else None


def _einsum(node: ir.Node, position: int) -> str | None:
    """Return the reason for an Einsum that is not written as a MatMul."""
    product = as_product(node)
    return product.reason if isinstance(product, Refusal) else None


def _recurrent(node: ir.Node, position: int) -> str:
    """Return the reason for an LSTM, GRU or RNN."""
    view = as_recurrent(node)
    return view.reason if isinstance(view, Refusal) else DYNAMIC_LSTM


def _one_node(node: ir.Node, position: int) -> str:
    """Return the reason for a fused op."""
    return f"engines run {node.op_type} as one node in float"


_FUSED = {
    "DecoderAttention": 2,
    "GatedRelativePositionBias": 3,
    "MoE": 2,
    **dict.fromkeys(
        (
            "AttnLSTM", "Attention", "CausalConvWithState", "ConvTransposeWithDynamicPads",
            "DecoderMaskedSelfAttention", "FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation",
            "GemmFastGelu", "LongformerAttention", "NhwcConv", "NhwcFusedConv", "PackedAttention", "TransposeMatMul",
            "WordConvEmbedding",
        ),
        1,
    ),
}  # fmt: skip
"""Ops of ONNX Runtime that hold a linear layer, where `requant.ir.canonical.contrib` leaves them, and their weight."""

_LAYERS: dict[tuple[str, str], tuple[tuple[int, ...], Callable[[ir.Node, int], str | None]]] = {
    **{("", op_type): ((1, 0), _product) for op_type in PRODUCTS},
    **{("", op_type): ((1,), _convolution) for op_type in CONVOLUTIONS},
    **{("", op_type): ((1,), _recurrent) for op_type in RECURRENT},
    ("", "DeformConv"): ((1,), _one_node),
    ("", "Einsum"): ((1, 0), _einsum),
    **{(CONTRIB, op_type): ((position,), _one_node) for op_type, position in _FUSED.items()},
}
"""The inputs that may be the weight, and a function that returns the reason where it is constant."""
