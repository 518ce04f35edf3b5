"""Each safe fix as text: the graph that breaks the rule, and the graph after the fix."""

import onnx_ir as ir
import pytest

from requant.runtime import fix
from tests.engine import marks
from tests.runtime.check_blocks import SCORES
from tests.runtime.check_graphs import INT8, ROWS, UINT8, M, Options, W, Y, graph, qdq, weight


def operand(value: ir.Value | None) -> str:
    """Show a constant by its type and number or shape, and any other value by its name."""
    if value is None:
        return ""
    if value.const_value is None:
        return str(value.name)
    array, dtype = value.const_value.numpy(), value.const_value.dtype.name.lower()
    return f"{dtype} {array.reshape(-1)[0]:g}" if array.ndim == 0 else f"{dtype}{list(array.shape)}"


def text(model: ir.Model) -> str:
    """Show a node a line."""
    return "\n".join(
        f"{node.outputs[0].name} = {node.op_type}({', '.join(map(operand, node.inputs))})" for node in model.graph
    )


WEIGHT = "wd = DequantizeLinear(int8[16, 16], float[16], int8[16])"
UINT8_X = """
xdq = QuantizeLinear(x, float 0.1, uint8 128)
xd = DequantizeLinear(xdq, float 0.1, uint8 128)
"""
INT8_X = UINT8_X.replace("uint8 128", "int8 0")

CASES: dict[str, tuple[str, str, Options]] = {
    "tensorrt uint8-activation": (UINT8 + W + Y, f"{INT8_X}{WEIGHT}\ny = MatMul(xd, wd)", {}),
    "tensorrt thin-layer": (INT8 + "wd = DequantizeLinear (thin, s)" + Y, "y = MatMul(x, float[16, 8])", {}),
    "tensorrt partial-attention": (
        INT8 + SCORES("xd") + "y = MatMul (p, xd)",
        """
t = Transpose(x)
a = MatMul(x, t)
p = Softmax(a)
y = MatMul(p, x)
""",
        {},
    ),
    "tensorrt quantized-output": (
        INT8 + W + M + qdq("i0", "m", "md") + "y = Relu (md)",
        f"{INT8_X}{WEIGHT}\nm = MatMul(xd, wd)\ny = Relu(m)",
        {},
    ),
    "cpu int8-activation": (
        INT8 + W + M + "y = Add (m, xd)",
        f"{UINT8_X}{WEIGHT}\nm = MatMul(xd, wd)\ny = Add(m, xd)",
        {},
    ),
    "cpu uint8-weight": (UINT8 + weight("wu") + Y, f"{UINT8_X}{WEIGHT}\ny = MatMul(xd, wd)", {}),
    "cpu float-bias, three axes": (
        UINT8 + W + M + "y = Add (m, b)",
        f"{UINT8_X}{WEIGHT}\nm = MatMul(xd, wd)\ny = Add(m, float[1, 1, 16])",
        {},
    ),
    "cpu float-bias, two axes": (
        UINT8 + W + M + "y = Add (m, b)",
        f"""{UINT8_X}{WEIGHT}
m = MatMul(xd, wd)
y.bias.dequantized = DequantizeLinear(int32[16], float[16])
y = Add(m, y.bias.dequantized)
""",
        {"x": ROWS},
    ),
    "cpu zero-point-left-out": (
        UINT8 + "wd = DequantizeLinear (w, s) y = Gemm (xd, wd)",
        f"{UINT8_X}wd = DequantizeLinear(int8[16, 16], float 0.1, int8 0)\ny = Gemm(xd, wd)",
        {"x": ROWS},
    ),
    "cpu no-integer-kernel": (
        qdq("u0") + "y = Erf (xd)",
        "xdq.range.out = Clip(x, float 0, float 25.5)\ny = Erf(xdq.range.out)",
        {},
    ),
    "cpu quantized-norm": (
        "g = DequantizeLinear (v8, s, i0) y = LayerNormalization (x, g, b)",
        "y = LayerNormalization(x, float[16], float[16])",
        {},
    ),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(*name.split(" ", 1))) for name in CASES])
def test_safe_fix(name: str) -> None:
    body, expected, options = CASES[name]
    assert text(fix(graph(body, **options), name.split()[0]).model) == expected.strip()
