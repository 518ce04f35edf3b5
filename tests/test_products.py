"""Products in a row: every recipe and target takes them, and what stays in float has a true reason."""

import numpy as np
import onnx
import pytest

import requant
from models.random_graphs import random_products
from requant.ir.canonical.form import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.passes.records import layer_records
from requant.recipe import RECIPES
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from requant.runtime.targets import TARGETS, target

pytestmark = pytest.mark.filterwarnings("ignore::requant.errors.TargetWarning")

MOST = {"int4-weight": 0.6}
"""The largest error of the outputs, relative to their size; .35 for all other recipes, whose codes have 8 bits."""

UNTRUE = ("not calibrated", "no planned quantizer")
"""What no layer and no site of these graphs may have for a reason."""


def _require_sound(seed: int) -> None:
    """Take the graph of ``seed`` through one recipe and, from its plan, to all targets."""
    recipe, first = list(RECIPES.values())[seed % len(RECIPES)], list(TARGETS)[seed // len(RECIPES) % len(TARGETS)]
    drawn = random_products(seed)
    feeds = [{"x": np.roll(drawn.x, shift, 1)} for shift in (0, 3, 5)]
    result = requant.optimize(drawn.model, feeds, recipe, first)
    wanted = runner(load(drawn.model), threads=1)(feeds[0])
    assert not any(untrue in site.reason for site in result.report.sites for untrue in UNTRUE), (seed, result.report)
    shared = _shared(drawn.model, recipe.opset)
    for engine in TARGETS:
        model = result.lower(engine)
        lacking = {target(engine).lacks(chosen) for chosen in recipe.formats}
        for layer in layer_records(model):
            by_sharing = layer.name in shared and layer.reason.startswith("another layer reads its weight")
            assert layer.quantized or by_sharing or layer.reason in lacking - {""}, (seed, engine, layer)
            assert not layer.quantized or "" in lacking, (seed, engine, layer)
        for value, given in zip(wanted, runner(model, threads=1)(feeds[0]), strict=True):
            error = np.linalg.norm(numbers(given) - numbers(value)) / np.linalg.norm(numbers(value))
            assert error <= MOST.get(recipe.name, 0.35), (seed, engine, error)


def _shared(proto: onnx.ModelProto, opset: int) -> set[str]:
    """The names of layers whose weight has another reader."""
    model = load(proto)
    canonicalize(model, opset)
    return {linear.name for linear in find_linears(model.graph) if len(linear.weight.uses()) > 1}


@pytest.mark.parametrize("seed", range(49))
def test_random_products(seed: int) -> None:
    _require_sound(seed)


@pytest.mark.property
@pytest.mark.parametrize("start", range(1000, 3000, 40))
def test_many_random_products(start: int) -> None:
    for seed in range(start, start + 40):
        _require_sound(seed)
