"""round(x_c / s_c) + z_c = round(x'_c / s̃) + z̃   with   x'_c = (x_c + s_c (z_c - z̃)) · s̃ / s_c."""

from dataclasses import dataclass

from .rebase_sites import RebaseSites
from .solvers import RepQ, Solver


@dataclass(frozen=True)
class ReparameterizeScales(RebaseSites):
    """Turn the per-channel asymmetric quantizer of each site into a per-tensor one with zero point 0 (RepQ-ViT)."""

    candidates: tuple[Solver, ...] = (RepQ(1.0),)
    explicit: bool = False
