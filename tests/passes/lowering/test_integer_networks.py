"""Random networks: as many integer kernels as the report says, and numbers close to the graph as written."""

from pathlib import Path

import numpy as np
import pytest

import requant
from models.random_graphs.network import random_network
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.passes.annotations import layer_records
from requant.runtime.distance import distance
from requant.runtime.feeds import Feed
from tests.passes.convnets import (
    output,
)
from tests.passes.optimized import fused_ops, unintended

pytestmark = pytest.mark.usefixtures("integers_are_free")


def network_feeds(seed: int) -> list[Feed]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(2, 3, 12, 12)).astype(np.float32)} for _ in range(4)]


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_for_another_engine_serves_as_well(seed: int, tmp_path: Path) -> None:
    """A layer with nodes behind it that the other engine needs writes int8 of its own or stays in float."""
    result = requant.optimize(random_network(seed, gated=seed % 2 == 1), network_feeds(seed), target="tensorrt")
    artifact = result.lower("cpu")
    count = sum(record.quantized and record.op_type == "Conv" for record in layer_records(artifact))
    assert unintended(artifact, "cpu") == []
    assert fused_ops(artifact, tmp_path)["QLinearConv"] == count


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 8, 4))
def test_random_networks_run_as_they_are_recorded(start: int, tmp_path: Path) -> None:
    _check_all(range(start, start + 4), tmp_path)


@pytest.mark.property
@pytest.mark.parametrize("start", range(8, 1008, 50))
def test_many_random_networks_run_as_they_are_recorded(start: int, tmp_path: Path) -> None:
    _check_all(range(start, start + 50), tmp_path)


def _check_all(seeds: range, folder: Path) -> None:
    """Check networks, and that most of them have integer kernels."""
    assert sum(_check(seed, folder) > 0 for seed in seeds) > len(seeds) / 2


def _check(seed: int, folder: Path) -> int:
    """As many integer kernels as the report says, and about as close to the float model as the graph run as written."""
    proto, data, rng = random_network(seed, gated=seed % 2 == 1), network_feeds(seed), np.random.default_rng(seed)
    canonicalize(model := load(proto))
    convs = [linear.name for linear in find_linears(model.graph) if linear.node.op_type == "Conv"]
    result = requant.optimize(proto, data, keep=[str(rng.choice(convs))] if seed % 3 == 0 else [])
    count = sum(layer.quantized and layer.op_type == "Conv" for layer in result.report.layers)
    assert unintended(result.model, "cpu") == []
    assert fused_ops(result.model, folder)["QLinearConv"] == count
    if count:
        exact = output(load(proto), data[0])
        fused, unfused = (output(result.model, data[0], optimized=optimized) for optimized in (True, False))
        assert distance(exact, fused).sqnr > max(20, distance(exact, unfused).sqnr - 6)
    return count
