"""Find the parts of a plan that can be in int8 or in float, and measure each of them alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.ops import CONVOLUTIONS
from ..passes.annotations import PLACE, layer_records
from ..passes.cost_model.program import Option
from ..passes.integer_regions import planned_convs, set_regions
from ..passes.layer_places import PlacedLayer, alone, keep_places, placed_layers, with_refusals
from ..passes.regions.candidates import find_candidates
from ..passes.regions.choose import IntegerRegions, alternatives, alternatives_between
from ..passes.regions.planner import trades
from ..runtime.prices import CONV, PRODUCT
from .job import Job
from .parts import Parts, RegionOption, saved_time

_TOGETHER = 4
"""The number of plans that are measured at a time: the float model runs once for all of them."""

_MOST_RUNS = 1024
"""The most runs to measure the layers of a plan, each of them alone; at least one feed each."""

_UNKNOWN = np.zeros(0)
"""The noise of what is not measured alone."""

_HALF, _SINGLE = 2, 4
"""The bytes of a number."""


def quantized_layers(job: Job, plan: ir.Model) -> list[PlacedLayer]:
    """Return the layers that the artifact of ``plan`` has in int8 and that have a place."""
    layers = placed_layers(plan, job.judge.feeds[0])
    return [layers[output] for output in _quantized(job, plan) if output in layers]


def _quantized(job: Job, plan: ir.Model) -> list[str]:
    """Return the outputs of the layers that the artifact of ``plan`` has in int8."""
    artifact = job.lowering.measurable.apply(plan, job.report)
    return [record.output for record in layer_records(artifact) if record.planned]


def noise_alone(job: Job, plan: ir.Model, layers: Sequence[PlacedLayer]) -> Iterator[NDArray[np.float64]]:
    """Yield the noise of each of ``layers`` in each output, with all others in float, [O].

    Costs a lowering, a session and a run of each feed for each layer.
    """
    engine = job.lowering.engine
    most = max(1, _MOST_RUNS // max(len(layers), 1))
    groups = [layers[start : start + _TOGETHER] for start in range(0, len(layers), _TOGETHER)]
    for group in job.times.steps("judge", groups):
        yield from job.judge.noise([alone(plan, layer.place, engine) for layer in group], most)


def find_parts(job: Job) -> Parts:
    """Return the parts of the job's plan, which are measured once for all limits.

    Costs the passes of `noise_alone`, and a measurement for each alternative of an engine with regions.
    """
    if job.memory.parts is None:
        job.memory.parts = _measured_parts(job)
    return job.memory.parts


def _measured_parts(job: Job) -> Parts:
    engine = job.lowering.engine
    every = placed_layers(job.model, job.judge.feeds[0])
    quantized = [every[output] for output in _quantized(job, job.model) if output in every]
    layers = [one for one in quantized if one.op_type not in engine.integer_outputs]
    float_bytes = _HALF if job.lowering.precision in ("float16", "bfloat16") else _SINGLE
    noise = list(noise_alone(job, job.model, layers))
    parts = Parts(with_refusals(job.model, {}), layers, noise, saved_time(engine) or 1.0, float_bytes=float_bytes)
    regions = _measured_regions(job, parts, every.values()) if engine.integer_outputs else ()
    time = _fixed_time(job, parts, every.values(), has_regions=bool(regions))
    return replace(parts, regions=regions, fixed_time=time)


def _fixed_time(job: Job, parts: Parts, every: Iterable[PlacedLayer], *, has_regions: bool) -> float:
    """Return the nanoseconds of what ``every`` layer takes but for the costs of the parts; 0 without prices.

    Where there are regions, their own time is that of the whole model with products in float.
    """
    prices = job.lowering.engine.prices
    if prices is None:
        return 0.0
    in_float = 0.0
    for layer in () if has_regions else every:
        rates = prices.kernels[CONV if layer.op_type in CONVOLUTIONS else PRODUCT]
        in_float += layer.multiplications * rates.in_float.multiplication
    return in_float - parts.saved * sum(layer.multiplications for layer in parts.layers)


def _measured_regions(job: Job, parts: Parts, layers: Iterable[PlacedLayer]) -> list[RegionOption]:
    """Return the alternatives for the Convs, each with its estimated time, and its noise with all products in float."""
    graph, engine = parts.plan.graph, job.lowering.engine
    candidates, convs = find_candidates(graph, engine), planned_convs(graph, engine)
    if not candidates.kernels or not convs:
        return []
    regions, measured = alternatives(graph, candidates, convs, trades(job.effort.trades)), list[NDArray[np.float64]]()
    reasons = {product.place: "regions are measured alone" for product in parts.layers}
    for one in job.times.steps("judge", regions):
        set_regions(graph, one.regions, candidates.quantizers)
        model = parts.plan.clone()
        keep_places(model, reasons)
        measured.extend(job.judge.noise([model]))
    sizes = _sizes(parts, layers)
    return [
        RegionOption(one, Option(one.time, noise, sizes(one.regions)))
        for one, noise in zip(regions, measured, strict=True)
    ]


def _sizes(parts: Parts, layers: Iterable[PlacedLayer]) -> Callable[[IntegerRegions], float]:
    """Return a function that says how many bytes more the Convs take that regions leave in float."""
    by_place = {layer.place: layer for layer in layers}
    every = {
        node: by_place[place]
        for node in parts.plan.graph
        if (place := PLACE.get(node)) is not None and place in by_place
    }
    return lambda regions: sum(parts.more_bytes(every[node]) for node in regions.refusals if node in every)


def regions_between(job: Job, parts: Parts, fast: int) -> list[int]:
    """Return the numbers of further alternatives for the Convs, between number ``fast`` and the next slower one.

    The fastest come first. They are found once for all limits, and not measured: their noise is not known.
    """
    found = job.memory.finer
    if job.effort.finer and fast not in found:
        graph, engine = parts.plan.graph, job.lowering.engine
        candidates, convs = find_candidates(graph, engine), planned_convs(graph, engine)
        ends = parts.regions[fast].alternative, parts.regions[fast + 1].alternative
        tried, sizes = trades(job.effort.trades), _sizes(parts, placed_layers(parts.plan, job.judge.feeds[0]).values())
        new = alternatives_between(graph, candidates, convs, tried, ends, job.effort.finer)
        found[fast] = [
            parts.with_more(RegionOption(one, Option(one.time, _UNKNOWN, sizes(one.regions)))) for one in new
        ]
    return found.get(fast, [])


def has_regions(job: Job) -> bool:
    """Tell whether the job's plan has Convs that may be in regions."""
    return bool(planned_convs(job.model.graph, job.lowering.engine))
