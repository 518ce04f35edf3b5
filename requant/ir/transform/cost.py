"""What a transform costs at inference: the nodes that `requant.ir.transform.apply` would add for it."""

from ..channels.site import Consumer, Site
from ..linear import as_linear
from .producers import needs_node
from .restore import steps
from .transform import ChannelTransform


def added_nodes(site: Site, transform: ChannelTransform) -> int:
    """How many nodes ``apply_transform(site, transform)`` adds; it returns the same number."""
    return (
        _explicit(site, transform)
        + sum(step.nodes for step in steps(site.restored, transform))
        + _shifting(site, transform)
    )


def _explicit(site: Site, transform: ChannelTransform) -> int:
    """A Mul and an Add for each value of an explicit site."""
    if site.producers:
        return 0
    parts = {consumer.linear.data: transform.at(consumer.channels) for consumer in reversed(site.consumers)}
    return sum(int(part.scales) + int(part.shifts) for part in parts.values())


def _shifting(site: Site, transform: ChannelTransform) -> int:
    """An Add for each producer and each MatMul that has no bias yet and is shifted."""
    if not transform.shifts:
        return 0
    written = {
        producer.source.output
        for producer in site.producers
        if transform.at(producer.channels).shifts and needs_node(producer)
    }
    read = {
        consumer.linear.output
        for consumer in site.consumers
        if transform.at(consumer.channels).shifts and _needs_bias(consumer)
    }
    return len(written | read)


def _needs_bias(consumer: Consumer) -> bool:
    linear = as_linear(consumer.linear.node)
    return linear is not None and linear.bias is None and linear.node.op_type == "MatMul"
