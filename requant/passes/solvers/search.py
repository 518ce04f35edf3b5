"""The grid search that several papers end with."""

from collections.abc import Iterable, Sequence

from ...ir.formats import Format
from ...ir.transform.transform import Basis
from ..cost_model.loss import loss
from ..cost_model.observation import Observation


def least(observation: Observation, bases: Iterable[Basis], formats: Sequence[Format]) -> Basis:
    """The basis whose readers' outputs, data and weights in the best of ``formats``, are closest to the float ones."""
    return min(bases, key=lambda basis: loss(observation, basis, formats))
