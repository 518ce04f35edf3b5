"""Tiny graphs for the rules about norms, attention, residuals and constants; `check_graphs` has the others."""

from tests.runtime.check_graphs import IMAGE, INT8, UINT8, Case, M, Options, W, Y, qdq, weight

OLD: Options = {"opset": 17, "ir_version": 8}

NORM = (
    "m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) p = Pow (d, two) v = ReduceMean <axes = [-1]> (p) "
    "e = Add (v, s) r = Sqrt (e) h = Div (d, r)\n"
)
INVERSE = NORM.replace("h = Div (d, r)", "i = Reciprocal (r) h = Mul (d, i)")
CODED = "g = DequantizeLinear (v8, s, i0)\n"
SCORES = "t = Transpose <perm = [0, 2, 1]> ({0}) a = MatMul ({0}, t) p = Softmax (a)\n".format
SOFTMAX = qdq("i0", "p", "pd")
TWICE = M + "n = MatMul (k, wd) y = Add (m, n)"

BLOCKS: dict[str, Case] = {
    "quantized-norm": (CODED + "y = LayerNormalization (x, g, b)", "y = LayerNormalization (x, b, b)", {}),
    "quantized-constant": (CODED + "y = Sub (x, g)", "y = Sub (x, b)", {}),
}

TENSORRT_BLOCKS = BLOCKS | {
    "partial-attention": (
        INT8 + SCORES("xd") + "y = MatMul (p, xd)",
        INT8 + SCORES("xd") + SOFTMAX + "y = MatMul (pd, xd)",
        {},
    ),
    "several-scales": (INT8 + qdq("i0", "x", "k", "s2") + W + TWICE, INT8 + qdq("i0", "x", "k") + W + TWICE, {}),
    "quantized-residual": (INT8 + W + M + qdq("i0", "x", "k") + "y = Add (m, k)", INT8 + W + M + "y = Add (m, x)", {}),
    "no-integer-kernel": (INT8 + "y = Erf (xd)", INT8 + W + M + "e = Erf (xd) y = Add (m, e)", {}),
    "thin-layer": (INT8 + "wd = DequantizeLinear (thin, s)" + Y, INT8 + W + Y, {}),
}

CPU_BLOCKS = BLOCKS | {
    "quantized-constant": (
        "g = DequantizeLinear (vu, s, u128) y = Add (x, g)",
        UINT8 + "g = DequantizeLinear (vu, s, u128) a = Add (xd, g)" + qdq("u128", "a", "y"),
        {},
    ),
}

TENSORRT_RTX: dict[str, Case] = {
    "grouped-conv": (
        INT8 + weight("each", axis=0) + "y = Conv <group = 16> (xd, wd)",
        INT8 + weight("kernel", axis=0) + "y = Conv (xd, wd)",
        {"x": IMAGE},
    ),
    "float32-attention": (
        SCORES("x") + "y = MatMul (p, x)",
        "h = Cast <to = 10> (x)" + SCORES("h") + "m = MatMul (p, h) y = Cast <to = 1> (m)",
        {},
    ),
}

CUDA: dict[str, Case] = {"integer-product": (INT8 + W + Y, W + "y = MatMul (x, wd)", {})}

OTHER_BLOCKS: list[tuple[str, str, str, Options]] = [
    (target, "quantized-norm", body, OLD)
    for target in ("tensorrt", "cpu")
    for body in (
        CODED + NORM + "y = Mul (g, h)",
        CODED + NORM + "n = Mul (h, b) y = Add (n, g)",
        CODED + NORM + "y = Add (h, g)",
        CODED + NORM + qdq("i0", "h", "hd") + "n = Mul (hd, g)" + qdq("i0", "n", "y"),
        CODED + INVERSE + "y = Mul (h, g)",
        CODED + NORM.replace("Add (v, s)", "Add (v, g)") + "y = Identity (h)",
        "g = DequantizeLinear (v32, s) y = LayerNormalization (x, b, g)",
        qdq("i0", "b", "g") + "y = LayerNormalization (x, g, b)",
    )
]
OTHER_BLOCKS += [
    ("tensorrt", "int32-bias", "g = DequantizeLinear (v32, s) y = LayerNormalization (x, b, g)", {}),
    ("tensorrt", "quantized-constant", CODED + INT8 + W + M + "y = Add (m, g)", {}),
    ("tensorrt", "quantized-constant", CODED + "t = Unsqueeze (g, i64) y = Mul (x, t)", {}),
    ("tensorrt", "partial-attention", INT8 + SCORES("x") + SOFTMAX + "y = MatMul (pd, xd)", {}),
    ("tensorrt", "partial-attention", INT8 + SCORES("xd") + "y = MatMul (p, x)", {}),
    ("tensorrt", "quantized-residual", INT8 + W + M + "n = Add (m, b)" + qdq("i0", "n", "k") + "y = Add (k, x)", {}),
    ("tensorrt", "no-integer-kernel", INT8 + W + M + "n = Add (m, b)" + qdq("i0", "n", "k") + "y = Gelu (k)", {}),
    ("tensorrt", "no-integer-kernel", INT8 + NORM.replace("(x", "(xd") + "y = Identity (h)", OLD),
    ("tensorrt", "thin-layer", INT8 + "wd = DequantizeLinear (kernel9, s)" + "y = Conv (xd, wd)", {"x": IMAGE}),
    ("cpu", "no-integer-kernel", NORM + qdq("u128", "h", "hd") + "y = Mul (hd, b)", OLD),
]

FINE_BLOCKS: list[tuple[str, str, Options]] = [
    ("tensorrt", NORM + "n = Mul (h, b) k = Add (n, b)" + qdq("i0", "k", "xd") + W + Y, OLD),
    ("tensorrt", SCORES("x") + "y = MatMul (p, x)", {}),
    ("tensorrt", "g = DequantizeLinear (w, s, i0) i = Cast <to = 7> (x) t = Gather (g, i) y = Add (t, b)", {}),
    ("tensorrt", INT8 + "wd = DequantizeLinear (kernel8, s) y = Conv (xd, wd)", {"x": IMAGE}),
    ("tensorrt", INT8 + "c = Conv (x, kf)" + qdq("i0", "c", "k") + "y = Add (k, xd)", {"x": IMAGE}),
    ("cpu", UINT8 + W + M + "n = LayerNormalization (m, b, b) y = Softmax (n)", {}),
    ("cpu-arm", INT8 + W + M + "y = Add (m, xd)", {}),
    ("openvino", INT8 + W + Y, {}),
]
