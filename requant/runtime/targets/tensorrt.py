"""TensorRT and TensorRT-RTX."""

from dataclasses import replace

import onnx_ir as ir

from ...ir.formats import ActivationType
from ...ir.ops import LINEAR
from ..dtypes import dtypes
from ..fixes import remove_qdq, requantize
from ..fixes.safe_fix import FixTable, SafeFix, each
from ..ort.provider import CUDA, Options, Provider
from .common import FIXES, FLOAT_CONSTANT, FLOAT_LAYER, NO_PAIR, RULES
from .target import FP8, INT4, INT8, AttentionKernel, Target
from .tensorrt_rules import TENSORRT_RTX_RULES, TENSORRT_RULES

_INT8_AROUND_0 = SafeFix(each(requantize.symmetric), "requantized uint8 as int8 with zero point 0")

_FIXES: FixTable = {
    **FIXES,
    "zero-point": (FLOAT_CONSTANT,),
    "uint8-activation": (_INT8_AROUND_0,),
    "uint8-weight": (_INT8_AROUND_0,),
    "int32-bias": (FLOAT_CONSTANT,),
    "quantized-output": (NO_PAIR,),
    "quantized-residual": (NO_PAIR,),
    "partial-attention": (SafeFix(remove_qdq.attention, "left both products of the attention in float", exact=False),),
    "thin-layer": (FLOAT_LAYER,),
    "no-integer-layer": (FLOAT_LAYER,),
}


def _allowed_types(model: ir.Model) -> Options:
    """Allow the types of the graph: under ONNX Runtime, TensorRT 10 is weakly typed, and float16 goes with int8."""
    types = dtypes(model)
    half = types & {ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN}
    flags = {"trt_int8_enable": ir.DataType.INT8 in types, "trt_fp16_enable": bool(half)}
    return {name: "1" for name, enabled in flags.items() if enabled} | (
        {"trt_bf16_enable": "1"} if ir.DataType.BFLOAT16 in types else {}
    )


TENSORRT = Target(
    name="tensorrt",
    activations={INT8: ActivationType(INT8), FP8: ActivationType(FP8)},
    ops=LINEAR - {"ConvTranspose"},
    weight_only=frozenset({INT8, INT4}),
    integer_residuals=True,
    attention={
        FP8: AttentionKernel(range(16, 257), range(32, 2**20), half=True),
        INT8: AttentionKernel(frozenset({16, 32, 64}), range(1, 513), never_beside=frozenset({FP8})),
    },
    body=ir.DataType.FLOAT16,  # attention in float32 is no kernel of its own
    highest_opset=24,
    highest_ir=12,
    engine="tensorrt",
    distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    rules=RULES + TENSORRT_RULES,
    fixes=_FIXES,
    provider=Provider(
        "TensorrtExecutionProvider",
        "pip install 'requant[tensorrt]'",
        level="ORT_DISABLE_ALL",  # one of the optimizations adds an int32 bias, which TensorRT's parser refuses
        options=_allowed_types,
        cache={
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "{folder}",
            "trt_engine_cache_prefix": "{model}",  # without it, models that differ in weights alone share an engine
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "{folder}",
        },
        profiles=("trt_profile_{bound}_shapes", ","),
        fallbacks=(CUDA,),
        libraries="tensorrt_libs",
    ),
)

TENSORRT_RTX = replace(
    TENSORRT,
    name="tensorrt-rtx",
    common_scale=True,
    loudest_residual=20.0,  # a sum is a kernel of its own, which reads and writes nearly twice as much in halves
    grouped=False,
    reasons={"grouped": "tensorrt-rtx pads the channels of a grouped Conv in int8 up to four times"},
    engine="tensorrt-rtx",
    distributions=("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
    rules=TENSORRT.rules + TENSORRT_RTX_RULES,
    fixes={**_FIXES, "grouped-conv": (FLOAT_LAYER,)},
    provider=Provider(
        "NvTensorRTRTXExecutionProvider",
        "pip install 'onnxruntime>=1.24' onnxruntime-ep-nv-tensorrt-rtx",
        level="ORT_DISABLE_ALL",
        cache={"nv_runtime_cache_path": "{folder}"},
        profiles=("nv_profile_{bound}_shapes", ";"),
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
    ),
)
