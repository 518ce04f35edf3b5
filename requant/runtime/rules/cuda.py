"""What ONNX Runtime's CUDA provider does with a graph that breaks one of its rules."""

from . import operands
from .rule import Rule

RULES = (
    Rule(
        "integer-product",
        operands.integer_product,
        "slower: the provider has no {what} of codes, so its operands are dequantized first",
        "quantize the weights alone, or take the target tensorrt",
    ),
)
"""Read from the provider's kernels and selectors of ONNX Runtime 1.31.1, not run."""
