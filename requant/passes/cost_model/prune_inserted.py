"""Which transforms are not worth their nodes, because the outputs of the model hardly notice what they save.

    U = the sites of least r_i, as many as keep  Σ_U r_i ≤ ε  and  r_U ≤ 1 + ε        r = E[N / N_0]

N_0: the noise of rounding all values, each in its transform; N_i: of those of site i alone, as they are; N_U: of all,
but those in U as they are (`.sensitivity`). E is the mean over outputs and feeds: of shares, as SQNR is a
mean of decibels, so that the feeds that are hit hardest do not decide for all others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ...calib.collect import MOST_KEPT, first_feeds
from ...ir.channels.site import Site
from ...ir.formats import Format
from ...ir.transform.transform import ChannelTransform
from ..select_layers import is_quantized
from .sensitivity import Grid, SensitivityProbe, grid, plain_grids

SHARE = 0.1
"""ε: by how much of itself the noise of rounding data may grow for the nodes that are saved; 0.4 dB."""


MOST_PASSES = 128
"""How often the model runs at most to hear sites alone."""


def prune_inserted(model: ir.Model, solved: Sequence[tuple[Site, ChannelTransform]], chosen: Format) -> frozenset[str]:
    """The names of those sites that had better keep the transform that they have.

    Each costs one to four passes over the first feeds of the calibration, so that only the first of ``solved`` are
    heard where there are many; none is without such feeds, or where data are not coded in int8.
    """
    if not solved or not first_feeds(model) or chosen.activations != ir.DataType.INT8:
        return frozenset()
    listener, plain = SensitivityProbe.of(model, chosen), plain_grids(model, chosen)
    based = {site.name: grids_of(site, transform, chosen) for site, transform in solved}
    based = {name: grids for name, grids in based.items() if grids.keys() <= plain.keys()}
    together: dict[str, Grid] = {**plain, **{value: own for grids in based.values() for value, own in grids.items()}}
    total = listener.noise(together, MOST_KEPT)
    heard = total > 0
    if not heard.any() or not np.isfinite(total).all():  # integers come out, or as many as the rounding wants
        return frozenset()

    def share(grids: Mapping[str, Grid], feeds: int) -> float:
        own = heard[:feeds]
        return float((listener.noise(grids, feeds)[own] / total[:feeds][own]).mean()) if own.any() else np.inf

    heeded = list(based.items())[: MOST_PASSES // listener.enough]
    alone = {name: share({value: plain[value] for value in grids}, listener.enough) for name, grids in heeded}
    order = sorted(alone, key=lambda name: alone[name])
    spared = order[: int(np.searchsorted(np.cumsum([alone[name] for name in order]), SHARE, side="right"))]
    while spared and not share(together | _as_they_are(spared, based, plain), MOST_KEPT) <= 1 + SHARE:
        spared = spared[: len(spared) // 2]
    return frozenset(spared)


def grids_of(site: Site, transform: ChannelTransform, chosen: Format) -> dict[str, Grid]:
    """The grid of each value of the site in its transform."""
    consumers = (consumer for consumer in site.consumers if is_quantized(consumer.linear))
    return {
        consumer.linear.data.name or "": grid(consumer.linear, transform.at(consumer.channels), chosen)
        for consumer in consumers
    }


def _as_they_are(
    names: Sequence[str], based: Mapping[str, Mapping[str, Grid]], plain: Mapping[str, Grid]
) -> dict[str, Grid]:
    return {value: plain[value] for name in names for value in based[name]}
