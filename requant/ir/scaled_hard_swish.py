"""A HardSwish between values that have one scale for each channel: what a transform makes of it.

    x · HardSigmoid(x) = y        x' = x / d, y' = y / d        x' · HardSigmoid(d x') = y'

The gate needs its data as they were, and their Mul is all that it takes.
"""

from dataclasses import dataclass
from math import isclose, prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .constants import array, constant_shape, is_constant
from .ops import is_op
from .quantizer import code_range
from .traverse import sole_use

SLOPE, OFFSET = 1 / 6, 0.5
"""α and β of the gate, HardSigmoid(x; α, β)."""

LARGEST_CODE = code_range(ir.DataType.UINT8, 8)[1]
"""The largest uint8, in which the scales are read."""

_OFF_STEP = 1e-3
"""The part of a step by which a scale may be off it: its rounding to float32."""

_ROUNDING = 1e-6
"""The relative deviation of an attribute in float32."""


@dataclass(frozen=True)
class ScaledHardSwish:
    """The nodes of x · HardSigmoid(d x), the ``data`` x, and the scale d, which broadcasts against them."""

    nodes: tuple[ir.Node, ir.Node, ir.Node]
    data: ir.Value
    scale: ir.Value

    @property
    def scales(self) -> NDArray[np.float64]:
        """The scale d."""
        numbers = array(self.scale)
        assert numbers is not None
        return numbers.astype(np.float64)


def as_scaled_hard_swish(node: ir.Node) -> ScaledHardSwish | None:
    """View the Mul d x and what reads it as a HardSwish, where d has an entry for each channel that uint8 holds."""
    if not is_op(node, frozenset({"Mul"})):
        return None
    data, scale = sorted(filter(None, node.inputs), key=is_constant)
    use = sole_use(node.outputs[0])
    product = gated_product(use[0], data) if use is not None else None
    if use is None or product is None or is_constant(data) or not _is_per_channel(scale, data):
        return None
    view = ScaledHardSwish((node, use[0], product), data, scale)
    return view if _are_whole_steps(view.scales) else None


def gated_product(gate: ir.Node, data: ir.Value | None) -> ir.Node | None:
    """Return the Mul of ``data`` and of ``gate`` if that is the gate of a HardSwish, which the Mul alone reads."""
    attributes, use = gate.attributes, sole_use(gate.outputs[0])
    is_gate = (
        is_op(gate, frozenset({"HardSigmoid"}))
        and isclose(attributes.get_float("alpha", 0.2), SLOPE, rel_tol=_ROUNDING)
        and isclose(attributes.get_float("beta", 0.5), OFFSET, rel_tol=_ROUNDING)
    )
    is_product = use is not None and is_op(use[0], frozenset({"Mul"})) and data in use[0].inputs
    return use[0] if use is not None and is_gate and is_product else None


def _is_per_channel(scale: ir.Value, data: ir.Value) -> bool:
    """Tell whether the constant ``scale`` has a positive number for each channel of ``data``, along axis 1."""
    if not is_constant(scale) or data.shape is None:
        return False
    shape, numbers = constant_shape(scale), array(scale)
    rank = len(data.shape)
    padded = (1,) * (rank - len(shape)) + shape
    is_channels = len(padded) == rank > 1 and 1 < padded[1] == prod(padded)
    return is_channels and numbers is not None and bool(np.all(numbers.astype(np.float64) > 0))


def _are_whole_steps(scales: NDArray[np.float64]) -> bool:
    """Tell whether the ``scales`` are 1 to 255 steps each, but for rounding, where the largest is 255."""
    steps = scales / scales.max() * LARGEST_CODE
    return bool(np.all((np.abs(steps - np.round(steps)) < _OFF_STEP) & (steps > 0.5)))
