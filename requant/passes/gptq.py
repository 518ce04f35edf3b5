"""GPTQ: round each weight so that the next ones make up for it, for a product closest on the calibration rows.

    min over q of  Σ_rows ‖x̂ (q s) - x̂ W‖² / ‖x W‖²  +  λ ‖q s - W‖²        x̂: x as the quantizer of the data leaves it

Rows of W are rounded one after the other, those of the strongest channels first; the error of each is put onto those
that remain, in proportion to the inverse of H = x̂ᵀ x̂ + λ (GPTQ, Frantar et al., 2023, section 3.3, after OBQ).
The mean of the error that remains goes into the bias, where there is one (`requant.passes.lowering.bias_correction`).

Weights that are exactly 0 stay 0, and a column without negative weights gets none: the rest makes up for their share.
What is sparse stays sparse, and a sum of energies before a logarithm stays positive.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.linalg.lapack import dtrtri

from ..ir.linear import Linear, find_linears
from ..ir.quantizer import QUANTIZER, Quantizer
from .annotations import ROW_WEIGHTS, is_kept
from .cost_model.row_weights import row_weights
from .epsilons import is_floor
from .parallel import side_by_side
from .planned_layer import PlannedLayer, planned_layer

DAMPING = 0.1
"""λ as a share of the mean of H's diagonal: keeps channels that the rows hardly show near their nearest integers."""

_BLOCK = 128
"""Rows of W that are rounded before the rest is updated."""


@dataclass(frozen=True)
class Gptq(ir.passes.InPlacePass):
    """A pass that rounds the weight of every planned MatMul, Gemm and 1 x 1 Conv; other weights are rounded to nearest.

    Needs a plan (`PlanQuantizers`). A weight that several layers share is rounded to nearest. Reads statistics and the
    annotations `QUANTIZER` and `KEPT`; writes `QUANTIZER` of weights, and `ROW_WEIGHTS`.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        candidates = (planned_layer(linear) for linear in find_linears(model.graph))
        layers = [layer for layer in candidates if layer is not None and _is_plain(layer)]
        side_by_side(_round, layers)
        return ir.passes.PassResult(model, bool(layers))


def _is_plain(layer: PlannedLayer) -> bool:
    """Tell whether the layer was calibrated along its channels, and its weight is a matrix of its own."""
    linear, stats = layer.linear, layer.statistics
    is_calibrated = stats is not None and len(stats.minimum) == linear.inputs
    is_matrix = linear.groups == 1 and not linear.batched and set(linear.shape[2:]) <= {1}
    return is_calibrated and is_matrix and not is_kept(linear) and len(linear.weight.uses()) == 1


def _round(layer: PlannedLayer) -> None:
    """Round the weight of one layer, and keep the row weights where there is a bias to correct."""
    linear, stats, data = layer.linear, layer.statistics, layer.data
    assert stats is not None
    matrix = linear.matrix()
    shares = _shares(stats.rows @ matrix)
    rows = stats.rows.astype(np.float64) if data is None else data.decode(data.encode(stats.rows))
    centred = (rows - shares @ rows) * np.sqrt(shares)[:, None]
    gram = centred.T @ centred
    gram += max(DAMPING * float(np.trace(gram)) / len(gram), float(np.finfo(np.float32).tiny)) * np.eye(len(gram))
    integer_matrix = gptq(matrix, gram, _as_matrix(layer))
    if (linear.bias is not None or linear.node.op_type != "MatMul") and not is_floor(linear):
        ROW_WEIGHTS.set(linear.node, shares)
    integers = _laid_out(linear, integer_matrix.astype(layer.weight.dtype.numpy()))
    linear.weight.meta[QUANTIZER] = replace(layer.weight, codes=integers)


def _shares(product: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of each row in the mean: one over its size, and 1 in all."""
    weights = row_weights(np.square(product).sum(axis=1, dtype=np.float64))
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _as_matrix(layer: PlannedLayer) -> Quantizer:
    """Return the quantizer of the weight for the matrix [K, N] that it holds."""
    weight = layer.weight
    if not weight.block:
        return replace(weight, axis=1)
    if layer.linear.in_axis == 0:
        return weight
    zero_point = None if weight.zero_point is None else weight.zero_point.T
    return replace(weight, axis=0, scale=weight.scale.T, zero_point=zero_point)


def gptq(matrix: NDArray[np.float32], gram: NDArray[np.float64], plan: Quantizer) -> NDArray[np.float32]:
    """Return integers [K, N] for ``matrix`` [K, N], as floats; ``gram`` [K, K] is H."""
    width, column = len(matrix), plan.scale.max(axis=0) if plan.block else plan.scale
    step = plan.spread(plan.scale, matrix.shape) / column  # of each row, in units of its column's
    zero = 0 if plan.zero_point is None else plan.spread(plan.zero_point, matrix.shape)
    step, zero = np.broadcast_to(step, matrix.shape), np.broadcast_to(np.float32(zero), matrix.shape)
    order = np.argsort(-np.diag(gram), kind="stable")
    upper = _inverse_factor(gram[np.ix_(order, order)]).astype(np.float32)
    least, most = _one_sided(matrix, zero)
    residual, integers = matrix[order] / column, np.empty(matrix.shape, np.float32)
    for start in range(0, width, _BLOCK):
        block = slice(start, min(start + _BLOCK, width))
        errors = np.empty_like(residual[block])
        for row in range(block.start, block.stop):
            k = order[row]
            integers[k] = np.clip(plan.nearest(residual[row] / step[k] + zero[k]), least[k], most[k])
            errors[row - start] = (residual[row] - (integers[k] - zero[k]) * step[k]) / upper[row, row]
            residual[row + 1 : block.stop] -= np.outer(upper[row, row + 1 : block.stop], errors[row - start])
        residual[block.stop :] -= upper[block, block.stop :].T @ errors
    return integers


def _inverse_factor(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper triangular U with Uᵀ U = H⁻¹: that of the reversed H, inverted and turned back, in 2/3 K³ steps.

    Raises:
        LinAlgError: H is singular.
    """
    inverse, info = dtrtri(cholesky(gram[::-1, ::-1], lower=True), lower=1)
    if info:
        raise np.linalg.LinAlgError("the Gram matrix of the calibration rows is singular")
    upper: NDArray[np.float64] = inverse[::-1, ::-1]
    return upper


def _one_sided(matrix: NDArray[np.float32], zero: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return the smallest and the largest integer that each weight may have, [K, N] each."""
    is_zero = matrix == 0
    never_negative, never_positive = (side.all(axis=0) for side in (matrix >= 0, matrix <= 0))
    least = np.where(is_zero | never_negative, zero, np.float32(-np.inf))
    return least, np.where(is_zero | never_positive, zero, np.float32(np.inf))


def _laid_out(linear: Linear, integers: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return ``integers`` [K, N] in the shape of the weight."""
    return np.ascontiguousarray(integers if linear.in_axis == 0 else integers.T).reshape(linear.shape)
