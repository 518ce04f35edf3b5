"""Round each weight so that the next ones make up for it: the codes q whose product is closest on the calibration rows.

    min over q of  Σ_rows ‖x̂ (q s) - x̂ W‖² / ‖x W‖²  +  λ ‖q s - W‖²        x̂: x as the quantizer of the data leaves it

Rows of W are rounded one after the other, those of the strongest channels first; what is lost by each is put onto those
that are left, in proportion to the inverse of H = x̂ᵀ x̂ + λ (GPTQ, Frantar et al., 2023, section 3.3, after OBQ).
The mean of what is still lost goes into the bias, where there is one (`requant.passes.lowering.bias_correction`).

Weights that are exactly 0 stay 0, and a column without negative weights gets none: the rest makes up for their share.
What is sparse stays sparse, and a sum of energies before a logarithm stays positive.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.linalg.lapack import dtrtri

from ..calib.collect import statistics
from ..ir.linear import Linear, find_linears
from ..ir.quantizer import QUANTIZER, Quantizer, quantizer
from .cost_model.row_weights import row_weights
from .epsilons import is_floor
from .parallel import side_by_side
from .select_layers import KEPT

SHARES = "requant.shares"
"""Key in `Node.meta` of how much each calibration row counts, [R], for what a quantized layer loses in the mean."""

DAMPING = 0.1
"""λ as a share of the mean of H's diagonal: keeps channels that the rows hardly show near their nearest codes."""

_BLOCK = 128
"""Rows of W that are rounded before the rest is updated."""


@dataclass(frozen=True)
class Gptq(ir.passes.InPlacePass):
    """Choose the codes of every planned MatMul, Gemm and 1 x 1 Conv by their products; others are rounded to nearest.

    Needs a plan (`PlanQuantizers`). A weight that several layers share is left to the nearest codes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        chosen = [linear for linear in find_linears(model.graph) if _is_plain(linear)]
        side_by_side(_round, chosen)
        return ir.passes.PassResult(model, bool(chosen))


def _is_plain(linear: Linear) -> bool:
    """Whether the layer is planned and calibrated along its channels, and its weight is a matrix of its own."""
    seen = statistics(linear.data)
    known = quantizer(linear.weight) is not None and seen is not None and len(seen.minimum) == linear.inputs
    pointwise = linear.groups == 1 and set(linear.shape[2:]) <= {1}
    return known and pointwise and KEPT not in linear.node.meta and len(linear.weight.uses()) == 1


def _round(linear: Linear) -> None:
    seen, weight = statistics(linear.data), quantizer(linear.weight)
    assert seen is not None
    assert weight is not None
    matrix = linear.matrix()
    shares = _shares(seen.rows @ matrix)
    codes = coded(seen.rows, quantizer(linear.data))
    centred = (codes - shares @ codes) * np.sqrt(shares)[:, None]
    gram = centred.T @ centred
    gram += max(DAMPING * float(np.trace(gram)) / len(gram), float(np.finfo(np.float32).tiny)) * np.eye(len(gram))
    rounded = compensated(matrix, gram, _as_matrix(linear, weight))
    if (linear.bias is not None or linear.node.op_type != "MatMul") and not is_floor(linear):
        linear.node.meta[SHARES] = shares
    linear.weight.meta[QUANTIZER] = replace(weight, codes=_laid_out(linear, rounded.astype(weight.dtype.numpy())))


def _shares(product: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much each row counts: one over its size, and 1 in all."""
    weights = row_weights(np.square(product).sum(axis=1, dtype=np.float64))
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def coded(rows: NDArray[np.float32], planned: Quantizer | None) -> NDArray[np.float64]:
    """``rows`` as the quantizer leaves them, if there is one."""
    return rows.astype(np.float64) if planned is None else planned.decode(planned.encode(rows))


def _as_matrix(linear: Linear, weight: Quantizer) -> Quantizer:
    """The quantizer of a weight, for the matrix [K, N] that it holds."""
    if not weight.block:
        return replace(weight, axis=1)
    if linear.in_axis == 0:
        return weight
    zero_point = None if weight.zero_point is None else weight.zero_point.T
    return replace(weight, axis=0, scale=weight.scale.T, zero_point=zero_point)


def compensated(matrix: NDArray[np.float32], gram: NDArray[np.float64], planned: Quantizer) -> NDArray[np.float32]:
    """Codes [K, N] for ``matrix`` [K, N], as numbers; ``gram`` [K, K] is H."""
    width, column = len(matrix), planned.scale.max(axis=0) if planned.block else planned.scale
    step = planned.spread(planned.scale, matrix.shape) / column  # of each row, in units of its column's
    zero = 0 if planned.zero_point is None else planned.spread(planned.zero_point, matrix.shape)
    step, zero = np.broadcast_to(step, matrix.shape), np.broadcast_to(np.float32(zero), matrix.shape)
    order = np.argsort(-np.diag(gram), kind="stable")
    upper = _inverse_factor(gram[np.ix_(order, order)]).astype(np.float32)
    least, most = _one_sided(matrix, zero)
    rest, codes = matrix[order] / column, np.empty(matrix.shape, np.float32)
    for start in range(0, width, _BLOCK):
        block = slice(start, min(start + _BLOCK, width))
        lost = np.empty_like(rest[block])
        for row in range(block.start, block.stop):
            own = order[row]
            codes[own] = np.clip(planned.nearest(rest[row] / step[own] + zero[own]), least[own], most[own])
            lost[row - start] = (rest[row] - (codes[own] - zero[own]) * step[own]) / upper[row, row]
            rest[row + 1 : block.stop] -= np.outer(upper[row, row + 1 : block.stop], lost[row - start])
        rest[block.stop :] -= upper[block, block.stop :].T @ lost
    return codes


def _inverse_factor(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper triangular U with Uᵀ U = H⁻¹: that of the reversed H, inverted and turned back, in 2/3 K³ steps."""
    inverse, failed = dtrtri(cholesky(gram[::-1, ::-1], lower=True), lower=1)
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix of the calibration rows is singular")
    upper: NDArray[np.float64] = inverse[::-1, ::-1]
    return upper


def _one_sided(matrix: NDArray[np.float32], zero: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The smallest and the largest code that each weight may have, [K, N] each."""
    nothing = matrix == 0
    never_negative, never_positive = (side.all(axis=0) for side in (matrix >= 0, matrix <= 0))
    least = np.where(nothing | never_negative, zero, np.float32(-np.inf))
    return least, np.where(nothing | never_positive, zero, np.float32(np.inf))


def _laid_out(linear: Linear, codes: NDArray[np.generic]) -> NDArray[np.generic]:
    """``codes`` [K, N] in the shape of the weight."""
    return np.ascontiguousarray(codes if linear.in_axis == 0 else codes.T).reshape(linear.shape)
