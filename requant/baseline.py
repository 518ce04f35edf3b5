"""The float16 model that a quantized artifact has to beat."""

import onnx_ir as ir

from .ir.canonical.canonicalize import canonicalize
from .passes.convert_precision import ConvertPrecision
from .runtime.dtypes import dtypes
from .runtime.fixes.float_graph import float_graph
from .runtime.targets import Target

_HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def baseline(model: ir.Model, target: Target) -> ir.Model:
    """Return the float16 model of a Q/DQ graph: without its quantizers, and in half precision if it is not by now.

    ``model`` is not modified.

    Raises:
        SourceError: a node is not what its operator takes, or a function calls itself.
    """
    plain = float_graph(model, target)
    if not dtypes(plain) & _HALVES:
        canonicalize(plain)
        ConvertPrecision(products=target.half_products)(plain)
    return plain
