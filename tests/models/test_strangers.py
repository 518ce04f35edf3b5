"""Graphs of other people: each is read, quantized for TensorRT in half precision, and checked. Downloads 90 MB."""

import onnx
import onnx_ir as ir
import pytest

import requant
from models.strangers import STRANGERS
from requant.passes.annotations import layer_records

pytestmark = pytest.mark.download


@pytest.mark.parametrize("name", STRANGERS)
def test_a_graph_that_nobody_wrote_for_us_is_quantized(name: str) -> None:
    stranger = STRANGERS[name]
    result = requant.optimize(stranger.model(), stranger.feeds(), target="tensorrt", precision="float16")
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert requant.check(result.model, "tensorrt") == []
    assert sum(layer.quantized for layer in result.report.layers) >= 2
    assert all(layer.reason for layer in result.report.layers if not layer.quantized)
    assert all(distance.sqnr > 0 for distance in result.report.outputs.values())


@pytest.mark.parametrize("target", ["cpu", "openvino"])
@pytest.mark.parametrize("name", STRANGERS)
def test_every_engine_gets_it_from_the_same_plan(name: str, target: str) -> None:
    stranger = STRANGERS[name]
    result = requant.optimize(stranger.model(), stranger.feeds(), recipe="int8-plain", target="tensorrt")
    model = result.lower(target)
    pays = any(layer.quantized for layer in layer_records(model))
    assert [finding.rule for finding in requant.check(model, target)] == ([] if pays else ["nothing-quantized"])
    assert all(layer.reason for layer in layer_records(model) if not layer.quantized)
