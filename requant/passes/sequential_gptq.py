"""GPTQ in order: each weight is rounded on what it is given by the layers before it, with their rounded weights.

    min over q of  Σ_rows ‖x' (q s) - x' W‖² / ‖x' W‖²  +  λ ‖q s - W‖²        x': x behind the rounded weights

What the first layers lose the later ones make up for (GPTQ, Frantar et al., 2023, section 4, goes block by block);
biases take off what is lost in the mean up to there.
The rows of x' are those that the statistics sampled of x: a row's priority goes by its feed alone.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import fingerprint
from ..calib.sample_axes import count_samples, sample_axes
from ..calib.statistics import ChannelStatistics
from ..calib.watch import Watch
from ..ir.constants import lazily
from ..ir.linear import Linear, find_linears
from ..ir.quantized import is_partly_quantized
from ..ir.quantizer import Quantizer
from ..ir.transform.edit import add_to_bias
from ..ir.unused import remove_unused
from ..runtime.feeds import Feed
from ..runtime.session import runner
from .gptq import is_plain, round_weight
from .lowering.bias_correction import bias_correction
from .parallel import side_by_side
from .planned_layer import PlannedLayer, planned_layer

MOST_PASSES = 16
"""The most passes over the data: layers of a deeper model go in groups, each on what the groups before it compute."""


@dataclass(frozen=True)
class SequentialGptq(ir.passes.InPlacePass):
    """A pass that rounds weights as `Gptq` does, in order, for layers whose data stay in float.

    Layers in bodies, and those that read quantized data, are rounded on the float model's rows.

    Attributes:
        feeds: the calibration data, which are iterated `MOST_PASSES` times at most.
    """

    feeds: Iterable[Feed]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        layers = [layer for linear in find_linears(model.graph) if (layer := planned_layer(linear)) is not None]
        plain = [layer for layer in layers if is_plain(layer)]
        in_order = [layer for layer in plain if layer.linear.node.graph is model.graph and not layer.quantizes_data]
        side_by_side(round_weight, [layer for layer in plain if layer not in in_order])
        rounded = set[str]()
        for group in _groups(model.graph, in_order):
            side_by_side(partial(_round, _statistics(model, rounded, group, self.feeds) if rounded else {}), group)
            rounded |= {_name(layer.linear.weight) for layer in group}
        return ir.passes.PassResult(model, bool(plain))


def _round(statistics: Mapping[str, ChannelStatistics], layer: PlannedLayer) -> None:
    """Round on what was measured behind rounded weights, if it is the same rows as in the float model."""
    measured, sampled = statistics.get(_name(layer.linear.data)), layer.statistics
    is_same = measured is not None and sampled is not None and np.array_equal(measured.priorities, sampled.priorities)
    round_weight(layer, measured.rows if measured is not None and is_same else None)


def _groups(graph: ir.Graph, layers: Sequence[PlannedLayer]) -> Iterator[list[PlannedLayer]]:
    """Yield ``layers`` by how many of them come before, `MOST_PASSES` groups at most."""
    by_node, depths = {layer.linear.node: layer for layer in layers}, dict[ir.Value, int]()
    levels = dict[int, list[PlannedLayer]]()
    for node in graph:
        depth = max((depths.get(value, 0) for value in node.inputs if value is not None), default=0)
        if node in by_node:
            levels.setdefault(depth, []).append(by_node[node])
        depths |= dict.fromkeys(node.outputs, depth + (node in by_node))
    for part in np.array_split(np.array(sorted(levels)), min(MOST_PASSES, max(len(levels), 1))):
        yield [layer for depth in part for layer in levels[depth]]


def _statistics(
    model: ir.Model, rounded: Container[str], group: Sequence[PlannedLayer], feeds: Iterable[Feed]
) -> dict[str, ChannelStatistics]:
    """Measure what the layers in ``group`` read in ``model`` with ``rounded`` weights, by the names of the values."""
    prefix = model.clone()
    for linear in find_linears(prefix.graph):
        if _name(linear.weight) in rounded:
            _apply(linear)
    axes = {_name(layer.linear.data): layer.linear.data_axis for layer in group}
    values = ir.convenience.create_value_mapping(prefix.graph)
    prefix.graph.outputs[:] = [values[name] for name in axes]
    remove_unused(prefix)
    watch, along = Watch(axes), sample_axes(prefix)
    run = runner(prefix, optimized=not is_partly_quantized(prefix))
    for feed in feeds:
        watch.add(dict(zip(axes, run(feed), strict=True)), fingerprint(feed), count_samples(feed, along))
    return watch.totals


def _apply(linear: Linear) -> None:
    """Give ``linear`` its rounded weight and its corrected bias."""
    layer, weight = planned_layer(linear), linear.weight.const_value
    assert layer is not None
    assert weight is not None
    correction = bias_correction(layer, None, layer.weight)
    if correction is not None:
        add_to_bias(linear, correction)
    linear.weight.const_value = lazily(partial(_decoded, layer.weight), weight)


def _decoded(plan: Quantizer, _: NDArray[np.generic]) -> NDArray[np.float64]:
    assert plan.codes is not None
    return plan.decode(plan.codes)


def _name(value: ir.Value) -> str:
    return value.name or ""
