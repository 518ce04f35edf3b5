"""Plan which values go as integers from one kernel to the next, on an engine whose kernels write integers.

    x → Conv → SiLU → Concat → Conv → y        integers between all of them, each value with a range of its own

`requant.passes.regions` has the parts: grids, prices, noise and the planner that weighs them.
"""

from dataclasses import dataclass

import onnx_ir as ir

from ..runtime.targets import Target, target
from .integer_regions import planned_convs, set_regions
from .regions.candidates import find_candidates
from .regions.choose import choose_regions


@dataclass(frozen=True)
class PlanIntegerValues(ir.passes.InPlacePass):
    """A pass that gives a quantizer to each value that is to go as integers between kernels.

    Needs a plan (`PlanQuantizers`), and `requant.calib.activations.measure_activations` after the last rewrite. Without
    `MeasureRoundingNoise`, time alone decides. Writes the annotations `INTEGER` and `FLOAT`; reads `NOISE` and `KEPT`.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS` or a row like those.
    """

    target: str | Target = "cpu"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        engine = target(self.target)
        if not engine.integer_outputs:
            return ir.passes.PassResult(model, modified=False)
        candidates, convs = find_candidates(model.graph, engine), planned_convs(model.graph, engine)
        regions = choose_regions(model.graph, candidates, convs)
        set_regions(model.graph, regions, candidates.quantizers)
        return ir.passes.PassResult(model, bool(regions.quantizers))
