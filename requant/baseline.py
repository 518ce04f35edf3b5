"""The float16 model that a quantized one has to beat."""

import onnx_ir as ir

from .ir.canonical.canonicalize import canonicalize
from .passes.convert_precision import ConvertPrecision
from .runtime.dtypes import dtypes
from .runtime.fixes.float_graph import float_graph
from .runtime.targets import Target

_HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


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
    plain = float_graph(model, target)
    if dtypes(plain) & _HALVES:
        return plain
    canonicalize(plain)
    return half_precision(plain, target)
