"""The margin of a value's range over what calibration has shown (`requant.passes.cost_model.clipping`)."""

from collections.abc import Sequence

import onnx_ir as ir

from ...calib.ranges import Interval
from ...ir.formats import Format
from ...ir.linear import Linear
from .loss import part_loss
from .observation import part_of

MARGIN = "requant.margin"
"""Key in `Value.meta` of the margin that the channel transform of a value was chosen with."""


def note_margin(value: ir.Value | None, margin: float) -> None:
    """Keep the margin that the transform of ``value`` was chosen with."""
    if value is not None:
        value.meta[MARGIN] = margin


def widened(interval: Interval, consumers: Sequence[Linear], chosen: Format) -> Interval:
    """The interval with the margin of the value's transform, or with the best one for its ``consumers``."""
    margin = consumers[0].data.meta.get(MARGIN)
    if not isinstance(margin, float):
        part = part_of(consumers)
        margin = 1.0 if part is None else part_loss(part, chosen)[1]
    return interval[0] * margin, interval[1] * margin
