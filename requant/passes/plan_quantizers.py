"""The plan: which values get which quantizer, whatever the engine.

x ≈ s · clip(round(x / s), -128, 127)      one s for an activation, one for each output channel of a weight
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ..calib.collect import is_calibrated, statistics
from ..calib.ranges import RANGES
from ..calib.rows import unmeasured
from ..calib.statistics import ChannelStatistics
from ..ir.conv_outputs import activated
from ..ir.formats import INT8, Format
from ..ir.linear import Linear, find_linears
from ..ir.quantizer import QUANTIZER, Quantizer, quantizer
from .cost_model.range_margin import widened
from .magnitudes import without_codes
from .scale_limits import no_range, no_scale
from .scales import activation_quantizer, weight_quantizer
from .select_format import select_format
from .select_layers import KEPT

DYNAMIC = "requant.dynamic"
"""Key in `Node.meta` of a linear node whose data get their scale at run time."""

_OVERFLOW = 1e15
"""Magnitudes from which on squares summed over a layer reach the end of float32, whose numbers end at 3e38."""


@dataclass(frozen=True)
class PlanQuantizers(ir.passes.InPlacePass):
    """Give a quantizer to the data and the weight of every linear layer, or note why it stays in float.

    What a Conv writes gets one too where an engine may have to round it and no layer reads it.

    Layers that `SelectLayers` keeps are left alone. Needs statistics (`requant.calib.collect`) for every format but
    those whose data stay in float or are scaled at run time.

    Attributes:
        formats: what data and weights are coded in; of several, each value takes the one of least loss.
        ranges: how activations' ranges are estimated, a key of `requant.calib.ranges.RANGES`.
        weight_bits: the most that int8 codes of weights may have, for engines that saturate beyond.
    """

    formats: tuple[Format, ...] = (INT8,)
    ranges: str = "minmax"
    weight_bits: int = 8

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model was not calibrated."""
        if any(candidate.static for candidate in self.formats) and not is_calibrated(model):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        planned = False
        for consumers in _by_data(model.graph):
            chosen = select_format(consumers, self.formats)
            for linear in consumers:
                planned |= self._plan(linear, chosen, consumers)
        for linear in find_linears(model.graph):
            if linear.node.op_type == "Conv":
                self._plan_output(linear)
        return ir.passes.PassResult(model, planned)

    def _plan(self, linear: Linear, chosen: Format, consumers: Sequence[Linear]) -> bool:
        seen = statistics(linear.data)
        if reason := linear.node.meta.get(KEPT) or _reason(linear, seen, chosen):
            linear.node.meta[KEPT] = reason
            return False
        data = quantizer(linear.data)
        if chosen.static and seen is not None and data is None:
            data = self._of_data(seen, consumers, chosen)
        weight = weight_quantizer(linear, replace(chosen, bits=min(chosen.bits, self.weight_bits)))
        if reason := no_scale(linear, data, weight):
            linear.node.meta[KEPT] = reason
            return False
        if data is not None:
            linear.data.meta[QUANTIZER] = data
        elif chosen.dynamic:
            linear.node.meta[DYNAMIC] = True
        linear.weight.meta[QUANTIZER] = weight
        return True

    def _of_data(self, seen: ChannelStatistics, consumers: Sequence[Linear], chosen: Format) -> Quantizer:
        interval = RANGES[self.ranges](seen)
        if self.ranges == "margin":
            interval = widened(interval, [one for one in consumers if KEPT not in one.node.meta], chosen)
        return activation_quantizer(interval, chosen)

    def _plan_output(self, linear: Linear) -> None:
        """A quantizer for what a Conv in codes writes, where an engine may have to round that."""
        value, weight = activated(linear), quantizer(linear.weight)
        seen = statistics(value)
        ranged = seen is not None and not no_range(seen, static=True)
        if INT8 in self.formats and weight is not None and seen is not None and ranged and quantizer(value) is None:
            value.meta[QUANTIZER] = activation_quantizer(RANGES[self.ranges](seen), INT8)


def _by_data(graph: ir.Graph) -> Iterator[list[Linear]]:
    """The linear layers that read each value, in graph order of the first."""
    consumers: dict[ir.Value, list[Linear]] = {}
    for linear in find_linears(graph):
        consumers.setdefault(linear.data, []).append(linear)
    yield from consumers.values()


def _reason(linear: Linear, seen: ChannelStatistics | None, chosen: Format) -> str:
    """Why no engine can have codes for ``linear``, or nothing."""
    if chosen.static and seen is None:
        return unmeasured(linear.data)
    if reason := without_codes(linear, [chosen]):
        return reason
    if linear.data.dtype is None:
        return f"the type of its input {linear.data.name!r} is not known"
    if not np.abs(linear.matrix()).max(initial=0.0) < _OVERFLOW:
        return f"its weight reaches beyond {_OVERFLOW:g}"
    if linear.data.dtype != ir.DataType.FLOAT:
        return f"its input is {linear.data.dtype}, not float32"
    if chosen.block and len(linear.shape) != 2:
        return f"the weight of a {linear.node.op_type} has no blocks of rows"
    return _conflict(linear, chosen)


def _conflict(linear: Linear, chosen: Format) -> str:
    """What speaks against using the codes that another layer planned for the weight that they share."""
    shared = quantizer(linear.weight)
    if shared is None:
        return ""
    if shared.dtype != chosen.weights:
        return "another layer reads its weight in another format"
    axis = linear.in_axis if chosen.block else linear.out_axis
    return "" if shared.axis == axis else "another layer reads its weight along the other axis"
