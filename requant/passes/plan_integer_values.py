"""Plan which values go as integers from one kernel to the next, on an engine whose kernels write integers.

    x → Conv → SiLU → Concat → Conv → y        integers between all of them, each value with a range of its own

`requant.passes.regions` has the parts: grids, prices, noise and the planner that weighs them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from ..calib.step_values import step_value
from ..ir.linear import find_linears
from ..ir.quantizer import Quantizer
from ..ir.steps import Step, find_steps
from ..runtime.targets import target
from .annotations import INTEGER, is_quantized
from .planned_layer import planned_layer
from .regions.grids import grids
from .regions.planner import Plan, Problem, plans
from .regions.rounding_noise import RoundingNoise, measure_noise


@dataclass(frozen=True)
class PlanIntegerValues(ir.passes.InPlacePass):
    """A pass that gives a quantizer to each value that is to go as integers between kernels.

    Needs `requant.calib.step_values.measure_steps` and a plan (`PlanQuantizers`). Writes the annotation `INTEGER`.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS`.
    """

    target: str = "cpu"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        engine = target(self.target)
        if not engine.integer_outputs:
            return ir.passes.PassResult(model, modified=False)
        dtype = engine.activations[ir.DataType.INT8].dtype
        steps = list(find_steps(model.graph))
        quantizers = grids(steps, dtype)
        steps = [step for step in steps if all(value in quantizers for value in (*step.inputs, *step.outputs))]
        noise = measure_noise(model, steps, quantizers)
        problem = Problem(steps, frozenset(quantizers), floats(model.graph), noise, others(steps))
        found = plans(problem)
        best = min(found, key=lambda plan: plan.merit)
        for value, plan in quantizers.items():
            if value in best.integers:
                INTEGER.set(value, plan)
        return ir.passes.PassResult(model, bool(best.integers))


def floats(graph: ir.Graph) -> frozenset[ir.Node]:
    """Return the Convs that have no plan, or are to stay in float."""
    return frozenset(
        linear.node for linear in find_linears(graph) if planned_layer(linear) is None or not is_quantized(linear)
    )


def others(steps: Iterable[Step]) -> Mapping[ir.Value, int]:
    """Count the consumers of each value that are in no step, and graph outputs."""
    nodes = {node for step in steps for node in step.nodes}
    values = dict.fromkeys(value for step in steps for value in (*step.inputs, *step.outputs))
    return {
        value: sum(use.node not in nodes for use in value.uses()) + value.is_graph_output() for value in values
    }
