"""ONNX Runtime's CUDA provider. Read from the kernels and selectors of ONNX Runtime 1.31.1, not run."""

from ...ir.ops import PRODUCTS
from ..rules import operands
from ..rules.rule import Rule
from .common import FIXES, FLOAT_LAYER, ONNXRUNTIME, ONNXRUNTIME_READS, RULES
from .target import INT4, INT8, UINT4, Target

CUDA = Target(
    name="cuda",
    activations={},
    ops=PRODUCTS,
    weight_only=frozenset({INT8, INT4, UINT4}),
    reasons={
        "static": "ONNX Runtime has no integer product on CUDA: take the target tensorrt, or the recipe "
        "int8-weight or int4-weight with float16"
    },
    onnx_versions=ONNXRUNTIME_READS,
    distributions=ONNXRUNTIME,
    rules=(
        *RULES,
        Rule(
            "integer-product",
            operands.integer_product,
            "slower: the provider has no integer {what}, so the operands are dequantized first",
            "quantize the weights alone, or take the target tensorrt",
        ),
    ),
    fixes={**FIXES, "integer-product": (FLOAT_LAYER,)},
)
