"""`requant.advise`: what each layer costs the outputs in int8, and what leaving layers in float would buy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .calib.files import require_data
from .calib.sources import Data
from .choices import patterns
from .errors import RequantError
from .ir.load import Source
from .passes.cost_model.program import Option, cheapest, total
from .passes.layer_places import PlacedLayer, placed_layers
from .progress import Progress, Stopwatch
from .ranking import LayerCost, ranked
from .recipe import Recipe, find_recipe
from .result import Lowering
from .stages import PLANNING, Job
from .stages.candidates import decibels
from .stages.judge import Judge
from .stages.parts import Parts, find_parts, noise_alone, quantized_layers

POINTS = 12
"""The most points of a curve that are measured."""

ROUNDING = 1 + 1e-9
"""The factor of a bound by which the choice that it is made for is within it."""


@dataclass(frozen=True)
class CurvePoint:
    """A plan on the curve of loss over cost, as it was measured.

    Attributes:
        sqnr: of the worst output in dB.
        in_float: the names of the layers that it leaves in float beyond those that are there in every plan.
        multiplications: the share of those of all layers that are in float.
        bytes: by how much it is larger than the first point.
    """

    sqnr: float
    in_float: tuple[str, ...]
    multiplications: float
    bytes: int


@dataclass(frozen=True)
class Advice:
    """The ranking of a model's layers by what they cost its outputs, and the curve of loss over cost.

    ``layers`` begin with the costliest one, ``curve`` with the cheapest plan; each point has less noise than those
    before it. ``message`` says why there are none. ``samples`` are what noise was measured on.
    """

    model: str
    target: str
    recipe: str
    samples: str = ""
    layers: tuple[LayerCost, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    message: str = ""

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return asdict(self)


def advise(
    source: Source,
    calibration: Data | None,
    recipe: str | Recipe = "int8",
    target: str = "cpu",
    keep: Sequence[str] = (),
    *,
    progress: Progress = lambda stage, count: None,
) -> Advice:
    """Rank the layers of a model by what they cost its outputs in int8, and measure what some in float would buy.

    The noise of a layer is that of the engine's artifact with this layer alone in int8, on the held-out samples of the
    calibration data, or on the first of them where nothing is held out: such noises add up. Plans on the curve are
    those of least cost for a bound of the noise, and have been measured as a whole.

    Args:
        source, calibration, recipe, target, keep, progress: as `requant.optimize` takes them.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    if calibration is None:
        raise RequantError("advise needs calibration data: the noise of layers is measured on them")
    full_recipe, lowering, names = find_recipe(recipe), Lowering(target), patterns(keep)
    require_data(calibration)
    job = Job(source, calibration, full_recipe, lowering, names, False, None, None, None, Stopwatch(progress))
    for stage in PLANNING:
        if not job.finished:
            stage(job)
    advice = Advice(job.report.model, target, full_recipe.name, message=job.report.message)
    return advice if job.finished else _measured(job, advice)


def _measured(job: Job, advice: Advice) -> Advice:
    """Return ``advice`` with what is measured on the plan of ``job``."""
    judge = Judge.of(job)
    layers = quantized_layers(job, judge, job.model)
    if not layers:
        return replace(advice, message=f"every linear layer stays in float on {advice.target}")
    with job.times("judge"):
        noise = dict(zip((layer.place for layer in layers), noise_alone(job, judge, job.model, layers), strict=True))
        every = {layer.name: layer for layer in placed_layers(job.model, judge.feeds[0]).values()}
        ranking = ranked(job.model, layers, noise, sum(layer.multiplications for layer in every.values()))
        curve = tuple(_curve(judge, find_parts(job, judge, noise), every))
    return replace(advice, samples=judge.samples, layers=ranking, curve=curve)


def _curve(judge: Judge, parts: Parts, every: Mapping[str, PlacedLayer]) -> Iterator[CurvePoint]:
    """Yield the plans that have less noise than all cheaper ones, as measured, the cheapest first."""
    options, best = parts.options, -np.inf
    multiplications = sum(layer.multiplications for layer in every.values())
    for picks in judge.job.times.steps("judge", _proposals(options)):
        if parts.is_float(picks):
            continue
        sqnr = decibels(float(judge.noise([parts.applied(picks, {})])[0].max(initial=0.0)))
        if sqnr <= best:
            continue
        best, in_float = sqnr, [every[name] for name in parts.names_in_float(picks)]
        share = sum(layer.multiplications for layer in in_float) / multiplications if multiplications else 0.0
        names = tuple(layer.name for layer in in_float)
        yield CurvePoint(sqnr, names, share, sum(layer.bytes_saved for layer in in_float))


def _proposals(options: Sequence[Sequence[Option]]) -> list[tuple[int, ...]]:
    """Return the cheapest choices for bounds from the noise of the fastest one down to that of the quietest part."""
    noise = [float(option.noise.max(initial=0.0)) for part in options for option in part]
    fastest = [min(range(len(part)), key=lambda pick: part[pick].cost) for part in options]
    highest = float(total(options, fastest).noise.max(initial=0.0))
    lowest = min((one for one in noise if one > 0), default=highest)
    if not 0 < lowest <= highest < np.inf:
        return [tuple(fastest)]
    outputs = len(options[0][0].noise)
    bounds = np.geomspace(highest * ROUNDING, lowest * ROUNDING, POINTS)
    found = (cheapest(options, np.full(outputs, bound)) for bound in bounds)
    return list(dict.fromkeys(picks for picks in found if picks is not None))
