"""Outlier Suppression+: X' = (X - centre) / max(1, max|X - centre| / T): only channels beyond T are scaled."""

from dataclasses import dataclass

import numpy as np

from ...ir.formats import INT8, Format
from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .scale import filled
from .search import least


@dataclass(frozen=True)
class OutlierSuppressionPlus:
    """t_c = (max x_c + min x_c) / 2 and d_c = max(1, max|x_c - t_c| / T), with the threshold T of least loss.

    The authors' code tries 100 thresholds or more, evenly spaced from the largest reach down to 1. Here they are
    ``steps`` in a geometric row from the largest reach to the median one, whatever the unit of X: below that, more than
    outliers would be scaled. Source: Outlier Suppression+ (Wei et al., 2023), sections 4.1 and 4.2.
    """

    steps: int = 8
    formats: tuple[Format, ...] = (INT8,)

    def __str__(self) -> str:
        return "Outlier Suppression+"

    def __call__(self, observation: Observation) -> ChannelTransform:
        reach = observation.reach(observation.centre)
        thresholds = np.geomspace(filled(reach).max(), np.median(filled(reach)), self.steps)
        transforms = (
            ChannelTransform(np.maximum(1.0, reach / threshold), observation.centre) for threshold in thresholds
        )
        return least(observation, transforms, self.formats)
