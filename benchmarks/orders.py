"""Layers in float for a limit, by the order in which they are left: python -m benchmarks.orders [minilm] [orientation]

Orders by which tools leave layers in float, one after the other until the limit holds, beside the integer program of
`requant.optimize` with that limit:

- local error: by the SQNR of each layer's own output with all layers in int8, as tools for debugging print it;
- alone: by the loss with one layer in int8 and all others in float, the order of AIMET's quantization analyzer and of
  its automatic mixed precision;
- one out: by the loss with one layer in float and all others in int8, the order of NNCF's accuracy control.

Each prefix is measured as a whole on the samples that judge; TensorRT's artifact with float32 between its layers. The
last columns are of the plan taken, on samples that neither calibration nor judgement has seen.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import onnx_ir as ir

from models.minilm import MINILM
from models.orientation import ORIENTATION
from models.subject import Subject
from requant.demands import find_demands
from requant.limits import parsed_limits
from requant.lowering import Lowering
from requant.passes.annotations import layer_records
from requant.passes.cost_model.program import Picks
from requant.passes.layer_places import placed_layers
from requant.progress import Stopwatch
from requant.recipe import find_recipe
from requant.runtime.compare import compare
from requant.stages import PLANNING, Job
from requant.stages.find_parts import find_parts
from requant.stages.judge import Measurement
from requant.stages.limit import meet_limits
from requant.stages.parts import Parts
from requant.stages.trials import meets_loss

from .accuracy import Row, show

TARGET = "tensorrt"
TITLES = "model", "limit", "order", "layers in float", "of MACs", "judged, dB", "score", "fresh, dB"


@dataclass(frozen=True)
class Case:
    """A model, and the limit that its plan is to be within."""

    subject: Subject
    limit: Mapping[str, Any]


CASES = {
    "minilm": Case(MINILM, {"min_sqnr": 35}),
    "orientation": Case(ORIENTATION, {"metric": "kl", "max_drop": 4e-8}),
}


def main(names: Sequence[str]) -> None:
    """Print a table of the cases in ``names``, or of all."""
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    for name in names or CASES:
        for row in orders(name, CASES[name]):
            print(*row, sep=" | ", file=sys.stderr, flush=True)  # the table comes at the end
            rows.append(row)
    show("Layers in float for a limit", TITLES, rows)


def orders(name: str, case: Case) -> Iterator[Row]:
    """Measure each order, then the integer program."""
    job = planned(case)
    parts, judge = find_parts(job), job.judge
    int8 = (0,) * len(parts.layers)
    one_out = [_merit(judge.measured(parts.applied(_in_float([number], int8), {}))) for number in range(len(int8))]
    ranked = {
        "local error": np.argsort(_local_sqnr(job, parts)),
        "alone": np.argsort([-noise.max() for noise in parts.noise]),
        "one out": np.array(sorted(range(len(int8)), key=one_out.__getitem__, reverse=True)),
    }
    title = name, " ".join(map(str, chain.from_iterable(case.limit.items())))
    yield *title, "all in int8", *_row(case, job, parts.applied(int8, {}))
    for order, numbers in ranked.items():
        prefixes = (parts.applied(_in_float(numbers[:count], int8), {}) for count in range(1, len(int8) + 1))
        plan = next(plan for plan in prefixes if meets_loss(job.limits, judge, judge.measured(plan)))
        yield *title, order, *_row(case, job, plan)
    meet_limits(job)
    yield *title, "integer program", *_row(case, job, job.model)


def _in_float(numbers: Iterable[int], int8: Picks) -> Picks:
    return tuple(int(number in set(numbers)) for number in range(len(int8)))


def _merit(measurement: Measurement) -> tuple[float, float]:
    return (measurement.score or 0.0, measurement.sqnr)


def _local_sqnr(job: Job, parts: Parts) -> list[float]:
    """Return that of the output of each layer, with all in int8."""
    distances = compare(job.reference, job.lowering.measurable.apply(parts.plan, job.report), job.judge.feeds).layers
    return [distances[layer.name].sqnr if layer.name in distances else np.inf for layer in parts.layers]


def _row(case: Case, job: Job, plan: ir.Model) -> Row:
    """Measure a plan on what judges, and on fresh data."""
    artifact, measured = job.lowering.measurable.apply(plan, job.report), job.judge.measured(plan)
    every = list(placed_layers(plan, job.judge.feeds[0]).values())
    quantized = {record.output for record in layer_records(artifact) if record.planned}
    in_float = [layer for layer in every if layer.output not in quantized]
    share = sum(layer.multiplications for layer in in_float) / sum(layer.multiplications for layer in every)
    fresh = compare(job.reference, artifact, case.subject.evaluation(), layers=False).outputs.values()
    return (
        f"{len(in_float)} of {len(every)}",
        f"{share:.0%}",
        f"{measured.sqnr:.1f}, at least {measured.bound:.1f}",
        "" if measured.score is None else f"{measured.score:.3g}",
        f"{min(distance.sqnr for distance in fresh):.1f}",
    )


def planned(case: Case) -> Job:
    """Return a job up to the plan that nothing is left out of for the limit."""
    limits = parsed_limits(**{key: value for key, value in case.limit.items() if key != "metric"})
    lowering = Lowering(TARGET, "float32")
    data, metric = case.subject.calibration(), case.limit.get("metric", "sqnr")
    demands = find_demands(data, lowering, (), limits, metric, None, "normal", None)
    rest = False, None, None, None, None, Stopwatch(lambda stage, count: None)
    job = Job(case.subject.model(), data, find_recipe("int8"), lowering, *rest, **vars(demands))
    for stage in PLANNING:
        stage(job)
    return job


if __name__ == "__main__":
    main(sys.argv[1:])
