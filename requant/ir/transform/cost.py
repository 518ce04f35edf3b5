"""What a basis costs at inference: the nodes that `requant.ir.transform.apply` would add for it."""

from ..channels.site import Reader, Site
from ..linear import as_linear
from .producers import needs_node
from .restore import steps
from .transform import Basis


def added_nodes(site: Site, basis: Basis) -> int:
    """How many nodes ``rebase(site, basis)`` adds; it returns the same number."""
    return _explicit(site, basis) + sum(step.nodes for step in steps(site.restored, basis)) + _shifting(site, basis)


def _explicit(site: Site, basis: Basis) -> int:
    """A Mul and an Add for each value of an explicit site."""
    if site.writers:
        return 0
    parts = {reader.linear.data: basis.at(reader.channels) for reader in reversed(site.readers)}
    return sum(int(part.scales) + int(part.shifts) for part in parts.values())


def _shifting(site: Site, basis: Basis) -> int:
    """An Add for each writer and each MatMul that has no bias yet and is shifted."""
    if not basis.shifts:
        return 0
    written = {
        writer.source.output for writer in site.writers if basis.at(writer.channels).shifts and needs_node(writer)
    }
    read = {reader.linear.output for reader in site.readers if basis.at(reader.channels).shifts and _needs_bias(reader)}
    return len(written | read)


def _needs_bias(reader: Reader) -> bool:
    linear = as_linear(reader.linear.node)
    return linear is not None and linear.bias is None and linear.node.op_type == "MatMul"
