"""Products of integers as the products of floats that they stand for, as text and in numbers."""

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from models import synthetic
from requant.baseline import without_quantizers
from requant.errors import SourceError
from requant.ir.load import load
from requant.runtime import runner
from requant.runtime.feeds import Feed
from requant.runtime.fixes.float_graph import float_graph
from requant.runtime.targets import target
from tests.runtime.check_graphs import graph
from tests.runtime.test_fix_golden import text

CPU = target("cpu")

STATIC = """q = QuantizeLinear (x, s, u128) m = MatMulInteger (q, w, u128) c = Cast <to = 1> (m)
t = DequantizeLinear (one, s) f = Mul (t, sw) y = Mul (c, f)"""
DYNAMIC = """q, t, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, w, z) c = Cast <to = 1> (m)
f = Mul (sw, t) y = Mul (f, c)"""


def built(body: str) -> ir.Model:
    model = graph(body)
    if "(one, " in body:
        one = ir.tensor(np.array(1, np.int8), name="one")
        (value,) = {value for node in model.graph for value in node.inputs if value is not None and value.name == "one"}
        value.const_value = one
        model.graph.register_initializer(value)
    return model


def results(model: ir.Model, feed: Feed) -> NDArray[np.float32]:
    (output,) = runner(model)(feed)
    return output.astype(np.float32).reshape(-1)


@pytest.mark.parametrize("body", [STATIC, DYNAMIC])
def test_a_product_of_integers_becomes_one_of_floats(body: str) -> None:
    model = built(body)
    copy = float_graph(model, CPU)
    assert text(copy).strip() == "y = MatMul(x, float[16, 16])"
    x = {"x": np.random.default_rng(0).uniform(-3, 3, (2, 3, 16)).astype(np.float32)}
    wanted, actual = results(model, x), results(copy, x)
    assert np.abs(wanted - actual).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "body",
    [
        STATIC.replace("y = Mul (c, f)", "p = Mul (c, f) y = Add (p, c)"),
        STATIC.replace("f = Mul (t, sw)", "f = Add (t, sw)"),
        STATIC.replace("(t, sw)", "(s2, sw)"),
        STATIC.replace("(one, s)", "(one, s2)"),
        STATIC.replace("f = Mul (t, sw) y = Mul (c, f)", "y = Add (c, t)"),
        DYNAMIC.replace("(x) m", "(x) r = Relu (sw) m").replace("(sw, t)", "(r, t)"),
    ],
)
def test_other_forms_stay_and_are_no_baseline(body: str) -> None:
    model = built(body)
    assert "MatMulInteger" in {node.op_type for node in float_graph(model, CPU).graph}
    with pytest.raises(SourceError, match="m: MatMulInteger has no float form here: compare with the float model"):
        without_quantizers(model, CPU)


@pytest.mark.parametrize("recipe", ["int8-plain", "int8-dynamic"])
def test_the_baseline_of_an_artifact_is_the_float_model(recipe: str) -> None:
    source = load(synthetic.pre_norm(synthetic.Transformer(64, 2, 1, tokens=8)))
    feeds = [dict(feed) for feed in synthetic.feeds(ir.to_proto(source), 2)]
    baseline = without_quantizers(requant.optimize(source, feeds, recipe, "cpu").model, CPU)
    assert not {node.op_type for node in baseline.graph} & {"QuantizeLinear", "DequantizeLinear", "MatMulInteger"}
    wanted, actual = results(source, feeds[0]), results(baseline, feeds[0])
    assert np.corrcoef(wanted, actual)[0, 1] > 0.98  # weights are those that were rounded
