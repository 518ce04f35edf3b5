"""What the rules of OpenVINO find is what it computes wrongly, and nothing else is.

If one of these fails, a newer OpenVINO does better, and its rule may go.
"""

import importlib.util

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.runtime import check, fix
from requant.runtime.session import runner
from tests.engine import needs_vnni
from tests.runtime.check_graphs import CONV, IMAGE, INT8, SIDES, UINT8, Options, graph, qdq, weight

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino"),
    needs_vnni,
]

FIXED: Options = {"x": IMAGE}
OPEN: Options = {"x": "float[n,16,6,6] x"}
WIDE: Options = {"x": "float[n,16,h,w] x"}
X = {"x": np.random.default_rng(0).standard_normal((1, 16, 6, 6), dtype=np.float32)}
ZEROS = weight("kernel", axis=0) + "c = Conv (xd, wd, b0)\n"
BIASED = weight("kernel", axis=0) + "c = Conv (xd, wd, b)\n"
JOINED = weight("broad", axis=0) + "y = Conv (xd, wd)"
SPREAD = "r = Relu (c) g = GlobalAveragePool (c) y = Mul (c, g)"

SHARED: dict[str, tuple[str, Options]] = {
    "a mean and the values": (UINT8 + CONV + SPREAD, OPEN),
    "in int8": (INT8 + CONV + SPREAD, OPEN),
    "a rectifier beside a sum": (UINT8 + CONV + "r = Relu (c) y = Add (c, r)", OPEN),
    "a pool beside a sigmoid": (
        UINT8 + CONV + "p = MaxPool <kernel_shape = [1, 1]> (c) t = Sigmoid (c) y = Add (p, t)",
        OPEN,
    ),
    "a square": (UINT8 + CONV + "y = Mul (c, c)", OPEN),
    "a sum with another value": (UINT8 + CONV + "t = Tanh (c) y = Add (c, t)", OPEN),
    "a bias of zeros": (UINT8 + ZEROS + SPREAD, OPEN),
}
CONCATENATED: dict[str, tuple[str, Options]] = {
    "as it is": (SIDES + qdq("i0", "e") + JOINED, FIXED),
    "of unknown shape": (SIDES + qdq("i0", "e") + JOINED, OPEN),
    "with a zero point": (SIDES + qdq("i5", "e") + JOINED, FIXED),
    "behind Relu": (SIDES + "a = Relu (e)" + qdq("i0", "a") + JOINED, OPEN),
    "scaled": (SIDES + "a = Mul (e, two)" + qdq("i0", "a") + JOINED, FIXED),
    "scaled by one number": (SIDES + "a = Mul (e, two)" + qdq("i0", "a") + JOINED, OPEN),
    "scaled by channel": (SIDES + "a = Mul (e, column)" + qdq("i0", "a") + JOINED, OPEN),
    "scaled by one number, of unknown size": (SIDES + "a = Mul (e, two)" + qdq("i0", "a") + JOINED, WIDE),
    "shifted": (SIDES + "a = Add (s2, e)" + qdq("i0", "a") + JOINED, FIXED),
    "quantized before": (
        "r = Tanh (x)" + qdq("i0", "r", "rd") + qdq("i0", "x", "x8") + "xd = Concat <axis = 1> (rd, x8)\n" + JOINED,
        FIXED,
    ),
}
FINE: dict[str, tuple[str, Options]] = {
    "a bias": (UINT8 + BIASED + SPREAD, OPEN),
    "known shapes": (UINT8 + CONV + SPREAD, FIXED),
    "SiLU": (UINT8 + CONV + "t = Sigmoid (c) y = Mul (c, t)", OPEN),
    "one consumer": (UINT8 + CONV + "r = Relu (c) g = GlobalAveragePool (r) y = Mul (r, g)", OPEN),
    "consumers that all pass": (
        UINT8 + CONV + "r = Relu (c) p = MaxPool <kernel_shape = [1, 1]> (c) y = Add (r, p)",
        OPEN,
    ),
    "a concatenation in uint8": (SIDES + qdq("u128", "e") + JOINED, FIXED),
    "a concatenation of integers": (
        "r = Tanh (x) a = QuantizeLinear (r, s, i0) b8 = QuantizeLinear (x, s, i0) e = Concat <axis = 1> (a, b8)\n"
        "xd = DequantizeLinear (e, s, i0)" + JOINED,
        FIXED,
    ),
    "a transposed concatenation": (
        SIDES + "a = Transpose <perm = [0, 1, 3, 2]> (e)" + qdq("i0", "a") + JOINED,
        FIXED,
    ),
    "one that is scaled along unknown axes": (SIDES + "a = Mul (e, column)" + qdq("i0", "a") + JOINED, WIDE),
}
CASES = [
    *(pytest.param(*case, {"shared-conv-output"}, id=f"shared: {name}") for name, case in SHARED.items()),
    *(pytest.param(*case, {"concatenated-int8"}, id=f"concatenated: {name}") for name, case in CONCATENATED.items()),
    *(pytest.param(*case, set(), id=f"fine: {name}") for name, case in FINE.items()),
]


def output(model: ir.Model, target: str) -> NDArray[np.float64]:
    return runner(model, target=target, threads=1)(X)[0].astype(np.float64)


def is_right(model: ir.Model) -> bool:
    expected, actual = (output(model, target) for target in ("cpu", "openvino"))
    return bool(np.linalg.norm(actual - expected) < 1e-5 * np.linalg.norm(expected))


@pytest.mark.parametrize(("body", "options", "rules"), CASES)
def test_openvino_computes_what_the_rules_say(body: str, options: Options, rules: set[str]) -> None:
    model = graph(body, **options)
    assert {finding.rule for finding in check(model, "openvino")} == rules
    assert is_right(model) == (not rules)


@pytest.mark.parametrize(("body", "options", "rules"), [case for case in CASES if "fine" not in str(case.id)])
def test_a_fixed_graph_is_right(body: str, options: Options, rules: set[str]) -> None:
    model = graph(body, **options)
    fixed = fix(model, "openvino")
    assert fixed.findings == []
    assert {applied.rule for applied in fixed.fixes} == rules
    assert is_right(fixed.model)
    np.testing.assert_allclose(output(fixed.model, "cpu"), output(model, "cpu"), rtol=1e-5, atol=1e-5)
