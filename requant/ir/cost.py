"""What a basis costs at inference: the nodes that `requant.ir.rebase` would add for it."""

import numpy as np

from .rebase import Basis
from .sites import Site


def added_nodes(site: Site, basis: Basis) -> int:
    """How many nodes ``rebase(site, basis)`` adds; it returns the same number."""
    explicit = 0 if site.norms else int(np.any(basis.scale != 1)) + int(basis.shifts)
    return explicit + _restoring(site, basis) + (_shifting(site) if basis.shifts else 0)


def _restoring(site: Site, basis: Basis) -> int:
    """A Mul where the scale is not 1 and an Add where the shift is not 0, once for each value to restore."""
    values = {edge.slot[0].inputs[edge.slot[1]]: edge.channels for edge in site.restored}
    return sum(
        int(np.any(basis.scale[channels] != 1)) + int(np.any(basis.shift[channels] != 0))
        for channels in values.values()
    )


def _shifting(site: Site) -> int:
    """An Add after each norm and each MatMul that has no bias yet."""
    norms = sum(norm.shift is None for norm in site.norms)
    return norms + sum(r.linear.bias is None and r.linear.node.op_type == "MatMul" for r in site.readers)
