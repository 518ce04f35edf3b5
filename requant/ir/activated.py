"""The output of a Conv as a quantizer can write it: behind a Relu or a Clip, which saturation does."""

import math

import numpy as np
import onnx_ir as ir

from .constants import array, is_constant
from .linear import Linear
from .ops import CLIPPING, SIZES, is_op


def activated(conv: Linear) -> ir.Value:
    """Return the output of ``conv``, or that of the Relu or Clip that alone reads it: quantization can do both."""
    nodes = [use.node for use in conv.output.uses() if not is_op(use.node, SIZES)]
    if len(nodes) != 1 or conv.output.is_graph_output() or nodes[0].graph is not conv.node.graph:
        return conv.output
    (node,) = nodes
    clips = is_op(node, CLIPPING) and node.inputs[0] is conv.output
    return node.outputs[0] if clips and all(map(is_constant, filter(None, node.inputs[1:]))) else conv.output


def bounds(node: ir.Node) -> tuple[float, float]:
    """Return the bounds of a Relu, or of a Clip by constants."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    low, high = (array(value) for value in (*node.inputs[1:], None, None)[:2])
    return (
        -math.inf if low is None else float(low.astype(np.float64)),
        math.inf if high is None else float(high.astype(np.float64)),
    )
