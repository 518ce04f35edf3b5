"""ONNX Runtime's CUDA provider. Read from the kernels and selectors of ONNX Runtime 1.31.1, not run."""

import onnx_ir as ir

from ...ir.ops import PRODUCTS
from ..ort import provider
from ..ort.provider import Options, Provider
from ..rules import operands
from ..rules.rule import Rule
from .common import FIXES, FLOAT_LAYER, ONNXRUNTIME, ONNXRUNTIME_READS, RULES
from .target import INT4, INT8, UINT4, Target


def _folded_weights(model: ir.Model) -> Options:
    """Fold constants at least, where data are quantized: CUDA has no integer product. Blocked weights stay in int4."""
    has_qdq = any(node.op_type == "QuantizeLinear" for node in model.graph.all_nodes())
    return {"session.disable_quant_qdq": "1"} if has_qdq else {}


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
    provider=Provider(provider.CUDA, "pip install 'requant[gpu]'", config=_folded_weights),
)
