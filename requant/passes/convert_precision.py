"""Compute in float16 or bfloat16: what engines with strong types do only if the graph says so.

    y = f(x)    becomes    y = float32(f(half(x)))

All tensors between the inputs and outputs become halves, weights among them. The scale of a QuantizeLinear is rounded
to the half, by 2^-11 of itself at most in float16 and 2^-8 in bfloat16; those of a product of codes are left as they
are (see `.precision.signatures`), so that weights are what their codes were made for. QuantizeLinear has an attribute
for the type that it divides in, which is left out: TensorRT's parser ignores it, and the rare code that it changes is
one step off, which costs less than .3 dB in 7 to 25.
"""

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from ..ir.opset import raise_opset
from .precision.fp32_nodes import fp32_nodes
from .precision.retype import retype
from .precision.signatures import EXACT_SCALES, multiplies_codes, signature

PRECISION = "requant.precision"
"""Key in `Model.meta` of the nodes that stayed in float32."""

OPSETS = {ir.DataType.FLOAT16: 19, ir.DataType.BFLOAT16: 22}
"""The first opset that has scales (19) and convolutions (22) of the type; products of codes need 23."""


@dataclass(frozen=True)
class PrecisionRecord:
    """A node that stayed in float32, and why."""

    name: str
    op_type: str
    reason: str


def precision_records(model: ir.Model) -> tuple[PrecisionRecord, ...]:
    """The nodes of ``model`` that `ConvertPrecision` left in float32, in graph order."""
    found = model.meta.get(PRECISION, ())
    return found if isinstance(found, tuple) else ()


@dataclass(frozen=True)
class ConvertPrecision(ir.passes.InPlacePass):
    """Make halves of a float32 graph in canonical form, with or without Q/DQ pairs: run it after `InsertQDQ`.

    Nodes that need float32 keep it behind Casts and are recorded with the reason (see `.precision.fp32_nodes`).
    The opset is raised where it is too low: see `OPSETS`.

    Attributes:
        dtype: FLOAT16 or BFLOAT16.
        keep_io: whether the graph's inputs and outputs stay float32, with one Cast each.
        products: whether what Convs make of codes may be halves; if not, they are float32 up to where they write codes.
    """

    dtype: ir.DataType = ir.DataType.FLOAT16
    keep_io: bool = True
    products: bool = True

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when ``dtype`` is no half, or the model still has functions."""
        if self.dtype not in OPSETS:
            raise ir.passes.PreconditionError(f"{self.dtype.name} is neither FLOAT16 nor BFLOAT16")
        if model.functions:
            raise ir.passes.PreconditionError("the model has functions: bring it into canonical form first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        products = self.products and any(multiplies_codes(node) for node in model.graph)
        raised = raise_opset(model, EXACT_SCALES if products else OPSETS[self.dtype])
        lifted = LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified
        opset = model.graph.opset_imports[""]
        wide = fp32_nodes(model.graph, opset, self.dtype, self.products)
        model.meta[PRECISION] = tuple(
            PrecisionRecord(node.name or "", node.op_type, reason) for node, reason in wide.items()
        )
        signatures = {node: signature(node, opset, self.dtype) for node in model.graph if node not in wide}
        narrow = {node: types for node, types in signatures.items() if types is not None}
        return ir.passes.PassResult(model, retype(model.graph, narrow, self.dtype, self.keep_io) or lifted or raised)
