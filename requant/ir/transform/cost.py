"""The cost of a transform at inference: the nodes that `requant.ir.transform.apply` would add for it."""

from ..channels.site import Consumer, Site
from ..linear import as_linear
from .inverse_edges import inverses
from .producers import needs_node
from .transform import ChannelTransform


def added_nodes(site: Site, transform: ChannelTransform) -> int:
    """Count the nodes that ``apply_transform(site, transform)`` adds; it returns the same number."""
    return (
        _inserted_nodes(site, transform)
        + sum(inverse.nodes for inverse in inverses(site.inverse_edges, transform))
        + _shift_nodes(site, transform)
    )


def _inserted_nodes(site: Site, transform: ChannelTransform) -> int:
    """Count a Mul and an Add for each value of an inserted site."""
    if site.producers:
        return 0
    parts = {consumer.linear.data: transform.at(consumer.channels) for consumer in reversed(site.consumers)}
    return sum(int(part.scales) + int(part.shifts) for part in parts.values())


def _shift_nodes(site: Site, transform: ChannelTransform) -> int:
    """Count an Add for each producer and each MatMul that has no bias yet and is shifted."""
    if not transform.shifts:
        return 0
    produced = {
        producer.source.output
        for producer in site.producers
        if transform.at(producer.channels).shifts and needs_node(producer)
    }
    consumed = {
        consumer.linear.output
        for consumer in site.consumers
        if transform.at(consumer.channels).shifts and _needs_bias(consumer)
    }
    return len(produced | consumed)


def _needs_bias(consumer: Consumer) -> bool:
    linear = as_linear(consumer.linear.node)
    return linear is not None and linear.bias is None and linear.node.op_type == "MatMul"
