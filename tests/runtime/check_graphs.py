"""Tiny graphs that break one rule each, and neighbours that break none, as ONNX text."""

import re
from typing import TypedDict

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, DTypeLike

_SQUARE = np.arange(256).reshape(16, 16) % 7
_CHANNELS = np.linspace(0.01, 0.04, 16)

_SCALES: dict[str, ArrayLike] = {"s": 0.1, "s2": 0.2, "fine": 1e-12, "two": 2, "s1": [0.1]}
_SCALES |= {"s0": 0, "snan": np.nan, "tiny": 1e-37, "denormal": 1e-40, "sinf": [1] * 15 + [np.inf]}
_SCALES |= {"sw": _CHANNELS, "sb": 0.1 * _CHANNELS, "sblock": [_CHANNELS] * 2}
_WEIGHTS: dict[str, ArrayLike] = {"w": _SQUARE, "thin": _SQUARE[:, :8], "v8": range(1, 17)}
_WEIGHTS |= {"kernel": _SQUARE[..., None, None], "kernel8": _SQUARE[:8, :, None, None]}
_WEIGHTS |= {"broad": np.concatenate([_SQUARE, _SQUARE.T], axis=1)[..., None, None]}
_WEIGHTS |= {"each": _SQUARE[:, :1, None, None]}
_WEIGHTS |= {"kernel9": _SQUARE[:9, :, None, None]}
_TERMS: dict[str, ArrayLike] = {"b0": [0] * 16, "column": np.linspace(0.5, 2, 32)[:, None, None]}
_ARRAYS: dict[DTypeLike, dict[str, ArrayLike]] = {
    np.float32: _SCALES
    | {"b0": [0] * 16, "column": np.linspace(0.5, 2, 32)[:, None, None]}
    | {"b": range(16), "b3": [[range(16)]], "wf": _SQUARE, "kf": _SQUARE[..., None, None]},
    np.float16: {"s16": 0.1, "sw16": _CHANNELS},
    np.uint8: {"u0": 0, "u128": 128, "u128s": [128] * 16, "wu": _SQUARE, "vu": range(150, 166)},
    np.int8: _WEIGHTS | {"i0": 0, "i5": 5, "i0s": [0], "i0000": [0] * 16},
    np.int16: {"short": 0},
    np.int32: {"b32": range(16), "v32": range(1, 17)},
    np.int64: {"i64": [0]},
    ml_dtypes.int4: {"w4": _SQUARE},
    ml_dtypes.float8_e4m3fn: {"f8": 0, "w8": _SQUARE},
}
_TENSORS = {
    name: np.asarray(array).astype(dtype) for dtype, arrays in _ARRAYS.items() for name, array in arrays.items()
}

X, ROWS, IMAGE, HALF = "float[2,3,16] x", "float[n,16] x", "float[1,16,6,6] x", "float16[2,3,16] x"


def graph(body: str, x: str = X, opset: int = 20, ir_version: int = 9) -> ir.Model:
    """Build a graph of the nodes of ``body``, from ``x`` to ``y``; they may name any of _TENSORS."""
    words = set(re.findall(r"\w+", body))
    text = f'<ir_version: {ir_version}, opset_import: ["": {opset}]> tiny ({x}) => (float[] y) {{ {body} }}'
    return ir.from_onnx_text(text, [ir.tensor(_TENSORS[name], name=name) for name in _TENSORS if name in words])


def qdq(zero_point: str, x: str = "x", y: str = "xd", scale: str = "s", axis: int = 1) -> str:
    q, dq = f"QuantizeLinear <axis = {axis}>", f"DequantizeLinear <axis = {axis}>"
    return f"{y}q = {q} ({x}, {scale}, {zero_point}) {y} = {dq} ({y}q, {scale}, {zero_point})\n"


def weight(integers: str = "w", scale: str = "sw", axis: int = 1) -> str:
    zero_point = ", i0000" if integers in ("w", "kernel") and scale != "s16" else ""
    return f"wd = DequantizeLinear <axis = {axis}> ({integers}, {scale}{zero_point})\n"


INT8, UINT8, W, Y, M = qdq("i0"), qdq("u128"), weight(), "y = MatMul (xd, wd)\n", "m = MatMul (xd, wd)\n"
BLOCKED = "wd = DequantizeLinear <axis = 0, block_size = 8> (w, sblock)\n"
BIAS = "bd = DequantizeLinear <axis = 0> ({}, {})\n".format
CONV = weight("kernel", axis=0) + "c = Conv (xd, wd)\n"
CONV_BIAS = (weight("kernel", axis=0) + BIAS("b32", "{}") + "c = Conv (xd, wd, bd)\n").format
TRANSPOSED = "y = Gemm <transB = 1> (xd, wd)"


class Options(TypedDict, total=False):  # what `graph` takes beside the body
    x: str
    opset: int
    ir_version: int


NEW: Options = {"opset": 21, "ir_version": 10}

Case = tuple[str, str, Options]
"""The graph that breaks the rule, the one that does not, and what both are built with."""

TENSORRT: dict[str, Case] = {
    "scale-not-positive": (qdq("i0", scale="s0") + W + Y, qdq("i0", scale="tiny") + W + Y, {}),
    "scale-not-normal": (INT8 + weight(scale="sinf") + Y, INT8 + W + Y, {}),
    "scale-per-channel": (qdq("i0000", scale="sw", axis=2) + W + Y, qdq("i0s", scale="s1") + W + Y, {}),
    "scale-not-constant": (
        "t = ReduceMax <keepdims = 0> (x)" + qdq("i0", scale="t") + W + Y,
        "t = Cast <to = 1> (s16)" + qdq("i0", scale="t") + W + Y,
        {},
    ),
    "zero-point": (qdq("i5") + W + Y, INT8 + W + Y, {}),
    "uint8-activation": (qdq("u0") + W + Y, INT8 + W + Y, {}),
    "uint8-weight": (INT8 + weight("wu") + Y, INT8 + W + Y, {}),
    "code-type": (qdq("short") + W + Y, qdq("f8") + weight("w8") + Y, NEW),
    "int32-bias": (INT8 + W + BIAS("b32", "sb") + M + "y = Add (m, bd)", INT8 + W + M + "y = Add (m, b)", {}),
    "integer-op": (
        "q, t, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, w, z) y = Cast <to = 1> (m)",
        "y = MatMul (x, wf)",
        {},
    ),
    "weight-scale-axis": (INT8 + weight(axis=0) + Y, INT8 + weight(axis=-1) + Y, {}),
    "float-partner": (
        INT8 + "y = MatMul (xd, wf)",
        qdq("i0", "x", "k") + INT8 + "t = Transpose <perm = [0, 2, 1]> (k) y = MatMul (xd, t)",
        {},
    ),
    "weight-only": (W + "y = MatMul (x, wd)", W + "i = Cast <to = 7> (x) y = Gather (wd, i)", {}),
    "small-weight": (INT8 + weight("w4") + Y, weight("w4") + "y = MatMul (x, wd)", NEW),
    "blocked-weight": (INT8 + BLOCKED + Y, INT8 + W + Y, NEW),
    "integer-constant": (
        INT8 + "t = Transpose (w) wd = DequantizeLinear (t, s, i0)" + Y,
        INT8 + "t = DequantizeLinear (w, s, i0) wd = Transpose (t)" + Y,
        {},
    ),
    "half-scales": (
        qdq("i0", scale="s16") + weight(scale="sw16") + M + "y = Cast <to = 1> (m)",
        qdq("i0", scale="s16") + "wd = DequantizeLinear (w, s16)" + M + "y = Cast <to = 1> (m)",
        {"x": HALF},
    ),
    "no-integer-layer": (
        INT8 + weight("kernel", axis=0) + "y = ConvTranspose (xd, wd)",
        INT8 + CONV + "y = Relu (c)",
        {"x": IMAGE},
    ),
    "quantized-output": (
        INT8 + W + M + qdq("i0", "m", "md") + "y = Relu (md)",
        INT8 + W + M + qdq("i0", "m", "md") + "y = MatMul (md, wd)",
        {},
    ),
}

SIDES = "r = Tanh (x) e = Concat <axis = 1> (r, x)\n"
_JOINED = weight("broad", axis=0) + "y = Conv (xd, wd)"
OPENVINO: dict[str, Case] = {
    "concatenated-int8": (
        SIDES + "a = Relu (e)" + qdq("i0", "a") + _JOINED,
        SIDES + "a = Relu (e)" + qdq("u128", "a") + _JOINED,
        {"x": IMAGE},
    ),
    "shared-conv-output": (
        UINT8 + CONV + "r = Relu (c) y = Add (r, c)",
        UINT8 + CONV + "r = Relu (c) y = Add (r, r)",
        {"x": "float[n,16,6,6] x"},
    ),
}

CPU: dict[str, Case] = {
    "scale-not-positive": (qdq("u128", scale="snan") + W + Y, qdq("u128", scale="tiny") + W + Y, {}),
    "scale-not-normal": (qdq("u128", scale="denormal") + W + Y, qdq("u128", scale="tiny") + W + Y, {}),
    "scale-per-channel": (qdq("u128s", scale="sw", axis=2) + W + Y, UINT8 + W + Y, {}),
    "uint8-weight": (UINT8 + weight("wu") + Y, UINT8 + W + Y, {}),
    "code-type": (qdq("f8") + qdq("f8", "wf", "wd") + Y, UINT8 + qdq("i0", "wf", "wd") + Y, {}),
    "weight-scale-axis": (
        UINT8 + weight(axis=1) + TRANSPOSED,
        UINT8 + weight(axis=0) + TRANSPOSED,
        {"x": ROWS},
    ),
    "float-partner": (
        UINT8 + "y = MatMul (xd, wf)",
        qdq("u0", "x", "k") + UINT8 + "t = Transpose <perm = [0, 2, 1]> (k) y = MatMul (xd, t)",
        {},
    ),
    "weight-only": (W + "y = MatMul (x, wd)", UINT8 + W + Y, {}),
    "small-weight": (UINT8 + weight("w4") + Y, UINT8 + W + Y, NEW),
    "blocked-weight": (UINT8 + BLOCKED + Y, UINT8 + "wd = DequantizeLinear (w, s)" + Y, NEW),
    "weight-place": (
        UINT8 + weight(axis=0) + "t = Transpose (wd) y = MatMul (xd, t)",
        UINT8 + weight(axis=0) + TRANSPOSED,
        {"x": ROWS},
    ),
    "float16-scale": (
        qdq("u128", scale="s16") + weight(scale="s16") + M + "y = Cast <to = 1> (m)",
        "z = Cast <to = 1> (x)" + qdq("u128", "z") + W + Y,
        {"x": HALF},
    ),
    "float-bias": (UINT8 + W + M + "y = Add (m, b)", UINT8 + W + M + "y = Add (m, b3)", {}),
    "bias-scale": (
        UINT8 + W + BIAS("b32", "sw") + "y = Gemm (xd, wd, bd)",
        UINT8 + W + BIAS("b32", "sb") + "y = Gemm (xd, wd, bd)",
        {"x": ROWS},
    ),
    "zero-point-left-out": (
        UINT8 + "wd = DequantizeLinear (w, s) y = Gemm (xd, wd)",
        UINT8 + "wd = DequantizeLinear (w, s, i0) y = Gemm (xd, wd)",
        {"x": ROWS},
    ),
    "gemm-factors": (
        UINT8 + W + BIAS("b32", "sb") + "y = Gemm <beta = 0.5> (xd, wd, bd)",
        UINT8 + W + "y = Gemm <alpha = 0.5> (xd, wd)",
        {"x": ROWS},
    ),
    "bias-overflow": (
        UINT8 + "kd = DequantizeLinear (kernel, fine) c = Conv (xd, kd, b) r = Relu (c)" + qdq("u0", "r", "y"),
        UINT8 + "kd = DequantizeLinear (kernel, s) c = Conv (xd, kd, b) r = Relu (c)" + qdq("u0", "r", "y"),
        {"x": IMAGE},
    ),
    "conv-output": (UINT8 + CONV + "y = Identity (c)", UINT8 + CONV + qdq("u128", "c", "y"), {"x": IMAGE}),
    "relu-between": (
        UINT8 + CONV + "r = Relu (c)" + qdq("u128", "r", "y"),
        UINT8 + CONV + "r = Relu (c)" + qdq("u0", "r", "y"),
        {"x": IMAGE},
    ),
    "int8-activation": (INT8 + W + M + "y = Add (m, xd)", INT8 + W + M + "y = Add (m, x)", {}),
    "no-integer-kernel": (
        UINT8 + "y = LayerNormalization (xd, b)",
        UINT8 + W + M + "n = LayerNormalization (xd, b) y = Add (m, n)",
        {},
    ),
}

OTHER_WAYS: list[tuple[str, str, str, Options]] = [
    ("tensorrt", "zero-point", UINT8 + W + Y, {}),
    ("tensorrt", "int32-bias", INT8 + W + BIAS("b32", "sb") + "y = Gemm (xd, wd, bd)", {"x": ROWS}),
    ("tensorrt", "weight-scale-axis", INT8 + W + TRANSPOSED, {"x": ROWS}),
    ("tensorrt", "weight-scale-axis", INT8 + W + "t = Transpose (wd) y = MatMul (xd, t)", {}),
    ("tensorrt", "weight-scale-axis", INT8 + weight("kernel") + "y = Conv (xd, wd)", {"x": IMAGE}),
    ("tensorrt", "quantized-output", INT8 + CONV + qdq("i0", "c", "y"), {"x": IMAGE}),
    ("cpu", "float-bias", UINT8 + W + "y = Gemm (xd, wd, b)", {"x": ROWS}),
    ("cpu", "float-bias", UINT8 + W + M + "y = Add (m, x)", {"x": ROWS}),
    ("cpu", "bias-scale", UINT8 + CONV_BIAS("sw") + qdq("u128", "c", "y"), {"x": IMAGE}),
    ("cpu", "relu-between", UINT8 + W + M + "r = Relu (m)" + qdq("u128", "r", "y"), {}),
    ("cpu", "zero-point-left-out", UINT8 + "wd = DequantizeLinear (w, s)" + M + "y = Add (m, b)", {}),
    ("cpu", "code-type", qdq("short") + W + Y, NEW),
    ("cpu", "int8-activation", INT8 + W + M + "y = Add (m, b)", NEW),
    ("cpu", "weight-place", UINT8 + W + "y = MatMul (wd, xd)", {"x": "float[16,3] x"}),
]
FINE: list[tuple[str, str, Options]] = [
    ("tensorrt", INT8 + weight(axis=0) + TRANSPOSED, {"x": ROWS}),
    ("tensorrt", INT8 + weight(axis=0) + "t = Transpose (wd) y = MatMul (xd, t)", {}),
    ("tensorrt", INT8 + CONV + "y = Relu (c)", {"x": IMAGE}),
    ("tensorrt", INT8 + CONV + qdq("i0", "c", "cd") + "y = Add (cd, xd)", {"x": IMAGE}),
    ("tensorrt", INT8 + qdq("i0", "wf", "wd") + Y, {}),
    ("cpu", UINT8 + W + M + "y = Add (m, b)", {"x": "float[n,3,16] x"}),
    ("cpu", UINT8 + W + M + "a = Add (m, b)" + qdq("u128", "a", "y"), {}),
    ("cpu", UINT8 + W + BIAS("b32", "sb") + M + "y = Add (m, bd)", {"x": ROWS}),
    ("cpu", UINT8 + CONV_BIAS("sb") + qdq("u128", "c", "y"), {"x": IMAGE}),
    ("cpu", INT8 + W + M + "y = Add (m, b)", {"x": "float[n,3,16] x", **NEW}),
]
