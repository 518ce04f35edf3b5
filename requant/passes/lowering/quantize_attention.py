"""Quantizers on the operands of both products of an attention, where the plan has them and the engine a kernel.

    softmax(Q Kᵀ) V    becomes    DQ(Q(softmax(DQ(Q(q)) DQ(Q(kᵀ))))) DQ(Q(v))

Each stands right before the product: an engine takes no Transpose between a DequantizeLinear and an attention's kernel.
"""

from collections.abc import Mapping

import onnx_ir as ir

from ...ir.attention import find_attentions
from ...ir.formats import Format
from ...ir.transform.edit import graph_of
from ..annotations import ATTENTION
from .quantized_values import LoweringContext, dequantized_value


def quantize_attentions(graph: ir.Graph, contexts: Mapping[ir.Graph, LoweringContext]) -> None:
    """Quantize the planned attentions of ``graph`` and its bodies that the engine runs as one kernel."""
    for block in list(find_attentions(graph)):
        plans = [ATTENTION.get(node) for node in (block.scores, block.mixture)]
        context = contexts[graph_of(block.mixture)]
        for node, plan in zip((block.scores, block.mixture), plans, strict=True):
            if plan is None or None in plans:
                continue
            dtype = plan[0].dtype
            if context.engine.excludes_attention(block, Format(dtype, dtype)) is None:
                for position, quantizer in enumerate(plan):
                    value = node.inputs[position]
                    assert value is not None
                    node.replace_input_with(position, dequantized_value(value, quantizer, context))
