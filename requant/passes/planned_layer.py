"""Planned layers: linear layers with the quantizers that `PlanQuantizers` gave to their data and weight."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import statistics
from ..calib.statistics import ChannelStatistics
from ..ir.formats import Format
from ..ir.linear import Linear
from ..ir.quantizer import Quantizer, quantizer
from ..ir.transform.edit import graph_of
from .annotations import DYNAMIC, ROW_WEIGHTS


@dataclass(frozen=True)
class PlannedLayer:
    """A linear layer and its plan, read from the annotations once.

    ``data`` is the quantizer of its activation, or None where that is float or ``dynamic``, with a scale that is
    computed at run time. ``row_weights`` are those of the calibration rows where `Gptq` rounded the weight and there is
    a bias to correct.
    """

    linear: Linear
    weight: Quantizer
    data: Quantizer | None
    dynamic: bool
    statistics: ChannelStatistics | None
    row_weights: NDArray[np.float64] | None

    @property
    def op_type(self) -> str:
        """The op of the layer's node."""
        return self.linear.node.op_type

    @property
    def graph(self) -> ir.Graph:
        """The graph or the body that it is in."""
        return graph_of(self.linear.node)

    @property
    def quantizes_data(self) -> bool:
        """True unless the layer is weight-only."""
        return self.dynamic or self.data is not None

    @property
    def format(self) -> Format:
        """The format of data and weight, with the bits of the data where these are quantized by the plan."""
        dtype = ir.DataType.INT8 if self.dynamic else self.data.dtype if self.data is not None else None
        bits = self.weight.bits if self.data is None else self.data.bits
        return Format(dtype, self.weight.dtype, bits, self.weight.block, self.dynamic)


def planned_layer(linear: Linear) -> PlannedLayer | None:
    """Return ``linear`` with its plan, or None where it has none."""
    weight = quantizer(linear.weight)
    if weight is None:
        return None
    dynamic = DYNAMIC.get(linear.node) is not None
    data, row_weights = quantizer(linear.data), ROW_WEIGHTS.get(linear.node)
    return PlannedLayer(linear, weight, data, dynamic, statistics(linear.data), row_weights)
