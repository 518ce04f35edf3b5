"""Places of layers: plans in which one layer alone is quantized, and what layers cost in float."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.passes import InsertQDQ, PlanQuantizers
from requant.passes.annotations import KEPT, PLACE, layer_records
from requant.passes.layer_places import alone, keep_places, number_layers, placed_layers
from requant.passes.plan_integer_values import PlanIntegerValues
from requant.runtime.targets import target
from tests.passes.convnets import BLOCK, feeds, planned

Build = Callable[[str], onnx.ModelProto]
TEXT = """(float[n, 32] x) => (float[n, 16] y) <float[32, 32] w, float[32, 16] v> {
    h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, v)
}"""


def test_one_layer_alone_is_quantized(build: Build) -> None:
    model = load(build(TEXT))
    canonicalize(model)
    feed = {"x": np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)}
    collect(model, [feed])
    number_layers(model)
    PlanQuantizers()(model)
    for place, output in enumerate(("h", "y")):
        single = alone(model, place, target("tensorrt"))
        InsertQDQ("tensorrt")(single)
        records = layer_records(single)
        assert [record.output for record in records if record.quantized] == [output]
    sizes = [(one.multiplications, one.bytes_saved) for one in placed_layers(model, feed).values()]
    assert sizes == [(4 * 32 * 32, 3 * 32 * 32 - 4 * 32), (4 * 32 * 16, 3 * 32 * 16 - 4 * 16)]


def test_one_conv_alone_reads_and_writes_integers() -> None:
    """Nothing that is between kernels goes as integers with it, and no other region is planned in its place."""
    model = planned(BLOCK)
    number_layers(model)
    PlanIntegerValues("cpu")(model)
    for name, layer in placed_layers(model, feeds()[0]).items():
        single = alone(model, layer.place, target("cpu"))
        InsertQDQ("cpu")(single)
        quantized = [record.output for record in layer_records(single) if record.quantized]
        assert quantized in ([], [name]), "a Conv that the plan has in float stays there"
        ops = [node.op_type for node in single.graph if node.op_type == "QuantizeLinear"]
        assert len(ops) == 2 * len(quantized)


@pytest.mark.parametrize("places", [(), (1,), (0, 1)])
def test_layers_are_kept_by_their_place(build: Build, places: tuple[int, ...]) -> None:
    model = load(build(TEXT))
    number_layers(model)
    keep_places(model, dict.fromkeys(places, "it is noisy"))
    kept = {PLACE.get(node): KEPT.get(node) for node in model.graph if KEPT.get(node) is not None}
    assert tuple(kept) == places
    assert all(refusal is not None and refusal.reason == "it is noisy" for refusal in kept.values())
