"""Prune inserted transforms: those whose nodes the outputs of the model do not need.

    U = the sites of least r_i, as many as keep  Σ_U r_i ≤ ε  and  r_U ≤ 1 + ε        r = E[N / N_0]

N_0: the noise of rounding all values, each in its transform; N_i: of those of site i alone, as they are; N_U: of all,
but those in U as they are (`.sensitivity`). E is the mean over outputs and feeds: of shares, as SQNR is a
mean of decibels, so that the feeds that are hit hardest do not decide for all feeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ...calib.collect import MOST_KEPT, first_feeds
from ...ir.channels.site import Site
from ...ir.formats import Format
from ...ir.transform.transform import ChannelTransform
from ..annotations import is_quantized
from .sensitivity import RoundingStep, SensitivityProbe, plain_steps, rounding_step

Steps = Mapping[str, RoundingStep]
"""The rounding step of each value, by its name."""

SHARE = 0.1
"""ε: the share by which the noise of rounding data may grow for the nodes that are saved; 0.4 dB."""

MOST_PASSES = 128
"""The most runs of the model to measure sites alone."""


def prune_inserted(model: ir.Model, pairs: Sequence[tuple[Site, ChannelTransform]], fmt: Format) -> frozenset[str]:
    """Return the names of those sites whose transform does not change the outputs measurably.

    Each costs one to four passes over the first feeds of the calibration, so that only the first of ``pairs`` are
    measured where there are many; none is without such feeds, or where data are not quantized to int8.
    """
    if not pairs or not first_feeds(model) or fmt.activations != ir.DataType.INT8:
        return frozenset()
    probe, base_steps = SensitivityProbe.of(model, fmt), plain_steps(model, fmt)
    by_site = {site.name: site_steps(site, transform, fmt) for site, transform in pairs}
    by_site = {name: steps for name, steps in by_site.items() if steps.keys() <= base_steps.keys()}
    transformed = {**base_steps, **{value: step for steps in by_site.values() for value, step in steps.items()}}
    total = probe.noise(transformed, MOST_KEPT)
    is_noisy = total > 0
    if not is_noisy.any() or not np.isfinite(total).all():  # integers come out, or as many as the rounding wants
        return frozenset()

    def share(steps: Steps, feeds: int) -> float:
        noisy = is_noisy[:feeds]
        return float((probe.noise(steps, feeds)[noisy] / total[:feeds][noisy]).mean()) if noisy.any() else np.inf

    measured = list(by_site.items())[: MOST_PASSES // probe.enough]
    shares = {name: share({value: base_steps[value] for value in steps}, probe.enough) for name, steps in measured}
    enclosed = {site.name for site, _ in pairs if _is_enclosed(site, model)}  # no noise: a body that was not run
    order = sorted((name for name in shares if shares[name] or name not in enclosed), key=lambda name: shares[name])
    names = order[: int(np.searchsorted(np.cumsum([shares[name] for name in order]), SHARE, side="right"))]
    while names and not share(transformed | _plain_steps_of(names, by_site, base_steps), MOST_KEPT) <= 1 + SHARE:
        names = names[: len(names) // 2]
    return frozenset(names)


def site_steps(site: Site, transform: ChannelTransform, fmt: Format) -> dict[str, RoundingStep]:
    """Return the rounding step of each value of the site after ``transform``."""
    consumers = (consumer for consumer in site.consumers if is_quantized(consumer.linear))
    return {
        consumer.linear.data.name or "": rounding_step(consumer.linear, transform.at(consumer.channels), fmt)
        for consumer in consumers
    }


def _is_enclosed(site: Site, model: ir.Model) -> bool:
    return any(consumer.linear.node.graph is not model.graph for consumer in site.consumers)


def _plain_steps_of(names: Sequence[str], by_site: Mapping[str, Steps], base_steps: Steps) -> dict[str, RoundingStep]:
    """Return the steps of the values of the sites called ``names``, without their transforms."""
    return {value: base_steps[value] for name in names for value in by_site[name]}
