"""Round each weight so that the next ones make up for it: the codes q whose product is closest on the calibration rows.

    min over q of  Σ_rows ‖x̂ (q s) - x̂ W‖² / ‖x W‖²  +  λ ‖q s - W‖²        x̂: x as the quantizer of the data leaves it

Rows of W are rounded one after the other, those of the strongest channels first; what is lost by each is put onto those
that are left, in proportion to the inverse of H = x̂ᵀ x̂ + λ (GPTQ, Frantar et al., 2023, section 3.3, after OBQ).
The mean of what is still lost goes into the bias, where there is one.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky

from ..calib.collect import statistics
from ..ir.linear import Linear, find_linears
from .choose_layers import KEPT
from .loss import IDLE
from .plan_quantizers import QUANTIZER, Quantizer, quantizer

BIAS = "requant.bias"
"""Key in `Node.meta` of what is added to a quantized linear's output, [N], to make up for its weights' rounding."""

DAMPING = 0.1
"""λ as a share of the mean of H's diagonal: keeps channels that the rows hardly show near their nearest codes."""

_BLOCK = 128
"""Rows of W that are rounded before the rest is updated."""


@dataclass(frozen=True)
class RoundWeights(ir.passes.InPlacePass):
    """Choose the codes of every planned MatMul, Gemm and 1 x 1 Conv by their products; others are rounded to nearest.

    Needs a plan (`PlanQuantizers`). A weight that several layers share is left to the nearest codes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        chosen = [linear for linear in find_linears(model.graph) if _is_plain(linear)]
        for linear in chosen:
            _round(linear)
        return ir.passes.PassResult(model, bool(chosen))


def _is_plain(linear: Linear) -> bool:
    """Whether the layer is planned, and is a matrix of its own."""
    planned = quantizer(linear.data) is not None and quantizer(linear.weight) is not None
    pointwise = linear.groups == 1 and set(linear.shape[2:]) <= {1}
    return planned and pointwise and KEPT not in linear.node.meta and len(linear.weight.uses()) == 1


def _round(linear: Linear) -> None:
    seen, data, weight = statistics(linear.data), quantizer(linear.data), quantizer(linear.weight)
    assert seen is not None
    assert data is not None
    assert weight is not None
    matrix = linear.matrix()
    shares = _shares(seen.rows @ matrix)
    rows, codes = seen.rows.astype(np.float64), _through(seen.rows, data)
    mean, mean_codes = shares @ rows, shares @ codes
    centred = (codes - mean_codes) * np.sqrt(shares)[:, None]
    gram = centred.T @ centred
    gram += max(DAMPING * float(np.trace(gram)) / len(gram), float(np.finfo(np.float32).tiny)) * np.eye(len(gram))
    rounded = compensated(matrix, gram, weight.scale, weight.bits)
    if linear.bias is not None or linear.node.op_type != "MatMul":
        linear.node.meta[BIAS] = mean @ matrix - mean_codes @ (rounded * weight.scale)
    linear.weight.meta[QUANTIZER] = replace(weight, codes=_laid_out(linear, rounded))


def _shares(product: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much each row counts: one over its size, and 1 in all."""
    size = np.square(product).sum(axis=1, dtype=np.float64)
    least = max(IDLE * float(np.median(size)), float(np.finfo(np.float32).tiny))
    inverse = 1 / np.maximum(size, least)
    shares: NDArray[np.float64] = inverse / inverse.sum()
    return shares


def _through(rows: NDArray[np.float32], planned: Quantizer) -> NDArray[np.float64]:
    """``rows`` as the quantizer leaves them."""
    half, scale = 2 ** (planned.bits - 1), float(planned.scale)
    through: NDArray[np.float64] = np.clip(np.round(rows.astype(np.float64) / scale), -half, half - 1) * scale
    return through


def compensated(
    matrix: NDArray[np.float32], gram: NDArray[np.float64], scale: NDArray[np.float32], bits: int
) -> NDArray[np.int8]:
    """Codes [K, N] for ``matrix`` [K, N], whose columns have steps ``scale`` [N]; ``gram`` [K, K] is H."""
    largest, width = 2 ** (bits - 1) - 1, len(matrix)
    order = np.argsort(-np.diag(gram), kind="stable")
    inverse = cho_solve(cho_factor(gram[np.ix_(order, order)]), np.eye(width))
    upper = cholesky(inverse).astype(np.float32)
    rest, codes = matrix[order] / scale, np.empty(matrix.shape, np.int8)
    for start in range(0, width, _BLOCK):
        block = slice(start, min(start + _BLOCK, width))
        lost = np.empty_like(rest[block])
        for row in range(block.start, block.stop):
            rounded = np.clip(np.round(rest[row]), -largest, largest)
            lost[row - start] = (rest[row] - rounded) / upper[row, row]
            rest[row + 1 : block.stop] -= np.outer(upper[row, row + 1 : block.stop], lost[row - start])
            codes[order[row]] = rounded
        rest[block.stop :] -= upper[block, block.stop :].T @ lost
    return codes


def _laid_out(linear: Linear, codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """``codes`` [K, N] in the shape of the weight."""
    return np.ascontiguousarray(codes if linear.in_axis == 0 else codes.T).reshape(linear.shape)
