"""Bias correction: add to the bias of a quantized layer what quantization takes from its output in the mean.

    Δb = E[x] W - E[x̂] Ŵ        E: mean over the calibration rows, each with its weight; x̂, Ŵ: after quantization

It depends on the integers that an engine really gets, so that it is not part of the plan. Source: Nagel et al., 2019,
section 4.2, with the mean taken over rows that `Gptq` weighs.
"""

import numpy as np
from numpy.typing import NDArray

from ...ir.quantizer import Quantizer
from ..planned_layer import PlannedLayer


def bias_correction(layer: PlannedLayer, data: Quantizer | None, weight: Quantizer) -> NDArray[np.float64] | None:
    """Return what to add to the output of ``layer``, [N], or None where `Gptq` did not round its weight.

    ``data`` and ``weight`` are the quantizers of its operands on the engine; ``data`` is None for dynamic scales.
    """
    linear, shares, stats = layer.linear, layer.row_weights, layer.statistics
    tensor = linear.weight.const_value
    if shares is None or stats is None or tensor is None:
        return None
    integers = weight.encode(tensor.numpy()) if weight.codes is None else weight.codes
    exact_rows = stats.rows.astype(np.float64)
    rows = exact_rows if data is None else data.decode(data.encode(stats.rows))
    float_mean = (shares @ exact_rows) @ linear.laid_out(tensor.numpy())
    difference: NDArray[np.float64] = float_mean - (shares @ rows) @ linear.laid_out(weight.decode(integers))
    return difference
