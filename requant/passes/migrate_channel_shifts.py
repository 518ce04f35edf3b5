"""X W + b = (X - t) W + (b + t W): each channel is moved to its centre, and outlier channels are scaled down."""

from dataclasses import dataclass

from .rebase_sites import RebaseSites
from .solvers import OutlierSuppressionPlus, Solver


@dataclass(frozen=True)
class MigrateChannelShifts(RebaseSites):
    """Migrate each channel's centre into the readers' biases, then scale by Outlier Suppression+'s threshold."""

    candidates: tuple[Solver, ...] = (OutlierSuppressionPlus(),)
    explicit: bool = False
