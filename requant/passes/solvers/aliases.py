"""Methods that are another solver with certain options: the same rewrite under another name."""

from .power_of_two import PowerOfTwo
from .repq import RepQ
from .smoothquant import SmoothQuant

REPQ_VIT = RepQ(percentiles=(99.9, 99.99, 99.999, 100.0))
"""RepQ-ViT (Li et al., 2023) with the ranges of its code, which tries these percentiles but the last."""

QSM = SmoothQuant(1.0)
"""Quantization step migration of MergeQuant (Wang et al., 2025): d_c ∝ s_c, the channel's own symmetric step.

There γ/s makes the norm put out integers. γ/(s/s̃) followed by a quantizer with the scale s̃ makes the same ones.
"""

OUTLIER_TUNE = SmoothQuant(1.0, shift=True)
"""OutlierTune (Wang et al., 2024): symmetrization moves each channel to its centre, then its step goes into W.

`RepQ` without its rounding of the zero point to an integer.
"""

LLM_FP4 = PowerOfTwo(QSM)
"""LLM-FP4 (Liu et al., 2023), section 4.2: the channel's exponent bias, as an integer offset to the value's."""
