"""The change of parameters by which a source computes X' = (X - t) / d.

norm        γ' = γ / d      β' = (β - t) / d
linear      W' = W / d      b' = (b - t) / d          along the output channels
embedding   E' = (E - t) / d
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ..channels.embedding import Embedding
from ..channels.site import Producer
from ..constants import constant, lazily
from ..linear import Linear, as_linear
from ..norms import Norm
from .edit import (
    add_to_bias,
    cast_like,
    graph_of,
    insert_after,
    mark_output,
    read_constant,
    replace_constant,
    scale_along,
)
from .transform import ChannelTransform


def transform_producers(producers: Iterable[Producer], transform: ChannelTransform) -> int:
    """Let every producer compute the transformed values; returns the number of nodes added."""
    added, scaled_weights = 0, set[ir.Value]()
    for producer in producers:
        source, part = producer.source, transform.at(producer.channels)
        if part.is_identity:
            continue
        if isinstance(source, Norm):
            added += _transform_norm(source, part)
        elif isinstance(source, Linear):
            added += _transform_linear(source, part, scale_weight=source.weight not in scaled_weights)
            scaled_weights.add(source.weight)
        elif source.table not in scaled_weights:
            _transform_embedding(source, part)
            scaled_weights.add(source.table)
    return added


def needs_node(producer: Producer) -> bool:
    """Tell whether a shift makes ``producer`` add a node: it has no bias and no input for one."""
    source = producer.source
    if isinstance(source, Norm):
        return source.shift is None
    linear = as_linear(source.node)
    return linear is not None and linear.bias is None and linear.node.op_type == "MatMul"


def _transform_norm(norm: Norm, part: ChannelTransform) -> int:
    node, position = norm.scale
    gamma = node.inputs[position]
    new_gamma = read_constant(gamma) / _along(gamma, part.scale)
    replace_constant(norm.scale, cast_like(gamma, new_gamma), f"{norm.output.name}.scale")
    offset = -part.shift / part.scale
    if norm.shift is not None:
        node, position = norm.shift
        beta = node.inputs[position] if len(node.inputs) > position else None
        if beta is None and not part.shifts:
            return 0
        new_beta = offset if beta is None else read_constant(beta) / _along(beta, part.scale) + _along(beta, offset)
        replace_constant(norm.shift, cast_like(gamma, new_beta), f"{norm.output.name}.bias")
        return 0
    if not part.shifts:
        return 0
    shift = constant(graph_of(node), cast_like(gamma, offset), f"{norm.output.name}.shift")
    insert_after(norm.output, "Add", shift)
    return 1


def _along(value: ir.Value | None, data: np.ndarray) -> np.ndarray:
    """Give ``data`` [C] as many axes as ``value`` has, whose last one is the channels."""
    rank = len(value.shape) if value is not None and value.shape is not None else 1
    return data.reshape((1,) * (rank - 1) + (-1,))


def _transform_linear(source: Linear, part: ChannelTransform, *, scale_weight: bool) -> int:
    """Scale the outputs: the weight once, however many nodes share it, and each node's own bias."""
    if scale_weight:
        scale_along(source.weight, source.out_axis, 1 / part.scale)
    linear = as_linear(source.node)  # another site may have added a bias
    assert linear is not None
    if linear.bias is not None:
        node, position = linear.bias
        bias = node.inputs[position]
        new_bias = (read_constant(bias) - part.shift / linear.bias_factor) / part.scale
        replace_constant(linear.bias, cast_like(bias, new_bias), f"{linear.node.outputs[0].name}.bias")
        added = 0
    else:
        added = add_to_bias(linear, -part.shift / part.scale) if part.shifts else 0
    mark_output(source.node)
    return added


def _transform_embedding(source: Embedding, part: ChannelTransform) -> None:
    tensor = source.table.const_value
    assert tensor is not None
    source.table.const_value = lazily(lambda table: (table.astype(np.float64) - part.shift) / part.scale, tensor)
