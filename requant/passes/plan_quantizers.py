"""The plan: a quantizer for each value that a linear layer reads, whatever the engine.

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
from ..ir.formats import INT8, INT8_DYNAMIC, Format
from ..ir.linear import Linear, find_linears
from ..ir.quantized import stored_quantizer
from ..ir.quantizer import QUANTIZER, Quantizer, quantizer
from ..ir.recurrent import find_recurrent
from ..ir.refusal import Refusal
from .annotations import DYNAMIC, KEPT, is_kept
from .cost_model.range_margin import widened
from .magnitudes import unquantizable
from .scale_limits import no_scale
from .scales import activation_quantizer, weight_quantizer
from .select_format import select_format

_OVERFLOW = 1e15
"""Magnitudes from which on squares summed over a layer reach the end of float32, whose numbers end at 3e38."""


@dataclass(frozen=True)
class PlanQuantizers(ir.passes.InPlacePass):
    """A pass that gives a quantizer to the data and the weight of every linear layer, or a reason to stay in float.

    Layers that `SelectLayers` keeps are left alone. Needs statistics (`requant.calib.collect`) for every format but
    those whose data stay in float or are scaled at run time. Writes the annotations `QUANTIZER`, `DYNAMIC` and `KEPT`;
    reads `KEPT` and `MARGIN`.

    Attributes:
        formats: the formats of data and weights; of several, each value takes the one of least loss.
        ranges: the estimator of activation ranges, a key of `requant.calib.ranges.RANGES`.
        weight_bits: the most bits that int8 weights may have, for engines that saturate beyond.
    """

    formats: tuple[Format, ...] = (INT8,)
    ranges: str = "minmax"
    weight_bits: int = 8

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model was not calibrated."""
        if any(candidate.static for candidate in self.formats) and not is_calibrated(model):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for consumers in _by_data(model.graph):
            fmt = select_format(consumers, self.formats)
            for linear in consumers:
                modified |= self._plan(linear, fmt, consumers)
        if INT8_DYNAMIC in self.formats:
            modified |= _plan_recurrent(model.graph)
        return ir.passes.PassResult(model, modified)

    def _plan(self, linear: Linear, fmt: Format, consumers: Sequence[Linear]) -> bool:
        stats = statistics(linear.data)
        if refusal := KEPT.get(linear.node) or _refusal(linear, stats, fmt):
            KEPT.set(linear.node, refusal)
            return False
        data = quantizer(linear.data)
        if data is None and fmt.activations is not None:
            stored = _stored(linear, fmt)
            if isinstance(stored, Refusal):
                KEPT.set(linear.node, stored)
                return False
            data = stored
        if fmt.static and stats is not None and data is None:
            data = self._data_quantizer(stats, consumers, fmt)
        weight = weight_quantizer(linear, replace(fmt, bits=min(fmt.bits, self.weight_bits)))
        if refusal := no_scale(linear, data, weight):
            KEPT.set(linear.node, refusal)
            return False
        if data is not None:
            linear.data.meta[QUANTIZER] = data
        elif fmt.dynamic:
            DYNAMIC.set(linear.node, content=True)
        linear.weight.meta[QUANTIZER] = weight
        return True

    def _data_quantizer(self, stats: ChannelStatistics, consumers: Sequence[Linear], fmt: Format) -> Quantizer:
        interval = RANGES[self.ranges](stats)
        if self.ranges == "margin":
            interval = widened(interval, [linear for linear in consumers if not is_kept(linear)], fmt)
        return activation_quantizer(interval, fmt)


def _plan_recurrent(graph: ir.Graph) -> bool:
    """Mark the LSTMs whose data are to be quantized at run time; return whether there are any."""
    nodes = [recurrent.node for recurrent in find_recurrent(graph) if KEPT.get(recurrent.node) is None]
    for node in nodes:
        DYNAMIC.set(node, content=True)
    return bool(nodes)


def _by_data(graph: ir.Graph) -> Iterator[list[Linear]]:
    """Yield the linear layers that read each value, in graph order of the first."""
    consumers: dict[ir.Value, list[Linear]] = {}
    for linear in find_linears(graph):
        consumers.setdefault(linear.data, []).append(linear)
    yield from consumers.values()


def _refusal(linear: Linear, stats: ChannelStatistics | None, fmt: Format) -> Refusal | None:
    """Refuse ``linear`` where no engine can quantize it."""
    if refusal := unquantizable(linear, [fmt]):
        return refusal
    if fmt.static and stats is None:
        return Refusal.at(linear.node, unmeasured(linear.data))
    reason = _unsupported(linear, fmt) or _conflict(linear, fmt)
    return None if reason is None else Refusal.at(linear.node, reason)


def _stored(linear: Linear, fmt: Format) -> Quantizer | Refusal | None:
    """Return the quantizer that the data have in the file, or refuse it where it is none of the format ``fmt``."""
    stored = stored_quantizer(linear.data)
    if isinstance(stored, Quantizer) and fmt.activations != ir.DataType.INT8:
        return Refusal.at(linear.node, "its input is quantized already, in int8")
    return stored


def _unsupported(linear: Linear, fmt: Format) -> str | None:
    """Return the reason why the type, the size or the shape of an operand has no quantizer, or None."""
    if linear.data.dtype is None:
        return f"the type of its input {linear.data.name!r} is not known"
    if not np.abs(linear.matrix()).max(initial=0.0) < _OVERFLOW:
        return f"its weight reaches beyond {_OVERFLOW:g}"
    if linear.data.dtype != ir.DataType.FLOAT:
        return f"its input is {linear.data.dtype}, not float32"
    if fmt.block and len(linear.shape) != 2:
        return f"the weight of a {'batched ' if linear.batched else ''}{linear.node.op_type} has no blocks of rows"
    return None


def _conflict(linear: Linear, fmt: Format) -> str | None:
    """Return the reason why another layer's quantizer of the weight that they share does not serve, or None."""
    weight_plan = quantizer(linear.weight)
    if weight_plan is None:
        return None
    if weight_plan.dtype != fmt.weights:
        return "another layer reads its weight in another format"
    axis = linear.in_axis if fmt.block else linear.out_axis
    return None if weight_plan.axis == axis else "another layer reads its weight along the other axis"
