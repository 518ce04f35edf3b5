"""Places of layers: numbers that they keep in all clones and plans of a model; and plans with some of them in float."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod

import onnx_ir as ir

from ..ir.constants import constant_shape
from ..ir.kernels import find_kernels
from ..ir.linear import Linear, find_linears
from ..ir.quantizer import quantizer
from ..ir.recurrent import Recurrent, find_recurrent
from ..ir.refusal import Refusal
from ..ir.traverse import nodes_within
from ..runtime.feeds import Feed
from ..runtime.outputs import arrays
from ..runtime.session import runner
from ..runtime.targets import Target
from .annotations import ATTENTION, FLOAT, INTEGER, KEPT, PLACE, SITES, site_records

_ALONE = "another layer is measured alone"


@dataclass(frozen=True)
class PlacedLayer:
    """A layer that a plan quantizes, with the name that ``keep`` takes and what it costs to run it in float.

    ``multiplications`` are those of one feed; ``weights`` the elements of its weight; ``bytes_saved`` what these take
    less in the artifact; ``elements`` those of its data, its output and its weight.
    """

    place: int
    name: str
    op_type: str
    output: str
    multiplications: float
    bytes_saved: int
    weights: int = 0
    elements: int = 0


def number_layers(model: ir.Model) -> None:
    """Number the layers of ``model`` that a plan may quantize."""
    layers: list[Linear | Recurrent] = [*find_linears(model.graph), *find_recurrent(model.graph)]
    for place, layer in enumerate(layers):
        PLACE.set(layer.node, place)


def keep_places(model: ir.Model, reasons: Mapping[int, str]) -> None:
    """Refuse the layers of ``model`` at the places in ``reasons``."""
    for node in nodes_within(model.graph):
        place = PLACE.get(node)
        if place is not None and place in reasons:
            KEPT.set(node, Refusal.at(node, reasons[place]))


def with_refusals(plan: ir.Model, reasons: Mapping[int, str]) -> ir.Model:
    """Return a copy of ``plan`` with its records of sites that refuses the layers at the places in ``reasons``."""
    model = plan.clone()
    SITES.set(model, site_records(plan))
    keep_places(model, reasons)
    return model


def alone(plan: ir.Model, place: int, engine: Target) -> ir.Model:
    """Return ``plan`` with all layers but the one at ``place`` in float, and nothing else as integers.

    Convs whose kernel writes integers are refused as `PlanIntegerValues` does it: a graph without any annotation of it
    would be planned again.
    """
    model = plan.clone()
    by_node = {kernel.linear.node: kernel for kernel in find_kernels(model.graph) if kernel.linear is not None}
    own = {value for node, kernel in by_node.items() if PLACE.get(node) == place for value in kernel.values}
    for node in nodes_within(model.graph):
        node.meta.pop(ATTENTION.key, None)
        if PLACE.get(node) not in (None, place):
            key = FLOAT if node.op_type in engine.integer_outputs and node in by_node else KEPT
            key.set(node, Refusal.at(node, _ALONE))
        for value in node.outputs:
            if value not in own:
                value.meta.pop(INTEGER.key, None)
    for value in model.graph.inputs:
        if value not in own:
            value.meta.pop(INTEGER.key, None)
    return model


def placed_layers(plan: ir.Model, feed: Feed) -> dict[str, PlacedLayer]:
    """Return the layers of ``plan`` that have a place, by the name of their output; one run on ``feed`` sizes them."""
    views: list[Linear | Recurrent] = [*find_linears(plan.graph), *find_recurrent(plan.graph)]
    placed = [(place, view) for view in views if (place := PLACE.get(view.node)) is not None]
    sized = {place: _sized_by(view) for place, view in placed}
    ends = {place: _ends(view) for place, view in placed}
    names = {*(name for name, _ in sized.values()), *chain.from_iterable(ends.values())}
    sizes = _sizes(plan, names - {""}, feed)
    layers: dict[str, PlacedLayer] = {}
    for place, view in placed:
        name, per_element = sized[place]
        output = _name(view.output if isinstance(view, Linear) else view.node.outputs[0])
        label = view.name if isinstance(view, Linear) else view.node.name or output or view.node.op_type
        multiplications = sizes.get(name, 0) * per_element
        elements = sum(sizes.get(end, 0) for end in ends[place]) + _weights(view)
        layers[output] = PlacedLayer(
            place, label, view.node.op_type, output, multiplications, _bytes_saved(view), _weights(view), elements
        )
    return layers


def _ends(layer: Linear | Recurrent) -> tuple[str, str]:
    """Return the names of what ``layer`` reads and of what it writes."""
    if isinstance(layer, Recurrent):
        return _name(layer.node.inputs[0]), _name(layer.node.outputs[0])
    return _name(layer.data), _name(layer.output)


def _sized_by(layer: Linear | Recurrent) -> tuple[str, float]:
    """Return the value whose size the multiplications of ``layer`` go by, and how many there are for each element."""
    if isinstance(layer, Recurrent):
        weights = sum(prod(constant_shape(value)) for value in (layer.weight, layer.recurrence))
        return _name(layer.node.inputs[0]), weights / constant_shape(layer.weight)[-1]
    matrices = layer.shape[0] if layer.batched else 1
    if layer.node.op_type == "ConvTranspose":
        return _name(layer.data), prod(layer.shape) / layer.inputs
    return _name(layer.node.outputs[0]), prod(layer.shape) / layer.outputs / matrices


def _sizes(plan: ir.Model, names: set[str], feed: Feed) -> dict[str, int]:
    """Return the number of elements of each value in ``names``."""
    given = {name: feed[name].size for name in names if name in feed}
    taps = sorted(names - given.keys())
    outputs = runner(plan, taps)(feed)[len(plan.graph.outputs) :]
    return given | {name: sum(part.size for part in arrays(tap)) for name, tap in zip(taps, outputs, strict=True)}


def _weights(layer: Linear | Recurrent) -> int:
    """Return the elements of the weight, whatever precision they are in."""
    if isinstance(layer, Recurrent):
        return sum(prod(constant_shape(value)) for value in (layer.weight, layer.recurrence))
    return prod(layer.shape)


def _bytes_saved(layer: Linear | Recurrent) -> int:
    """Return the bytes of the weight in its own type less those of its integers and scales."""
    if isinstance(layer, Recurrent):
        return 3 * _weights(layer)
    plan, dtype = quantizer(layer.weight), layer.weight.dtype
    if plan is None or dtype is None:
        return 0
    return int(_weights(layer) * (dtype.bitwidth - plan.dtype.bitwidth) / 8) - 4 * plan.scale.size


def _name(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""
