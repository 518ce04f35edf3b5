"""Random graphs compute what they computed before, whatever transforms their sites get and however channels split."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from models.random_graphs import compute_in_double, in_double, random_graph
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Site, find_sites
from requant.ir.channels.inserted import find_inserted
from requant.ir.channels.regions import Region, find_region
from requant.ir.linear import as_linear, find_linears
from requant.ir.load import load
from requant.ir.transform.apply import ChannelTransform, apply_transform
from requant.ir.transform.cost import added_nodes
from requant.ir.transform.split import split
from requant.runtime.session import runner

Arrays: TypeAlias = list[NDArray[np.float64]]
Feed: TypeAlias = dict[str, NDArray[np.generic]]

SINGLE, DOUBLE = 1e-4, 1e-10
"""How far outputs may move, of the largest magnitude."""

SCALE, SHIFT = 8.0, 2.0
"""Random scales lie between 1 / SCALE and SCALE, random shifts between -SHIFT and SHIFT."""

KINDS = {"LayerNorm", "RMSNorm", "Linear", "GatedMLP", "Attention", "QK", "Embedding", "Inserted", "Split"}
SHIFTED = {f"{kind}, shifted" for kind in KINDS - {"GatedMLP", "Split"}}
"""The rewrites: sites of each kind are transformed, without and with a shift, and channels are split."""

GRAPHS, CHUNK = 60, 30
MANY, LARGE_CHUNK = int(os.environ.get("REQUANT_PROPERTY_GRAPHS", "20000")), 500


def _rewrites(model: ir.Model, seed: int) -> Iterator[str]:
    """Transform every site, then every inserted one, then split every region; yields the name of each rewrite."""
    rng = np.random.default_rng(seed)
    sites = [site for site in find_sites(model) if isinstance(site, Site)]
    yield from (_apply(model, site, rng) for site in sites)
    inserted = [site for site in find_inserted(model, sites) if isinstance(site, Site)]
    yield from (_apply(model, site, rng) for site in inserted)
    visited = set[ir.Value]()
    for node in [linear.node for linear in find_linears(model.graph)]:
        linear = as_linear(node)
        region = find_region(linear.data) if linear is not None and linear.data not in visited else None
        if isinstance(region, Region):
            visited.update(region.values)
            split(region, 1 + rng.integers(0, 3, region.channels) // 2)
            yield "Split"


def _apply(model: ir.Model, site: Site, rng: np.random.Generator) -> str:
    shifts = not site.shift_blocked and rng.random() < 0.9
    scale = np.exp(rng.uniform(-np.log(SCALE), np.log(SCALE), site.channels))
    transform = ChannelTransform(scale, rng.uniform(-SHIFT, SHIFT, site.channels) * shifts)
    before, predicted = len(model.graph), added_nodes(site, transform)
    assert apply_transform(site, transform) == predicted == len(model.graph) - before, (
        f"{site.kind} {site.name}: other nodes"
    )
    return f"{site.kind}, shifted" if shifts else site.kind


def _single(model: ir.Model, feed: Feed) -> Arrays:
    return [output.astype(np.float64) for output in runner(model, threads=1)(feed)]


def _deviation(expected: Arrays, actual: Arrays) -> float:
    """Return the largest difference, of the largest magnitude or of a hundredth."""
    assert [a.shape for a in expected] == [a.shape for a in actual]
    differences = (np.abs(a - b).max() / max(np.abs(a).max(), 0.01) for a, b in zip(expected, actual, strict=True))
    return float(max(differences))


def _draw(seed: int) -> tuple[ir.Model, ir.Model, Feed]:
    """Return the graph of ``seed`` in canonical form, in float32 and in float64, and its input."""
    graph = random_graph(seed)
    model = load(graph.model)
    canonicalize(model)
    return model, in_double(model), {"x": graph.x}


def _check(seed: int) -> Counter[str]:
    """Rewrite the graph of ``seed`` in float32 and in float64; returns the number of rewrites by kind."""
    model, wide, feed = _draw(seed)
    expected = compute_in_double(wide, feed)
    canonical = _deviation(expected, _single(load(random_graph(seed).model), feed))
    assert canonical < SINGLE, f"graph {seed} is off by {canonical:.1e} in canonical form"
    counts = Counter(_rewrites(model, seed))
    assert Counter(_rewrites(wide, seed)) == counts
    double, single = _deviation(expected, compute_in_double(wide, feed)), _deviation(expected, _single(model, feed))
    if double > DOUBLE or single > SINGLE:
        pytest.fail(f"graph {seed} is off by {double:.1e} in float64, {single:.1e} in float32{_culprit(seed)}")
    return counts


def _culprit(seed: int) -> str:
    """Name the first rewrite after which the outputs differ, if there is one in float64."""
    _, model, feed = _draw(seed)
    expected = compute_in_double(model, feed)
    for count, rewrite in enumerate(_rewrites(model, seed), 1):
        if _deviation(expected, compute_in_double(model, feed)) > DOUBLE:
            return f", first after rewrite {count}: {rewrite}"
    return ""


def _check_all(seeds: range, kinds: set[str]) -> None:
    """Check graphs, and that every kind of rewrite occurred."""
    counts = Counter[str]()
    for seed in seeds:
        counts += _check(seed)
    occurrences = counts | Counter(kind.removesuffix(", shifted") for kind in counts.elements())
    print(f"{len(seeds)} graphs:", dict(sorted(occurrences.items())))
    assert not kinds - occurrences.keys()


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, GRAPHS, CHUNK))
def test_random_graphs_keep_their_outputs(start: int) -> None:
    _check_all(range(start, start + CHUNK), KINDS)


@pytest.mark.property
@pytest.mark.parametrize("start", range(GRAPHS, GRAPHS + MANY, LARGE_CHUNK))
def test_thousands_of_random_graphs_keep_their_outputs(start: int) -> None:
    _check_all(range(start, min(start + LARGE_CHUNK, GRAPHS + MANY)), KINDS | SHIFTED)
