"""Write kernels that run on integers as Q/DQ around their nodes, in the spelling of which ONNX Runtime makes a kernel.

Conv          Q(Conv(DQ(x), DQ(w)))                                       QLinearConv
activations   `integer_activations`
others        Q(op(DQ(x), …))
"""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from ...ir.kernels import Kernel
from ...ir.names import fresh_name
from ...ir.ops import SIZES
from ...ir.transform.edit import graph_of
from ..annotations import INTEGER
from .integer_activations import SPELLINGS
from .quantized_values import LoweringContext, dequantized_value

Contexts = Mapping[ir.Graph, LoweringContext]


def quantize_kernels(kernels: Sequence[Kernel], contexts: Contexts) -> list[ir.Value]:
    """Put Q and DQ around ``kernels``, and return what is behind the DQs."""
    written = {value: kernel.nodes[-1] for kernel in kernels for value in kernel.outputs}
    nodes = {node for kernel in kernels for node in kernel.nodes}
    for kernel in kernels:
        _read_sizes(kernel)
        if kernel.kind in SPELLINGS:
            SPELLINGS[kernel.kind](kernel, contexts[graph_of(kernel.nodes[0])])
    dequantized = list[ir.Value]()
    for value in dict.fromkeys(value for kernel in kernels for value in kernel.values):
        if value in written:
            own = contexts[graph_of(written[value])]
            dequantized += _quantize(value, {use.node for use in value.uses()}, dict.fromkeys(contexts, own))
        else:
            dequantized += _quantize(value, nodes, contexts)
        if value.is_graph_output() and value in written:
            _replace_output(value, contexts[graph_of(written[value])])
    return dequantized


def _quantize(value: ir.Value, readers: set[ir.Node], contexts: Contexts) -> list[ir.Value]:
    """Let ``readers`` read ``value`` behind Q and DQ; return that."""
    plan = INTEGER.get(value)
    assert plan is not None
    dequantized: dict[ir.Value, None] = {}
    for use in [use for use in value.uses() if use.node in readers and use.node.op_type != "QuantizeLinear"]:
        behind = dequantized_value(value, plan, contexts[graph_of(use.node)])
        use.node.replace_input_with(use.idx, behind)
        dequantized[behind] = None
    return list(dequantized)


def _replace_output(value: ir.Value, context: LoweringContext) -> None:
    """Let the graph return ``value`` behind Q and DQ, under its name."""
    plan, graph = INTEGER.get(value), context.graph
    assert plan is not None
    behind, name = dequantized_value(value, plan, context), value.name
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = behind
    value.name = fresh_name(graph, f"{name}.float")
    behind.name = name


def _read_sizes(kernel: Kernel) -> None:
    """Let what asks for the size of the output of a Conv ask for that of what is behind it, which is quantized."""
    if len(kernel.nodes) > 1 and kernel.linear is not None:
        for use in kernel.linear.node.outputs[0].uses():
            if use.node.op_type in SIZES:
                use.node.replace_input_with(use.idx, kernel.outputs[0])
