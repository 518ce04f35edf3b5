"""The parts of a plan that can be in int8 or in float, each measured alone: layers, and the regions of all Convs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.linear import find_linears
from ..passes.annotations import layer_records
from ..passes.cost_model.program import Option
from ..passes.integer_regions import planned_convs, set_regions
from ..passes.layer_places import PlacedLayer, alone, keep_places, placed_layers
from ..passes.regions.candidates import find_candidates
from ..passes.regions.choose import IntegerRegions, alternatives
from ..runtime.prices import PRODUCT
from ..runtime.targets import Target
from .job import Job
from .judge import Judge

_TOGETHER = 4
"""The number of plans that are measured at a time: the float model runs once for all of them."""

_MOST_RUNS = 1024
"""The most runs to measure the layers of a plan, each of them alone; at least one feed each."""


@dataclass(frozen=True)
class Parts:
    """The parts of the plan of a job, whose options are in the order of `options`.

    ``layers`` are in int8 or in float; ``regions`` are the alternatives for all Convs of an engine whose kernels write
    integers, of which the last is none. The noise of a layer, and of regions, is that with all others in float. Costs
    are nanoseconds on an engine with prices: ``saved`` is what int8 saves of a multiplication of a layer.
    """

    plan: ir.Model
    layers: Sequence[PlacedLayer]
    noise: Sequence[NDArray[np.float64]]
    saved: float
    regions: Sequence[tuple[IntegerRegions, Option]] = ()

    @property
    def options(self) -> list[list[Option]]:
        """The options of each part: int8, then float; then those of the regions."""
        layers = [
            [Option(0.0, noise), Option(self.saved * layer.multiplications, np.zeros_like(noise))]
            for layer, noise in zip(self.layers, self.noise, strict=True)
        ]
        return [*layers, [option for _, option in self.regions]] if self.regions else layers

    @property
    def can_be_quantized(self) -> bool:
        """True where a part has another option than float."""
        return any(len(part) > 1 for part in self.options)

    @property
    def fastest(self) -> tuple[int, ...]:
        """The options that cost least."""
        return tuple(min(range(len(part)), key=lambda pick: part[pick].cost) for part in self.options)

    def in_float(self, picks: Sequence[int]) -> list[int]:
        """Return the numbers of the `layers` that ``picks`` leave in float."""
        return [number for number, pick in enumerate(picks[: len(self.layers)]) if pick]

    def names_in_float(self, picks: Sequence[int]) -> list[str]:
        """Return the names of the layers that ``picks`` leave in float, and the cheapest choice does not."""
        names = [self.layers[number].name for number in self.in_float(picks)]
        if not self.regions:
            return names
        fastest, taken = (regions.refusals for regions, _ in (self.regions[0], self.regions[picks[-1]]))
        convs = [
            linear.name for linear in find_linears(self.plan.graph) if linear.node in taken.keys() - fastest.keys()
        ]
        return [*names, *convs]

    def is_float(self, picks: Sequence[int]) -> bool:
        """Tell whether ``picks`` leave everything in float."""
        return all(pick == len(options) - 1 for pick, options in zip(picks, self.options, strict=True))

    def applied(self, picks: Sequence[int], reasons: Mapping[int, str]) -> ir.Model:
        """Return the plan with the options that ``picks`` say, and ``reasons`` for layers in float by their place."""
        if self.regions:
            regions = self.regions[picks[-1]][0]
            set_regions(self.plan.graph, regions, _region_values(self.regions))
        model = self.plan.clone()
        places = [self.layers[number].place for number in self.in_float(picks)]
        keep_places(model, {place: reasons.get(place, "it would make too much noise") for place in places})
        return model


def quantized_layers(job: Job, judge: Judge, plan: ir.Model) -> list[PlacedLayer]:
    """Return the layers that the artifact of ``plan`` has in int8 and that have a place."""
    artifact = job.lowering.measurable.apply(plan, job.report)
    layers = placed_layers(plan, judge.feeds[0])
    return [layers[record.output] for record in layer_records(artifact) if record.planned and record.output in layers]


def noise_alone(job: Job, judge: Judge, plan: ir.Model, layers: Sequence[PlacedLayer]) -> Iterator[NDArray[np.float64]]:
    """Yield the noise of each of ``layers`` in each output, with all others in float, [O].

    Costs a lowering, a session and a run of each feed for each layer.
    """
    engine = job.lowering.engine
    most = max(1, _MOST_RUNS // max(len(layers), 1))
    groups = [layers[start : start + _TOGETHER] for start in range(0, len(layers), _TOGETHER)]
    for group in job.times.steps("judge", groups):
        yield from judge.noise([alone(plan, layer.place, engine) for layer in group], most)


def find_parts(job: Job, judge: Judge) -> Parts:
    """Return the parts of the job's plan."""
    engine = job.lowering.engine
    layers = [one for one in quantized_layers(job, judge, job.model) if one.op_type not in engine.integer_outputs]
    noise = list(noise_alone(job, judge, job.model, layers))
    regions = _measured_regions(job, judge, layers) if engine.integer_outputs else ()
    return Parts(job.model, layers, noise, saved_time(engine) or 1.0, regions)


def saved_time(engine: Target) -> float | None:
    """Return the nanoseconds that int8 saves of a multiplication in a product; None on an engine without prices."""
    if engine.prices is None:
        return None
    rates = engine.prices.kernels[PRODUCT]
    return rates.in_float.multiplication - rates.in_integers.multiplication


def _measured_regions(job: Job, judge: Judge, products: Sequence[PlacedLayer]) -> list[tuple[IntegerRegions, Option]]:
    """Return the alternatives for the Convs, each with its estimated time, and its noise with all products in float."""
    graph, engine = job.model.graph, job.lowering.engine
    candidates, convs = find_candidates(graph, engine), planned_convs(graph, engine)
    if not candidates.kernels or not convs:
        return []
    regions, measured = alternatives(graph, candidates, convs), list[NDArray[np.float64]]()
    reasons = {product.place: "regions are measured alone" for product in products}
    for one, _ in job.times.steps("judge", regions):
        set_regions(graph, one, candidates.quantizers)
        model = job.model.clone()
        keep_places(model, reasons)
        measured.extend(judge.noise([model]))
    return [(one, Option(time, noise)) for (one, time), noise in zip(regions, measured, strict=True)]


def has_regions(job: Job) -> bool:
    """Tell whether the job's plan has Convs that may be in regions."""
    return bool(planned_convs(job.model.graph, job.lowering.engine))


def _region_values(regions: Sequence[tuple[IntegerRegions, Option]]) -> dict[ir.Value, None]:
    return {value: None for one, _ in regions for value in one.quantizers}
