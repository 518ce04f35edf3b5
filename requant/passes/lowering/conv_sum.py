"""Residual sums that the kernel of a Conv does before it writes, or in ONNX Runtime a kernel for sums of integers:

    y = Conv(DQ(q), DQ(w)) + r    becomes    y = Conv(DQ(q), DQ(w)) + DQ(Q(r))        where a layer reads Q(r) as it is

    if    s_r² ≤ ρ · s² Σ w² / N        the noise that r gets, and what the Conv's output has from rounding its data

The kernel then reads the residual in a quarter of the bytes, and r itself need not be stored. Blocks that add little
to a large residual would lose more by it than by all the rest.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ...ir.linear import Linear
from ...ir.quantizer import Quantizer, quantizer


def quantize_residual(conv: Linear, dequantized: Mapping[ir.Value, ir.Value], loudest: float) -> bool:
    """Give the sum behind the quantized ``conv`` a ``dequantized`` residual; return whether there was one.

    ``loudest`` is ρ, the most noise that it may bring, over that of the Conv's own data (`Target.loudest_residual`).
    """
    consumers = [use.node for use in conv.output.uses()]
    if [node.op_type for node in consumers] != ["Add"] or conv.output.is_graph_output():
        return False
    for position, value in enumerate(consumers[0].inputs):
        if value is not None and value in dequantized and _is_fine(conv, quantizer(value), loudest):
            consumers[0].replace_input_with(position, dequantized[value])
            return True
    return False


def _is_fine(conv: Linear, residual: Quantizer | None, loudest: float) -> bool:
    """Tell whether the ``residual`` is quantized to int8, in steps that are fine enough for the sum with ``conv``."""
    data = quantizer(conv.data)
    if data is None or residual is None or residual.dtype != ir.DataType.INT8 or residual.bits < 8:
        return False
    noise = float(data.scale) ** 2 * float(np.square(conv.matrix()).sum()) / conv.outputs
    return float(residual.scale) ** 2 <= loudest * noise
