"""Residual sums that the kernel of a Conv does before it writes, or in ONNX Runtime a kernel for sums of codes:

    y = Conv(DQ(q), DQ(w)) + r    becomes    y = Conv(DQ(q), DQ(w)) + DQ(Q(r))        where a layer reads Q(r) as it is

    if    s_r² ≤ 10 · s² Σ w² / N        the noise that r gets, and what the Conv's output has from rounding its data

The kernel then reads the residual in a quarter of the bytes, and r itself need not be stored. Blocks that add little
to a large residual would lose more by it than by all the rest.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ...ir.linear import Linear
from ...ir.quantizer import Quantizer, quantizer

LOUDEST = 10.0
"""How many times the noise of the Conv's own data a residual may bring: those of a real ResNet bring 0.5 to 7."""


def add_codes(conv: Linear, dequantized: Mapping[ir.Value, ir.Value]) -> bool:
    """Let the sum behind the quantized ``conv`` read a ``dequantized`` residual; says whether there was one."""
    consumers = [use.node for use in conv.output.uses()]
    if [node.op_type for node in consumers] != ["Add"] or conv.output.is_graph_output():
        return False
    for position, value in enumerate(consumers[0].inputs):
        if value is not None and value in dequantized and _quiet(conv, quantizer(value)):
            consumers[0].replace_input_with(position, dequantized[value])
            return True
    return False


def _quiet(conv: Linear, residual: Quantizer | None) -> bool:
    """Whether the codes of ``residual`` are int8 ones, and fine enough for the sum with ``conv``."""
    data = quantizer(conv.data)
    if data is None or residual is None or residual.dtype != ir.DataType.INT8 or residual.bits < 8:
        return False
    noise = float(data.scale) ** 2 * float(np.square(conv.matrix()).sum()) / conv.outputs
    return float(residual.scale) ** 2 <= LOUDEST * noise
