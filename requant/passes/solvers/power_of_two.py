"""Powers of two: d = 2^k, a scale that changes exponents and no mantissa."""

from dataclasses import dataclass

import numpy as np

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .solver import Solver


@dataclass(frozen=True)
class PowerOfTwo:
    """The scale of ``solver``, each rounded to the nearest power of two; its shift as it is.

    Multiplying by 2^k rounds nothing, so that a rewrite without a shift leaves every float the same to the bit; a
    value in a floating-point format keeps its mantissa, and k is an offset of its exponent. Source: the pre-shifted
    exponent bias of LLM-FP4 (Liu et al., 2023), section 4.2.
    """

    solver: Solver

    def __str__(self) -> str:
        return f"{self.solver}, powers of two"

    def __call__(self, observation: Observation) -> ChannelTransform:
        transform = self.solver(observation)
        return ChannelTransform(np.exp2(np.round(np.log2(transform.scale))), transform.shift)
