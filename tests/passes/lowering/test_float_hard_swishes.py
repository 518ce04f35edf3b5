"""A HardSwish of scaled data that runs in float is one op: its scales go into Convs, or into quantizers beside it."""

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.constants import array
from requant.ir.kernels import find_kernels
from requant.ir.scaled_hard_swish import as_scaled_hard_swish
from requant.passes import PlanQuantizers
from requant.passes.annotations import INTEGER
from requant.passes.lowering.float_hard_swishes import join_float_hard_swishes
from requant.passes.regions.grids import grids
from requant.runtime.verify import verify
from tests.passes.convnets import feeds, lowered, output
from tests.passes.test_split_hard_swish import BODIES, BODY, scaled, selected, transformed

FREE = pytest.mark.usefixtures("integers_are_free")


@FREE
def test_in_float_nothing_is_left_of_the_scales() -> None:
    model = transformed(BODIES["depthwise"])
    before = selected(BODIES["depthwise"])
    assert scaled(model)
    assert not join_float_hard_swishes(model.graph, on_integers=())
    assert [node.op_type for node in model.graph] == [node.op_type for node in before.graph]
    assert verify(before, model, feeds(), rewrite="it") < 1e-5


@FREE
@pytest.mark.parametrize(
    ("name", "taken", "products"),
    [("Conv", "d", 1), ("Conv", "y", 1), ("pool", "", 1), ("two", "", 2), ("gate", "", 1)],
)
def test_a_product_stays_where_no_conv_in_float_takes_the_scales(name: str, taken: str, products: int) -> None:
    model = transformed(BODIES[name])
    before = model.clone()
    nodes = {value.name: node for node in model.graph for value in node.outputs}
    reads = [view.data.producer() for node in model.graph if (view := as_scaled_hard_swish(node)) is not None]
    left = join_float_hard_swishes(model.graph, {"d": reads, "y": [nodes["y"]], "": []}[taken])  # type: ignore[arg-type] # Convs
    assert not scaled(model)
    assert [node.op_type for node in left] == ["Mul"] * products
    assert "HardSigmoid" not in {node.op_type for node in model.graph}
    assert verify(before, model, feeds(), rewrite="it") < 1e-5


@FREE
@pytest.mark.parametrize(
    ("integers", "quantizer"),
    [(("x", "r", "d.rebased"), "DequantizeLinear"), (("h", "y"), "QuantizeLinear")],
    ids=["behind integers", "before integers"],
)
def test_the_quantizer_between_integers_and_a_hard_swish_in_float_takes_the_scales(
    integers: tuple[str, ...], quantizer: str
) -> None:
    model = transformed(BODY)
    PlanQuantizers()(model)
    plans = grids(find_kernels(model.graph), ir.DataType.UINT8)
    for value, plan in plans.items():
        if value.name in integers:
            INTEGER.set(value, plan)
    artifact = lowered(model)
    by_channel = [node.op_type for node in artifact.graph if node.op_type.endswith("Linear") and len(scale(node)) == 32]
    assert by_channel == [quantizer]
    assert {"Mul", "HardSigmoid"}.isdisjoint(node.op_type for node in artifact.graph)
    for feed in feeds():
        exact = output(model, feed)
        for optimized in (False, True):
            error = output(artifact, feed, optimized=optimized) - exact
            assert 0 < np.abs(error).max() < 0.03 * np.abs(exact).max()


def scale(quantizer: ir.Node) -> NDArray[np.generic]:
    """Return the scale of a Q or of the DQ of an activation; that of a weight has none here."""
    integers, parameter = (array(value) for value in quantizer.inputs[:2])
    assert parameter is not None
    return np.zeros(0) if integers is not None else np.atleast_1d(parameter)
