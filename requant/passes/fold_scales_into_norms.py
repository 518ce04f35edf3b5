"""LayerNorm(x; γ, β) / d = LayerNorm(x; γ/d, β/d), and the readers' weights take d back."""

from dataclasses import dataclass

from .rebase_sites import RebaseSites
from .solvers import SmoothQuant, Solver


@dataclass(frozen=True)
class FoldScalesIntoNorms(RebaseSites):
    """Fold a per-channel scale into every norm: SmoothQuant's factor with α = 0.5 unless told otherwise."""

    candidates: tuple[Solver, ...] = (SmoothQuant(0.5),)
    explicit: bool = False
