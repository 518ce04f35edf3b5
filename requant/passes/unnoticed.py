"""Which bases are not worth their nodes, because the outputs of the model hardly notice what they save.

    U = the sites of least N_i, as many as keep  Σ_U N_i ≤ ε N  and  N_U ≤ (1 + ε) N

N_i: the noise of rounding the values of site i as they are; N: of all values, each in its basis; N_U: the same, but
those in U as they are (`requant.passes.sensitivity`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ..calib.collect import first_feeds
from ..ir.rewrite.basis import Basis
from ..ir.sites.site import Site
from ..runtime.formats import Format
from .choose_layers import is_quantized
from .sensitivity import Grid, grid, listen, plain_grids

SHARE = 0.05
"""ε: by how much of itself the noise at the outputs may grow for the nodes that are saved; 0.2 dB."""


def unnoticed(model: ir.Model, solved: Sequence[tuple[Site, Basis]], chosen: Format) -> frozenset[str]:
    """The names of those sites that had better keep the basis that they have.

    Costs a pass over the first feeds of the calibration for each site, and a few more; none without such feeds.
    """
    if not solved or not first_feeds(model) or chosen.activations is None:
        return frozenset()
    noise, plain = listen(model, chosen), plain_grids(model, chosen)
    based = {site.name: _grids(site, basis, chosen) for site, basis in solved}
    based = {name: grids for name, grids in based.items() if grids.keys() <= plain.keys()}
    together: dict[str, Grid] = {**plain, **{value: own for grids in based.values() for value, own in grids.items()}}
    total = noise(together)
    if not 0 < total < np.inf:  # only integers come out, or even the shape of an output depends on the rounding
        return frozenset()
    alone = {name: noise({value: plain[value] for value in grids}) for name, grids in based.items()}
    order = sorted(alone, key=lambda name: alone[name])
    spared = order[: int(np.searchsorted(np.cumsum([alone[name] for name in order]), SHARE * total, side="right"))]
    while spared and not noise(together | _as_they_are(spared, based, plain)) <= (1 + SHARE) * total:
        spared = spared[: len(spared) // 2]
    return frozenset(spared)


def _grids(site: Site, basis: Basis, chosen: Format) -> dict[str, Grid]:
    """The grid of each value of the site in its basis."""
    readers = (reader for reader in site.readers if is_quantized(reader.linear))
    return {reader.linear.data.name or "": grid(reader.linear, basis.at(reader.channels), chosen) for reader in readers}


def _as_they_are(
    names: Sequence[str], based: Mapping[str, Mapping[str, Grid]], plain: Mapping[str, Grid]
) -> dict[str, Grid]:
    return {value: plain[value] for name in names for value in based[name]}
