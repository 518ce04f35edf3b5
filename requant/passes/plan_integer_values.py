"""Plan which values go as integers from one kernel to the next, on an engine whose kernels write integers.

    x → Conv → SiLU → Concat → Conv → y        integers between all of them, each value with a range of its own

`requant.passes.regions` has the parts: grids, prices, noise and the planner that weighs them.
"""

from dataclasses import dataclass

import onnx_ir as ir

from ..ir.linear import find_linears
from ..runtime.targets import Target, target
from .annotations import FLOAT, INTEGER
from .layer_refusal import layer_refusal
from .planned_layer import planned_layer
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
        convs = [linear for linear in find_linears(model.graph) if linear.node.op_type in engine.integer_outputs]
        planned = [conv for conv in convs if layer_refusal(conv, planned_layer(conv), engine) is None]
        candidates = find_candidates(model.graph, engine)
        for value in candidates.quantizers:
            value.meta.pop(INTEGER.key, None)
        for conv in convs:
            conv.node.meta.pop(FLOAT.key, None)
        regions = choose_regions(model.graph, candidates, planned)
        for value, plan in regions.quantizers.items():
            INTEGER.set(value, plan)
        for node, refusal in regions.refusals.items():
            FLOAT.set(node, refusal)
        return ir.passes.PassResult(model, bool(regions.quantizers))
