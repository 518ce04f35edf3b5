"""Spellings of integer kernels: what is written around each kind of node, and what ONNX Runtime makes of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.passes.convnets import feeds, last_step, lowered, output, planned, random, reasons
from tests.passes.optimized import fused_ops, listing

pytestmark = pytest.mark.usefixtures("integers_are_free")

WEIGHTS = {"h": random((32, 16, 1, 1)), "z": random((32, 64, 1, 1)), "factors": np.array([1, 1, 2, 2], np.float32)}
WEIGHTS |= {"scales": np.arange(224, 256, dtype=np.float32).reshape(1, 32, 1, 1) / np.float32(200)}
WEIGHTS |= {"minus": np.full((1, 1), -0.7, np.float32)}
GATE = "a = GlobalAveragePool(c) d = Conv(a, w) r = Relu(d) e = Conv(r, q)"

BODIES: dict[str, tuple[str, Mapping[str, int]]] = {
    "Conv": ("y = Conv(c, w)", {"QLinearConv": 2}),
    "Relu": ("d = Conv(c, w) y = Relu(d)", {"QLinearConv": 2}),
    "SiLU": ("g = Sigmoid(c) y = Mul(c, g)", {"QLinearSigmoid": 1, "QLinearMul": 1}),
    "SiLU, exchanged": ("g = Sigmoid(c) y = Mul(g, c)", {"QLinearSigmoid": 1, "QLinearMul": 1}),
    "HardSwish": ("y = HardSwish(c)", {"QLinearAdd": 1, "QLinearMul": 1}),
    "HardSwish, scaled": (
        "m = Mul(c, scales) g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(m) y = Mul(c, g)",
        {"QLinearMul": 2},
    ),
    "HardSigmoid": ("y = HardSigmoid<alpha = 0.3, beta = 0.4>(c)", {"QLinearAdd": 1}),
    "Sigmoid": ("y = Sigmoid(c)", {"QLinearSigmoid": 1}),
    "LeakyRelu": ("y = LeakyRelu<alpha = 0.1>(c)", {"QLinearLeakyRelu": 1}),
    "gate": (
        f"{GATE} s = Sigmoid(e) y = Mul(c, s)",
        {"QLinearConv": 3, "QLinearGlobalAveragePool": 1, "QLinearSigmoid": 1, "QLinearMul": 1},
    ),
    "hard gate": (
        f"{GATE} s = HardSigmoid(e) y = Mul(s, c)",
        {"QLinearConv": 3, "QLinearGlobalAveragePool": 1, "QLinearAdd": 1, "QLinearMul": 1},
    ),
    "Add": ("d = Conv(c, w) y = Add(c, d)", {"QLinearConv": 2, "QLinearAdd": 1}),
    "number": ("g = Sigmoid(c) m = Mul(g, six) y = Add(m, c)", {"QLinearSigmoid": 1, "QLinearMul": 1, "QLinearAdd": 1}),
    "below 0": (
        "g = Sigmoid(c) m = Add(minus, g) y = Mul(m, c)",
        {"QLinearSigmoid": 1, "QLinearMul": 1, "QLinearAdd": 1},
    ),
    "Concat": ("d = Conv(c, w) y = Concat<axis = 1>(c, d)", {"QLinearConv": 2, "QLinearConcat": 1}),
    "MaxPool": ("p = MaxPool<kernel_shape = [2, 2]>(c) y = Conv(p, w)", {"QLinearConv": 2, "NhwcMaxPool": 1}),
    "AveragePool": ("y = AveragePool<kernel_shape = [2, 2]>(c)", {"QLinearAveragePool": 1}),
    "Resize": ('p = Resize<mode = "nearest">(c, , factors) y = Conv(p, w)', {"QLinearConv": 2, "Resize": 1}),
    "Split": (
        "s, t = Split<axis = 1>(c) d = Conv(s, h) y = Concat<axis = 1>(d, t)",
        {"QLinearConv": 2, "Split": 1, "QLinearConcat": 1},
    ),
}
"""By name, what follows Conv(x, u) = c, and the kernels that it becomes beside that Conv's."""

GOLDEN = {
    "Conv": """
        y.float = Conv(c.dequantized, w.dequantized)
        """,
    "Relu": """
        d = Conv(c.dequantized, w.dequantized)
        y.float = Relu(d)
        """,
    "SiLU": """
        g = Sigmoid(c.dequantized)
        g.codes = QuantizeLinear(g, g.scale, g.zero_point)
        g.dequantized = DequantizeLinear(g.codes, g.scale, g.zero_point)
        y.float = Mul(c.dequantized, g.dequantized)
        """,
    "HardSwish": """
        y.gate.scaled = DequantizeLinear(c.codes, y.gate.slope, c.zero_point)
        y.gate.number.dequantized = DequantizeLinear(y.gate.number.codes, y.gate.number.scale, y.gate.number.zero_point)
        y.gate = Add(y.gate.scaled, y.gate.number.dequantized)
        y.gate.codes = QuantizeLinear(y.gate, y.gate.scale, y.gate.zero_point)
        y.gate.dequantized = DequantizeLinear(y.gate.codes, y.gate.scale, y.gate.zero_point)
        y.float = Mul(c.dequantized, y.gate.dequantized)
        """,
    "HardSwish, scaled": """
        scales.dequantized = DequantizeLinear(scales.codes, scales.scale, scales.zero_point)
        m = Mul(c.dequantized, scales.dequantized)
        m.codes = QuantizeLinear(m, m.scale, m.zero_point)
        g.dequantized = DequantizeLinear(m.codes, g.scale, g.zero_point)
        y.float = Mul(c.dequantized, g.dequantized)
        """,
    "HardSigmoid": """
        y.scaled = DequantizeLinear(c.codes, y.slope, c.zero_point)
        y.number.dequantized = DequantizeLinear(y.number.codes, y.number.scale, y.number.zero_point)
        y.float = Add(y.scaled, y.number.dequantized)
        """,
    "hard gate": """
        a = GlobalAveragePool(c.dequantized)
        a.codes = QuantizeLinear(a, a.scale, a.zero_point)
        a.dequantized = DequantizeLinear(a.codes, a.scale, a.zero_point)
        d = Conv(a.dequantized, w.dequantized)
        r = Relu(d)
        r.codes = QuantizeLinear(r, r.scale, r.zero_point)
        r.dequantized = DequantizeLinear(r.codes, r.scale, r.zero_point)
        e = Conv(r.dequantized, q.dequantized)
        e.codes = QuantizeLinear(e, e.scale, e.zero_point)
        s.scaled = DequantizeLinear(e.codes, s.slope, e.zero_point)
        s.number.dequantized = DequantizeLinear(s.number.codes, s.number.scale, s.number.zero_point)
        s = Add(s.scaled, s.number.dequantized)
        s.codes = QuantizeLinear(s, s.scale, s.zero_point)
        s.dequantized = DequantizeLinear(s.codes, s.scale, s.zero_point)
        y.float = Mul(s.dequantized, c.dequantized)
        """,
    "Add": """
        d = Conv(c.dequantized, w.dequantized)
        d.codes = QuantizeLinear(d, d.scale, d.zero_point)
        d.dequantized = DequantizeLinear(d.codes, d.scale, d.zero_point)
        y.float = Add(c.dequantized, d.dequantized)
        """,
    "number": """
        g = Sigmoid(c.dequantized)
        g.codes = QuantizeLinear(g, g.scale, g.zero_point)
        g.dequantized = DequantizeLinear(g.codes, g.scale, g.zero_point)
        m.number.dequantized = DequantizeLinear(m.number.codes, m.number.scale, m.number.zero_point)
        m = Mul(g.dequantized, m.number.dequantized)
        m.codes = QuantizeLinear(m, m.scale, m.zero_point)
        m.dequantized = DequantizeLinear(m.codes, m.scale, m.zero_point)
        y.float = Add(m.dequantized, c.dequantized)
        """,
    "MaxPool": """
        p = MaxPool(c.dequantized)
        p.codes = QuantizeLinear(p, p.scale, p.zero_point)
        p.dequantized = DequantizeLinear(p.codes, p.scale, p.zero_point)
        y.float = Conv(p.dequantized, w.dequantized)
        """,
    "Resize": """
        p = Resize(c.dequantized, , factors)
        p.codes = QuantizeLinear(p, p.scale, p.zero_point)
        p.dequantized = DequantizeLinear(p.codes, p.scale, p.zero_point)
        y.float = Conv(p.dequantized, w.dequantized)
        """,
}
"""What is written between the DQ of c and the Q of y, without the DQs of weights."""

AROUND = ("x.", "u.", "w.", "q.", "c ", "c.", "y.codes", "y ")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_spelling_is_as_written(name: str) -> None:
    lines = listing(lowered(planned(f"c = Conv(x, u) {BODIES[name][0]}", weights=WEIGHTS)))
    assert [line for line in lines if not line.startswith(AROUND)] == [
        line.strip() for line in GOLDEN[name].strip().splitlines()
    ]
    assert lines[-1].startswith("y = DequantizeLinear(y.codes")


@pytest.mark.parametrize("name", BODIES)
def test_onnx_runtime_makes_the_kernels_of_it(name: str, tmp_path: Path) -> None:
    body, kernels = BODIES[name]
    artifact = lowered(planned(f"c = Conv(x, u) {body}", weights=WEIGHTS))
    assert reasons(artifact) == []
    ops = fused_ops(artifact, tmp_path)
    del ops["Transpose"]  # to channels last and back
    assert ops == {"QuantizeLinear": 1, "QLinearConv": 1, "DequantizeLinear": 1, **kernels}


@pytest.mark.parametrize("name", BODIES)
def test_the_kernels_compute_what_the_graph_says(name: str) -> None:
    """They round as the graph as written does, but for ties that float sums decide differently."""
    artifact = lowered(planned(f"c = Conv(x, u) {BODIES[name][0]}", weights=WEIGHTS))
    for feed in feeds():
        fused, unfused = (output(artifact, feed, optimized=optimized) for optimized in (True, False))
        assert np.abs(fused - unfused).max() < 1.01 * last_step(artifact)


@pytest.mark.parametrize("target", ["cpu", "cpu-arm"])
@pytest.mark.parametrize("name", BODIES)
def test_each_integer_type_is_close_to_the_float_network(name: str, target: str) -> None:
    model = planned(f"c = Conv(x, u) {BODIES[name][0]}", target, weights=WEIGHTS)
    artifact = lowered(model, target)
    for feed in feeds():
        error = output(artifact, feed) - output(model, feed)
        assert 0 < np.abs(error).max() < 5 * last_step(artifact)


def test_values_that_are_moved_into_one_another_share_a_quantizer() -> None:
    body = (
        "c = Conv(x, u) d = Conv(c, w) t = Concat<axis = 1>(c, d) p = MaxPool<kernel_shape = [2, 2]>(t) y = Conv(p, z)"
    )
    artifact = lowered(planned(body, weights=WEIGHTS))
    nodes = {node.inputs[0].name: node for node in artifact.graph if node.op_type == "QuantizeLinear"}  # type: ignore[union-attr]
    parameters = {name: [value.const_value.numpy().item() for value in nodes[name].inputs[1:]] for name in "cdtp"}  # type: ignore[union-attr]
    assert parameters["c"] == parameters["d"] == parameters["t"] == parameters["p"]


@pytest.mark.parametrize(
    "attributes", ["alpha = 1.0, beta = -0.3", "alpha = 1.0, beta = 0.0", "alpha = -1.0", "alpha = 0.0"]
)
def test_a_hard_sigmoid_that_falls_or_starts_below_0_stays_one(attributes: str) -> None:
    artifact = lowered(planned(f"c = Conv(x, u) y = HardSigmoid<{attributes}>(c)"))
    assert [node.op_type for node in artifact.graph][-2:] == ["DequantizeLinear", "HardSigmoid"]


@pytest.mark.parametrize("change", [lambda d: d + 0.4 / 200, lambda d: -d], ids=["between steps", "negative"])
def test_scales_that_uint8_does_not_hold_are_multiplied_in_float(
    change: Callable[[NDArray[np.generic]], NDArray[np.generic]],
) -> None:
    weights = {**WEIGHTS, "scales": change(WEIGHTS["scales"])}
    artifact = lowered(planned(f"c = Conv(x, u) {BODIES['HardSwish, scaled'][0]}", weights=weights))
    assert "m = Mul(c.dequantized, scales)" in listing(artifact)


def test_a_hard_sigmoid_on_a_wider_grid_stays_one() -> None:
    """Its sum would not saturate at 0 and 1."""
    body = "c = Conv(x, u) s = HardSigmoid(c) t = Concat<axis = 1>(s, c) y = Conv(t, z)"
    artifact = lowered(planned(body, weights=WEIGHTS))
    assert "s = HardSigmoid(c.dequantized)" in listing(artifact)
