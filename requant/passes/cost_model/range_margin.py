"""The margin of a value's range over that of the calibration data (`requant.passes.cost_model.clipping`)."""

from collections.abc import Sequence

from ...calib.ranges import Interval
from ...ir.formats import Format
from ...ir.linear import Linear
from ..annotations import MARGIN
from .loss import part_loss
from .part import part_of


def widened(interval: Interval, consumers: Sequence[Linear], fmt: Format) -> Interval:
    """Return the interval with the margin of the value's transform, or with the best one for its ``consumers``."""
    margin = MARGIN.get(consumers[0].data)
    if margin is None:
        part = part_of(consumers)
        margin = 1.0 if part is None else part_loss(part, fmt)[1]
    return interval[0] * margin, interval[1] * margin
