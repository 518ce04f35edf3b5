"""Split every HardSwish behind a Conv on integers, so that channels can be scaled, and join what no scale came into.

HardSwish(x) = x · HardSigmoid(x; 1/6, 1/2)
"""

import onnx_ir as ir

from ..ir.build import describe
from ..ir.linear import as_linear
from ..ir.ops import is_op
from ..ir.scaled_hard_swish import OFFSET, SLOPE, gated_product
from ..ir.traverse import graphs_within, sole_use
from .annotations import is_direct


class SplitHardSwish(ir.passes.InPlacePass):
    """A pass that splits each HardSwish that alone reads the output of a Conv on integers, for `SearchTransforms`.

    The gate is a kernel of its own there in any case. Reads the annotation `DIRECT`.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [(owner, node) for owner in graphs_within(model.graph) for node in owner if _reads_integers(node)]
        for owner, node in found:
            _split(owner, node)
        return ir.passes.PassResult(model, bool(found))


def join_hard_swishes(graph: ir.Graph) -> None:
    """Join each x · HardSigmoid(x) that is a HardSwish."""
    for owner in graphs_within(graph):
        gates = [(node, gated_product(node, node.inputs[0])) for node in owner if node.op_type == "HardSigmoid"]
        for gate, product in gates:
            if product is not None:
                product.op_type = "HardSwish"
                product.replace_input_with(0, gate.inputs[0])
                product.resize_inputs(1)
                owner.remove(gate, safe=True)


def _split(graph: ir.Graph, node: ir.Node) -> None:
    data, output = node.inputs[0], node.outputs[0]
    assert data is not None
    gate = ir.node("HardSigmoid", [data], {"alpha": SLOPE, "beta": OFFSET}, name=f"{node.name}.gate")
    graph.insert_before(node, gate)
    behind = describe(graph, gate.outputs[0], f"{output.name}.gate", data.shape, data.dtype)
    node.op_type = "Mul"
    node.resize_inputs(2)
    node.replace_input_with(1, behind)


def _reads_integers(node: ir.Node) -> bool:
    data = node.inputs[0] if is_op(node, frozenset({"HardSwish"})) else None
    producer = data.producer() if data is not None and sole_use(data) is not None else None
    conv = as_linear(producer) if producer is not None and producer.op_type == "Conv" else None
    return conv is not None and conv.output is data and is_direct(conv)
