"""The float16 model that a quantized one has to beat."""

import onnx_ir as ir

from .ir.canonical.canonicalize import canonicalize
from .ir.float_types import HALVES
from .passes.convert_precision import ConvertPrecision
from .runtime.dtypes import dtypes
from .runtime.fixes.float_graph import float_graph
from .runtime.rules.constants import STORED
from .runtime.targets import Target


def half_precision(model: ir.Model, target: Target) -> ir.Model:
    """Return a copy in float16 of a ``model`` in float32 and in canonical form; inputs and outputs stay as they are."""
    copy = model.clone()
    ConvertPrecision(products=target.half_products)(copy)
    return copy


def without_quantizers(model: ir.Model, target: Target) -> ir.Model:
    """Return a Q/DQ graph without its quantizers, in float16 unless its float layers are in half precision anyway.

    ``model`` is not modified.

    Raises:
        SourceError: a node is not what its operator takes, or a function calls itself.
    """
    return as_reference(float_graph(model, target), target)


def as_reference(model: ir.Model, target: Target) -> ir.Model:
    """Return a model in float32 in float16, and one that is in half precision or quantized as it is.

    ``model`` is not modified.
    """
    if dtypes(model) & (HALVES | STORED):
        return model
    copy = model.clone()
    canonicalize(copy)
    return half_precision(copy, target)
