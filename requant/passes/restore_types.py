"""Give a model that was converted to float32 the inputs, outputs and tables of its file again.

    x (float16) → Cast → float32 graph → Cast → y (float16)        float16 table → Gather → Cast → …

For engines that compute in float32 all the same: ONNX Runtime's CPU has few kernels in half precision and converts each
input and output of the others, and no engine has integer kernels between float64 values.
"""

from dataclasses import dataclass

import onnx_ir as ir

from ..ir.constants import is_constant
from ..ir.float_types import HALVES, FileTypes, file_types
from .precision.retype import retype
from .precision.signatures import Signature, is_float, signature


@dataclass(frozen=True)
class RestoreTypes(ir.passes.InPlacePass):
    """A pass that leaves a model in float32 inside, with the interface of its file; it runs after `InsertQDQ`.

    Tables that a Gather reads are stored as the file stores them, in half the bytes. A model whose file is in float32
    is not changed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        types = file_types(model.graph)
        if types is None:
            return ir.passes.PassResult(model, modified=False)
        lookups = _lookups(model.graph, types, model.graph.opset_imports.get("", 1))
        return ir.passes.PassResult(model, retype(model.graph, lookups, types.dtype, types.interface))


def _lookups(graph: ir.Graph, types: FileTypes, opset: int) -> dict[ir.Node, Signature]:
    """Return the nodes that read a table in half precision, with their types there."""
    nodes = [node for node in graph if types.dtype in HALVES and node.op_type == "Gather" and _reads_table(node)]
    halves = ((node, signature(node, opset, types.dtype)) for node in nodes if _is_half(node, types))
    return {node: half for node, half in halves if half is not None}


def _reads_table(node: ir.Node) -> bool:
    return is_float(node.inputs[0]) and is_constant(node.inputs[0])


def _is_half(node: ir.Node, types: FileTypes) -> bool:
    return types.computed.get(node.outputs[0].name or "") == (node.op_type, types.dtype)
