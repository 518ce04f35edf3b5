"""Efforts: how far the search for a plan within limits goes. Each gives the same plan every time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EffortName = Literal["low", "normal", "high"]
"""A key of `EFFORTS`."""


@dataclass(frozen=True)
class Effort:
    """The size of a search.

    Attributes:
        proposals: the most plans that are measured by what the noise of their parts predicts.
        refinements: the most plans that are measured between the best one that holds and those that do not.
        trades: the trades of time for noise by which alternatives for integer Convs are sought.
        finer: the further ones between two of these.
    """

    proposals: int
    refinements: int
    trades: int
    finer: int


EFFORTS: Mapping[EffortName, Effort] = {
    "low": Effort(proposals=3, refinements=0, trades=8, finer=0),
    "normal": Effort(proposals=6, refinements=6, trades=16, finer=8),
    "high": Effort(proposals=12, refinements=24, trades=64, finer=16),
}
