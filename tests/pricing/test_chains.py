"""Chains: what their repetitions are counted in, and the kernels that ONNX Runtime makes of them on integers."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from requant.ir.kernels import find_kernels
from requant.pricing.chains import chain, counts, on_integers
from requant.pricing.units import UNITS, Shape, Unit
from requant.runtime.prices import BORDER, CONV, DYNAMIC_PRODUCT, KERNELS, PRODUCT, UNALIGNED
from requant.runtime.session import runner
from requant.runtime.targets import TARGETS
from tests.passes.optimized import fused_ops

BY_NAME = {unit.names[0]: unit for unit in UNITS}
SHAPE = Shape(64, 6)
INTEGER_KERNELS = {
    "Conv": {"QLinearConv": 1},
    "Conv 1x1": {"QLinearConv": 1},
    UNALIGNED: {"QLinearConv": 2},
    "depthwise Conv": {"QLinearConv": 1},
    PRODUCT: {"QuantizeLinear": 1, "MatMulIntegerToFloat": 1},
    DYNAMIC_PRODUCT: {"DynamicQuantizeMatMul": 1},
    "Silu": {"QLinearSigmoid": 1, "QLinearMul": 1},
    "HardSwish": {"QLinearAdd": 1, "QLinearMul": 1},
    "HardSigmoid": {"QLinearAdd": 1},
    "Sigmoid": {"QLinearSigmoid": 1},
    "LeakyRelu": {"QLinearLeakyRelu": 1},
    "Mul": {"QLinearMul": 1},
    "Add": {"QLinearAdd": 1},
    "Concat": {"QLinearConcat": 1, "Slice": 1},
    "MaxPool": {"NhwcMaxPool": 1},
    "AveragePool": {"QLinearAveragePool": 1},
    "GlobalAveragePool": {"QLinearGlobalAveragePool": 1, "QLinearMul": 1},
    "Resize": {"QLinearConv": 1, "Resize": 1, "NhwcMaxPool": 1},
    BORDER: {"QLinearConv": 1, "DequantizeLinear": 1, "Conv": 1, "QuantizeLinear": 1},
}


def test_every_kernel_has_a_unit() -> None:
    assert [name for unit in UNITS for name in unit.names if name != BORDER] == sorted(
        KERNELS, key=[name for unit in UNITS for name in unit.names].index
    )


def test_a_unit_finds_the_prices_of_the_other_kernels_in_it() -> None:
    known = set[str]()
    for unit in UNITS:
        model = chain(unit, SHAPE, 2)
        others = {name for name, _ in counts(model, integers=True, dynamic=False)} - set(unit.names) - {PRODUCT}
        repeated = others & {
            kernel.kind for kernel in find_kernels(model.graph) if kernel.kind not in ("Conv", "Sigmoid")
        }
        assert repeated <= known, unit
        known |= set(unit.names)


def test_the_counts_of_a_conv() -> None:
    few, many = (counts(chain(BY_NAME[CONV], SHAPE, length), integers=False, dynamic=False) for length in (2, 5))
    pixels = SHAPE.side**2
    added = many[CONV, False] - few[CONV, False]
    np.testing.assert_array_equal(added, 3 * np.array([pixels * 64 * 64 * 9, pixels * 64, pixels * 9, 1]))


def test_the_counts_of_borders() -> None:
    model = chain(BY_NAME[BORDER], SHAPE, 3)
    counted = counts(model, integers=True, dynamic=False)
    assert counted["Conv 1x1", True][3] == 4, "the one that the chain begins with, and one a repetition"
    assert counted["Conv 1x1", False][3] == 3
    np.testing.assert_array_equal(counted[BORDER, True], 3 * np.array([0, 2 * 64 * SHAPE.side**2, 0, 2]))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.names[0])
def test_a_repetition_on_integers_is_the_kernels_that_are_meant(unit: Unit, tmp_path: Path) -> None:
    dynamic = DYNAMIC_PRODUCT in unit.names
    few, many = (
        fused_ops(on_integers(chain(unit, SHAPE, length), TARGETS["cpu"], dynamic=dynamic), tmp_path)
        for length in (2, 5)
    )
    added = {op: (count - few[op]) // 3 for op, count in Counter(many).items() if op in INTEGER_KERNELS[unit.names[0]]}
    assert added == INTEGER_KERNELS[unit.names[0]]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.names[0])
def test_a_chain_runs_in_float(unit: Unit) -> None:
    model = chain(unit, SHAPE, 2)
    shape = model.graph.inputs[0].shape
    assert shape is not None
    (output,) = runner(model)({"x": np.ones(shape.numpy(), np.float32)})
    assert np.isfinite(output).all()
