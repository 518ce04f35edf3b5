"""Measure what rounding each value that may go as integers, alone, does to the model's outputs.

N_v = ‖y(v̂) - y‖² / ‖y‖²        see `requant.passes.regions.rounding_noise`
"""

from dataclasses import dataclass

import onnx_ir as ir

from ..calib.activations import activation
from ..calib.collect import first_feeds
from ..ir.linear import find_linears
from ..runtime.feeds import Feed
from ..runtime.targets import Target, target
from .annotations import NOISE, is_quantized
from .regions.candidates import find_candidates
from .regions.choose import fastest
from .regions.rounding_noise import measure_noise

MOST_FEEDS = 4
"""The most feeds that noise is measured on."""

_BUDGET = 20e9
"""The estimated time, in nanoseconds, that all measurements may take together where one feed is enough for that."""


@dataclass(frozen=True)
class MeasureRoundingNoise(ir.passes.InPlacePass):
    """A pass that measures the noise of rounding values, where the engine's kernels write integers.

    Needs `requant.calib.activations.measure_activations`. Values that are no faster as integers are left out. Writes
    the annotation `NOISE`; reads `KEPT` and `SKIPPED`.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS` or a row like those.
        feeds: what to measure on; of samples that set no range, noise includes what is clipped. The first feeds of the
            calibration data if there are none.
    """

    target: str | Target = "cpu"
    feeds: tuple[Feed, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        engine = target(self.target)
        if not engine.integer_outputs:
            return ir.passes.PassResult(model, modified=False)
        candidates = find_candidates(model.graph, engine)
        convs = [linear for linear in find_linears(model.graph) if linear.node.op_type in engine.integer_outputs]
        integers, time = fastest(model.graph, candidates, [conv for conv in convs if is_quantized(conv)])
        computed = [value for value in candidates.quantizers if value in integers and _is_computed(value)]
        grids = {value: candidates.quantizers[value] for value in computed}
        feeds = (self.feeds or first_feeds(model))[: max(1, min(MOST_FEEDS, int(_BUDGET / max(time * len(grids), 1))))]
        for value in candidates.quantizers:
            value.meta.pop(NOISE.key, None)
        for value, noise in measure_noise(model, grids, feeds).items():
            NOISE.set(value, noise)
        return ir.passes.PassResult(model, modified=False)


def _is_computed(value: ir.Value) -> bool:
    entry = activation(value)
    return entry is not None and entry.statistics is not None
