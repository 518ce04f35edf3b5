"""What goes into the bias of a layer in codes, so that nothing is lost in the mean:

    Δb = E[x] W - E[x̂] Ŵ        E: mean over the calibration rows, each with its share; x̂, Ŵ: what the codes stand for

It depends on the codes that an engine really gets, so that it is not part of the plan.
"""

import numpy as np
from numpy.typing import NDArray

from ...calib.collect import statistics
from ...ir.linear import Linear
from ...ir.quantizer import Quantizer
from ..gptq import SHARES, coded


def correction(linear: Linear, data: Quantizer | None, weight: Quantizer) -> NDArray[np.float64] | None:
    """What to add to the output of ``linear``, [N], or None where `Gptq` did not choose its codes.

    ``data`` and ``weight`` are the numbers that its operands are coded in; without ``data`` their scale is not known.
    """
    shares, seen, tensor = linear.node.meta.get(SHARES), statistics(linear.data), linear.weight.const_value
    if not isinstance(shares, np.ndarray) or seen is None or tensor is None:
        return None
    codes = weight.encode(tensor.numpy()) if weight.codes is None else weight.codes
    matrices = (linear.laid_out(values) for values in (tensor.numpy(), weight.decode(codes)))
    means = (shares @ rows for rows in (seen.rows.astype(np.float64), coded(seen.rows, data)))
    whole, left = (mean @ matrix for mean, matrix in zip(means, matrices, strict=True))
    difference: NDArray[np.float64] = whole - left
    return difference
