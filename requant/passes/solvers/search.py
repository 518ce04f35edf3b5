"""The grid search that several papers end with."""

from collections.abc import Iterable, Sequence

from ...ir.formats import Format
from ...ir.transform.transform import ChannelTransform
from ..cost_model.loss import loss
from ..cost_model.observation import Observation


def least(
    observation: Observation, transforms: Iterable[ChannelTransform], formats: Sequence[Format]
) -> ChannelTransform:
    """Return the transform of least loss in the best of ``formats``."""
    return min(transforms, key=lambda transform: loss(observation, transform, formats))
