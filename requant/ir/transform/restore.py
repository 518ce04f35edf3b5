"""Handing X = X' d + t to those that read a transformed value as it is.

Where that is a sum with what a linear layer computes, the layer's bias takes t, and one Mul is all that is left:

    (X' d + t) + (A W + b) = X' d + (A W + (b + t))
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..channels.layout import along_axis
from ..channels.site import InverseEdge
from ..linear import Linear, as_linear
from ..norms import Slot
from .edit import add_to_bias, affine, mark_output
from .transform import ChannelTransform


@dataclass(frozen=True)
class Step:
    """A value to restore for some inputs of other nodes; ``bias`` is the linear layer whose bias takes the shift."""

    value: ir.Value
    slots: tuple[Slot, ...]
    transform: ChannelTransform
    bias: Linear | None

    @property
    def nodes(self) -> int:
        """How many nodes it takes."""
        return int(self.transform.scales) + int(self.transform.shifts and self.bias is None)


def steps(edges: tuple[InverseEdge, ...], transform: ChannelTransform) -> Iterator[Step]:
    """What restoring ``edges`` takes; edges that read one value share its copy, unless a bias takes the shift."""
    shared: dict[tuple[ir.Value, bytes], list[Slot]] = {}
    parts: dict[tuple[ir.Value, bytes], ChannelTransform] = {}
    for edge in edges:
        (node, position), part = edge.slot, transform.at(edge.channels)
        value = node.inputs[position]
        assert value is not None
        if part.is_identity:
            continue
        if part.shifts and (linear := _beside(edge)) is not None:
            yield Step(value, (edge.slot,), part, linear)
        else:
            shared.setdefault((value, edge.channels.tobytes()), []).append(edge.slot)
            parts[value, edge.channels.tobytes()] = part
    for (value, channels), slots in shared.items():
        yield Step(value, tuple(slots), parts[value, channels], None)


def restore(edges: tuple[InverseEdge, ...], transform: ChannelTransform) -> int:
    """Hand every edge the value as it was; returns the number of nodes added."""
    added = 0
    for step in list(steps(edges, transform)):
        node, shift = step.slots[0][0], step.transform.shift
        if step.bias is not None:
            added += add_to_bias(step.bias, shift.reshape(-1))
            mark_output(step.bias.node)
            shift = np.zeros_like(shift)
        copy, nodes = affine(node, step.value, step.transform.scale, shift, "restore")
        added += nodes
        for owner, position in step.slots:
            owner.replace_input_with(position, copy)
    return added


def _beside(edge: InverseEdge) -> Linear | None:
    """The linear layer with a bias whose output is added to the edge, and to nothing else."""
    node, position = edge.slot
    other = node.inputs[1 - position] if node.op_type == "Add" and node.domain == "" else None
    producer = other.producer() if other is not None else None
    if other is None or producer is None or len(other.uses()) != 1 or other.is_graph_output():
        return None
    candidates = [as_linear(producer), *(as_linear(up) for up in _makers(producer))]
    linear = next((found for found in candidates if found is not None and found.output is other), None)
    if linear is None or linear.data_axis != -1 or linear.bias is None:
        return None
    along = along_axis(edge.channels, -1)
    return linear if along is not None and len(along) == linear.outputs else None


def _makers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        if node.op_type == "Add" and value is not None and (producer := value.producer()) is not None:
            yield producer
