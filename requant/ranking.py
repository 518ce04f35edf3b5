"""The ranking of layers by what they cost the outputs in int8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .calib.collect import statistics
from .ir.linear import Linear, as_linear, find_linears
from .ir.traverse import producers
from .passes.annotations import PLACE
from .passes.layer_places import PlacedLayer
from .stages.candidates import decibels

FAR = 10.0
"""How many times as far as the median one a channel reaches to be named."""

MILLISECOND = 1e-6
"""Of a nanosecond."""

MOST_WRITERS = 2
"""The most layers right before another one that are named."""


@dataclass(frozen=True)
class LayerCost:
    """A layer in int8: what it costs the outputs, and what leaving it in float would cost.

    Attributes:
        name: what ``keep`` takes.
        op_type: the op of its node.
        sqnr: of the worst output in dB with this layer in int8 and all others in float.
        share: of the noise that all layers make together, over all outputs.
        multiplications: its share of those of all layers.
        bytes: by how much its weight is larger in float.
        milliseconds: what it is estimated to take longer in float on one core; None on engines without prices.
        cause: a channel of its data that sets the step of all others, if there is one.
    """

    name: str
    op_type: str
    sqnr: float
    share: float
    multiplications: float
    bytes: int
    milliseconds: float | None = None
    cause: str = ""


def ranked(
    plan: ir.Model,
    layers: Sequence[PlacedLayer],
    noise: Mapping[int, NDArray[np.float64]],
    multiplications: float,
    *,
    saved: float | None,
) -> tuple[LayerCost, ...]:
    """Return the layers by falling noise over all outputs.

    ``multiplications`` are those of the whole model, ``saved`` the nanoseconds that int8 saves of one, if known.
    """
    causes = {PLACE.get(linear.node): _cause(linear) for linear in find_linears(plan.graph)}
    everything = sum(float(one.sum()) for one in noise.values())
    costs = [
        LayerCost(
            layer.name,
            layer.op_type,
            decibels(float(noise[layer.place].max(initial=0.0))),
            float(noise[layer.place].sum()) / everything if everything else 0.0,
            layer.multiplications / multiplications if multiplications else 0.0,
            layer.bytes_saved,
            saved * layer.multiplications * MILLISECOND if saved is not None else None,
            causes.get(layer.place, ""),
        )
        for layer in layers
    ]
    return tuple(sorted(costs, key=lambda cost: -cost.share))


def _cause(linear: Linear) -> str:
    """Say which channel of the data sets the step of all others, if one reaches far beyond them, and what writes it."""
    stats = statistics(linear.data)
    if stats is None or not np.median(stats.magnitude) > 0:
        return ""
    channel = int(stats.magnitude.argmax())
    ratio = float(stats.magnitude[channel] / np.median(stats.magnitude))
    writers = [layer.name for layer in map(as_linear, producers([linear.data], _is_passed)) if layer is not None]
    behind = f", behind {' and '.join(writers)}," if 0 < len(writers) <= MOST_WRITERS else ""
    reach = f"reaches {ratio:.0f} times as far as the median one"
    return f"channel {channel} of its input{behind} {reach}" if ratio > FAR else ""


def _is_passed(node: ir.Node) -> bool:
    return as_linear(node) is None
