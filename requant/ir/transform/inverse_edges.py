"""The inverse transform X = X' d + t for inputs that need a transformed value as it was.

Where such an input is a sum with the output of a linear layer, the layer's bias takes t, and one Mul is all that is
left:

    (X' d + t) + (A W + b) = X' d + (A W + (b + t))
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..channels.layout import along_axis
from ..channels.site import InverseEdge
from ..linear import Linear, as_linear
from ..traverse import Slot
from .edit import add_to_bias, affine, mark_output
from .transform import ChannelTransform


@dataclass(frozen=True)
class Inverse:
    """A value whose inverse transform some inputs get; ``bias`` is the linear layer whose bias takes the shift."""

    value: ir.Value
    slots: tuple[Slot, ...]
    transform: ChannelTransform
    bias: Linear | None

    @property
    def nodes(self) -> int:
        """The number of nodes that it adds."""
        return int(self.transform.scales) + int(self.transform.shifts and self.bias is None)


def inverses(edges: tuple[InverseEdge, ...], transform: ChannelTransform) -> Iterator[Inverse]:
    """Yield the inverses that ``edges`` need; edges that read one value share one, unless a bias takes the shift."""
    slots: dict[tuple[ir.Value, bytes], list[Slot]] = {}
    parts: dict[tuple[ir.Value, bytes], ChannelTransform] = {}
    for edge in edges:
        (node, position), part = edge.slot, transform.at(edge.channels)
        value = node.inputs[position]
        assert value is not None
        if part.is_identity:
            continue
        if part.shifts and (linear := _added_linear(edge)) is not None:
            yield Inverse(value, (edge.slot,), part, linear)
        else:
            slots.setdefault((value, edge.channels.tobytes()), []).append(edge.slot)
            parts[value, edge.channels.tobytes()] = part
    for key, edge_slots in slots.items():
        yield Inverse(key[0], tuple(edge_slots), parts[key], None)


def apply_inverse(edges: tuple[InverseEdge, ...], transform: ChannelTransform) -> int:
    """Give every edge the value as it was; returns the number of nodes added."""
    added = 0
    for inverse in list(inverses(edges, transform)):
        node, shift = inverse.slots[0][0], inverse.transform.shift
        if inverse.bias is not None:
            added += add_to_bias(inverse.bias, shift.reshape(-1))
            mark_output(inverse.bias.node)
            shift = np.zeros_like(shift)
        original, nodes = affine(node, inverse.value, inverse.transform.scale, shift, "restore")
        added += nodes
        for consumer, position in inverse.slots:
            consumer.replace_input_with(position, original)
    return added


def _added_linear(edge: InverseEdge) -> Linear | None:
    """Return the linear layer with a bias whose output is added to the edge, and used nowhere else."""
    node, position = edge.slot
    other = node.inputs[1 - position] if node.op_type == "Add" and node.domain == "" else None
    producer = other.producer() if other is not None else None
    if other is None or producer is None or len(other.uses()) != 1 or other.is_graph_output():
        return None
    candidates = map(as_linear, (producer, *_addends(producer)))
    linear = next((candidate for candidate in candidates if candidate is not None and candidate.output is other), None)
    if linear is None or linear.data_axis != -1 or linear.bias is None:
        return None
    along = along_axis(edge.channels, -1)
    return linear if along is not None and len(along) == linear.outputs else None


def _addends(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes whose outputs ``node`` adds, if it is an Add."""
    for value in node.inputs:
        if node.op_type == "Add" and value is not None and (producer := value.producer()) is not None:
            yield producer
