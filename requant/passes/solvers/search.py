"""The grid search that several papers end with."""

from collections.abc import Iterable

from ...ir.rewrite.basis import Basis
from ..loss import loss
from ..observation import Observation


def least(observation: Observation, bases: Iterable[Basis], bits: int) -> Basis:
    """The basis whose readers' outputs, with data and weights in ``bits`` bits, are closest to the float ones."""
    return min(bases, key=lambda basis: loss(observation, basis, bits))
