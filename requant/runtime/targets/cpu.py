"""ONNX Runtime's CPU provider: x86-64 with VNNI, x86-64 without, and ARM."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ...ir.formats import ActivationType
from ...ir.ops import LINEAR, QLINEAR_PRODUCTS
from ...ir.validate import stored_tensors
from ..fixes import remove_qdq, requantize
from ..fixes.safe_fix import FixTable, SafeFix, each
from ..ort.provider import Options, Provider
from ..price_tables import ARM, AVX2, VNNI
from .common import (
    FIXES,
    FLOAT_LAYER,
    INT8_WEIGHT,
    INT32_BIAS,
    ONNXRUNTIME,
    ONNXRUNTIME_READS,
    ROW_BIAS,
    RULES,
    UINT8_ACTIVATIONS,
)
from .cpu_rules import CPU_RULES
from .target import INT4, INT8, UINT4, Target

ROUNDS_HALVES = "1.30"
"""The first version whose Q rounds float16 to the nearest integer: those before round towards 0."""

_FIXES: FixTable = {
    **FIXES,
    "uint8-weight": (INT8_WEIGHT,),
    "int8-activation": (UINT8_ACTIVATIONS,),
    "float-bias": (ROW_BIAS, INT32_BIAS),
    "bias-scale": (INT32_BIAS,),
    "zero-point-left-out": (SafeFix(each(requantize.stored_zero_points), "stored the zero point"),),
    "conv-output": (FLOAT_LAYER,),
    "weight-only": (SafeFix(remove_qdq.kernels, "stored the weight in float"),),
}


def _without_saturation(model: ir.Model) -> Options:
    """Choose the slower exact kernel for 8-bit weights: x86 without VNNI adds two products of 8 bits in 16.

    It has none for products that a file has in integers throughout.
    """
    if any(node.op_type in QLINEAR_PRODUCTS for node in model.graph.all_nodes()):
        return {}
    weights = (tensor for tensor in stored_tensors(model) if tensor.dtype == ir.DataType.INT8 and tensor.size > 1)
    saturates = any(int(np.abs(tensor.numpy().astype(np.int16)).max()) > 64 for tensor in weights)
    return {"session.x64quantprecision": "1"} if saturates else {}


def _int8_activations(model: ir.Model) -> Options:
    """Allow integer kernels for int8 activations."""
    return {"session.qdqisint8allowed": "1"}


CPU = Target(
    name="cpu",
    activations={INT8: ActivationType(ir.DataType.UINT8, 128)},
    ops=LINEAR - {"ConvTranspose"},
    weight_only=frozenset({INT8, INT4, UINT4}),
    dynamic=True,
    recurrent=frozenset({"LSTM"}),
    integer_products=True,
    integer_residuals=True,
    integer_outputs=frozenset({"Conv"}),
    prices=VNNI,
    half_precision=False,
    half_products=False,
    zero_points=True,
    onnx_versions=ONNXRUNTIME_READS,
    distributions=ONNXRUNTIME,
    rules=RULES + CPU_RULES,
    fixes=_FIXES,
    provider=Provider(),
)

CPU_AVX2 = replace(CPU, name="cpu-avx2", weight_bits=7, prices=AVX2, provider=Provider(config=_without_saturation))

CPU_ARM = replace(
    CPU,
    name="cpu-arm",
    prices=ARM,
    activations={INT8: ActivationType(INT8)},
    rules=tuple(rule for rule in CPU.rules if rule.name != "int8-activation"),
    provider=Provider(config=_int8_activations),
)
