"""Reparameterize scales: the integers of a per-channel quantizer are those of a per-tensor one after a transform.

round(x_c / s_c) + z_c = round(x'_c / s̃) + z̃   with   x'_c = (x_c + s_c (z_c - z̃)) · s̃ / s_c
"""

from dataclasses import dataclass

from ..ir.channels.find import Site
from ..ir.formats import INT8, Format
from .channel_pass import ChannelPass
from .cost_model.loss import Assessment, assess
from .cost_model.observation import Observation
from .solvers import RepQ, Solver


@dataclass(frozen=True)
class ReparameterizeScales(ChannelPass):
    """A pass from per-channel asymmetric quantizers of sites to per-tensor ones with zero point 0 (RepQ-ViT).

    Attributes:
        alpha: strength; 1 moves all of the channels' unevenness into the weights, 0 none.
        formats: the formats of data and weights; the first one's width is the quantizer's.
    """

    alpha: float = 1.0
    formats: tuple[Format, ...] = (INT8,)

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """Return the solver of the per-channel quantizer as a transform, and its assessment."""
        solver = RepQ(self.alpha, self.formats[0].bits)
        return solver, assess(observation, solver, self.formats)
