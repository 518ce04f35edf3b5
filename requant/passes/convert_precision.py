"""Convert a graph to mixed precision: float16 or bfloat16, which strongly typed engines use only if the graph says so.

    y = f(x)    becomes    y = float32(f(half(x)))

All tensors between the inputs and outputs become half precision, weights among them. The scale of a QuantizeLinear is
rounded to the half, by 2^-11 of itself at most in float16 and 2^-8 in bfloat16; those of an integer product stay as
they are (see `.precision.signatures`), so that weights keep the values that they were rounded to. QuantizeLinear has an
attribute for the type that it divides in, which is omitted: TensorRT's parser ignores it, and the rare integer that it
changes is one step off, which costs less than .3 dB in 7 to 25.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from ..ir.float_types import FileTypes, file_types
from ..ir.opset import raise_opset
from .annotations import FLOAT32_NODES
from .precision.fp32_nodes import fp32_nodes
from .precision.retype import retype
from .precision.signatures import EXACT_SCALES, scales_integer_product, signature
from .records import PrecisionRecord

OPSETS = {ir.DataType.FLOAT16: 19, ir.DataType.BFLOAT16: 22}
"""The first opset that has scales (19) and convolutions (22) of the type; integer products need 23."""


@dataclass(frozen=True)
class ConvertPrecision(ir.passes.InPlacePass):
    """A pass that converts a float32 graph in canonical form to mixed precision; it runs after `InsertQDQ`, if at all.

    Nodes that need float32 keep it behind Casts and are recorded with the reason (see `.precision.fp32_nodes`). In a
    model that `requant.ir.float_types` converted from half precision, nodes have the types of the file again. The opset
    is raised where it is too low: see `OPSETS`. Reads statistics; writes the annotation `FLOAT32_NODES`.

    Attributes:
        dtype: FLOAT16 or BFLOAT16.
        keep_io: whether the graph's inputs and outputs stay float32, or what they are in the file, with one Cast each.
        products: whether integer Convs may compute in half precision; if not, they are float32 up to their next Q.
    """

    dtype: ir.DataType = ir.DataType.FLOAT16
    keep_io: bool = True
    products: bool = True

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when ``dtype`` is no half precision type, or the model still has functions."""
        if self.dtype not in OPSETS:
            raise ir.passes.PreconditionError(f"{self.dtype.name} is neither FLOAT16 nor BFLOAT16")
        if model.functions:
            raise ir.passes.PreconditionError("the model has functions: bring it into canonical form first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        types = file_types(model.graph)
        products = self.products and any(scales_integer_product(node) for node in model.graph)
        is_raised = raise_opset(model, EXACT_SCALES if products else OPSETS[self.dtype])
        is_lifted = LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified
        opset = model.graph.opset_imports[""]
        computed = types.computed if types is not None else {}
        reasons = fp32_nodes(model.graph, opset, self.dtype, computed, products=self.products)
        records = (PrecisionRecord(node.name or "", node.op_type, reason) for node, reason in reasons.items())
        FLOAT32_NODES.set(model, tuple(records))
        signatures = {node: signature(node, opset, self.dtype) for node in model.graph if node not in reasons}
        half = {node: types for node, types in signatures.items() if types is not None}
        is_retyped = retype(model.graph, half, self.dtype, self._interface(model.graph, types))
        return ir.passes.PassResult(model, is_retyped or is_lifted or is_raised)

    def _interface(self, graph: ir.Graph, types: FileTypes | None) -> Mapping[str, ir.DataType]:
        """Return the types of the inputs and outputs; those that are left out stay float32."""
        if not self.keep_io:
            return {value.name or "": self.dtype for value in (*graph.inputs, *graph.outputs)}
        return types.interface if types is not None else {}
