"""`requant.advise`: what each layer costs the outputs in int8, and what leaving layers in float would buy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .calib.files import require_data
from .calib.sources import Data
from .choices import patterns
from .errors import RequantError
from .ir.load import Source
from .lowering import Lowering
from .passes.cost_model.program import Option, cheapest, total
from .passes.layer_places import PlacedLayer, placed_layers
from .progress import Progress, Stopwatch
from .ranking import MILLISECOND, LayerCost, ranked
from .recipe import Recipe, find_recipe
from .stages import MEASURING, Job
from .stages.candidates import decibels
from .stages.find_parts import find_parts, noise_alone, quantized_layers
from .stages.parts import Parts, saved_time

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
        milliseconds: what it is estimated to take longer than the fastest plan, on one core; None without prices.
    """

    sqnr: float
    in_float: tuple[str, ...]
    multiplications: float
    bytes: int
    milliseconds: float | None = None


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
        source: the model, as `requant.optimize` takes it.
        calibration: real data, as `requant.optimize` takes them.
        recipe: the recipe whose plan is ranked.
        target: a name in `requant.runtime.TARGETS`.
        keep: names or glob patterns of nodes that stay in float in any case.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    if calibration is None:
        raise RequantError("advise needs calibration data: the noise of layers is measured on them")
    full_recipe, lowering, names = find_recipe(recipe), Lowering(target, "float32"), patterns(keep)
    require_data(calibration)
    job = Job(source, calibration, full_recipe, lowering, False, None, None, None, None, Stopwatch(progress), names)
    for stage in MEASURING:
        if not job.finished:
            stage(job)
    advice = Advice(job.report.model, target, full_recipe.name, message=job.report.message)
    return advice if job.finished else _measured(job, advice)


def _measured(job: Job, advice: Advice) -> Advice:
    """Return ``advice`` with what is measured on the plan of ``job``."""
    judge = job.judge
    with job.times("judge"):
        parts = find_parts(job)
        fastest = parts.applied(parts.fastest, {})
        layers = quantized_layers(job, fastest)
        if not layers:
            return replace(advice, message=f"every linear layer stays in float on {advice.target}")
        noise = _noise(job, fastest, layers, parts)
        every = {layer.name: layer for layer in placed_layers(job.model, judge.feeds[0]).values()}
        multiplications, saved = _multiplications(every.values()), saved_time(job.lowering.engine)
        ranking = ranked(fastest, layers, noise, multiplications, saved=saved)
        curve = tuple(_least(_curve(job, parts, every, priced=saved is not None)))
    return replace(advice, samples=judge.samples, layers=ranking, curve=curve)


def _noise(job: Job, plan: ir.Model, layers: Sequence[PlacedLayer], parts: Parts) -> dict[int, NDArray[np.float64]]:
    """Return the noise of each of ``layers`` alone by its place; ``parts`` have that of all but Convs in regions."""
    known = {layer.place: noise for layer, noise in zip(parts.layers, parts.noise, strict=True)}
    others = [layer for layer in layers if layer.place not in known]
    measured = noise_alone(job, plan, others)
    return known | {layer.place: noise for layer, noise in zip(others, measured, strict=True)}


def _multiplications(layers: Iterable[PlacedLayer]) -> float:
    return sum(layer.multiplications for layer in layers)


def _curve(job: Job, parts: Parts, every: Mapping[str, PlacedLayer], *, priced: bool) -> Iterator[CurvePoint]:
    """Yield the plans that have less noise than all cheaper ones, as measured, the cheapest first."""
    options, best, multiplications = parts.options, -np.inf, _multiplications(every.values())
    least = total(options, parts.fastest).cost
    for picks in job.times.steps("judge", _proposals(options, parts.fastest)):
        if parts.is_float(picks):
            continue
        sqnr = decibels(float(job.judge.noise([parts.applied(picks, {})])[0].max(initial=0.0)))
        if sqnr <= best:
            continue
        best, in_float = sqnr, [every[name] for name in parts.names_in_float(picks)]
        share = _multiplications(in_float) / multiplications if multiplications else 0.0
        names, size = tuple(layer.name for layer in in_float), sum(layer.bytes_saved for layer in in_float)
        slower = (total(options, picks).cost - least) * MILLISECOND
        yield CurvePoint(sqnr, names, share, size, slower if priced else None)


def _least(curve: Iterable[CurvePoint]) -> Iterator[CurvePoint]:
    """Yield the points that cost less than the next, which has less noise."""
    points = list(curve)
    for point, other in zip(points, [*points[1:], None], strict=True):
        if other is None or _cost(point) < _cost(other):
            yield point


def _cost(point: CurvePoint) -> float:
    return point.multiplications if point.milliseconds is None else point.milliseconds


def _proposals(options: Sequence[Sequence[Option]], fastest: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the cheapest choices for bounds from the noise of the fastest one down to that of the quietest part."""
    noise = [float(option.noise.max(initial=0.0)) for part in options for option in part]
    highest = float(total(options, fastest).noise.max(initial=0.0))
    lowest = min((one for one in noise if one > 0), default=highest)
    if not 0 < lowest <= highest < np.inf:
        return [fastest]
    outputs = len(options[0][0].noise)
    bounds = np.geomspace(highest * ROUNDING, lowest * ROUNDING, POINTS)
    found = (cheapest(options, np.full(outputs, bound)) for bound in bounds)
    return list(dict.fromkeys(picks for picks in found if picks is not None))
