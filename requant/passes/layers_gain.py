"""The gain of int8 for all layers of a model: their estimated time in float over that with some of them in int8.

gain = Σ m f / (Σ in float m f + Σ in int8 m i)        m multiplications, at f and i nanoseconds each
"""

from collections.abc import Container, Iterable

from ..runtime.prices import CONV, PRODUCT, Prices
from .layer_places import PlacedLayer


def layers_gain(layers: Iterable[PlacedLayer], quantized: Container[str], prices: Prices) -> float:
    """Return the gain of having those in int8 whose outputs are ``quantized``: at most that, as Q and DQ cost too."""
    in_float = planned = 0.0
    for layer in layers:
        rates = prices.kernels[CONV if layer.op_type == "Conv" else PRODUCT]
        chosen = rates.in_integers if layer.output in quantized else rates.in_float
        in_float += layer.multiplications * rates.in_float.multiplication
        planned += layer.multiplications * chosen.multiplication
    return in_float / planned if planned else 1.0
