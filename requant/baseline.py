"""The float model that a quantized one has to beat: in float16 on TensorRT, in float32 on a processor."""

import onnx_ir as ir

from .errors import SourceError
from .ir.canonical.canonicalize import canonicalize
from .ir.float_types import HALVES
from .ir.ops import LINEAR, is_op
from .ir.order import label
from .ir.quantized import find_quantized_layers
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


def reference_type(target: Target) -> str:
    """Return the type of the float model to beat: that in which ``target`` computes what is not quantized."""
    return "float16" if target.body == ir.DataType.FLOAT16 else "float32"


def without_quantizers(model: ir.Model, target: Target) -> ir.Model:
    """Return a quantized graph without its quantizers; see `as_reference`.

    ``model`` is not modified.

    Raises:
        SourceError: a node is not what its operator takes, or a function calls itself; or, on a processor, a layer is
            on integers in a way that has no float form here.
    """
    copy = float_graph(model, target)
    for layer in find_quantized_layers(copy) if reference_type(target) == "float32" else ():
        if not is_op(layer.node, LINEAR):
            raise SourceError(
                f"{label(layer.node)}: {layer.node.op_type} has no float form here: compare with the float model"
            )
    return as_reference(copy, target)


def as_reference(model: ir.Model, target: Target) -> ir.Model:
    """Return a model in float32 in the `reference_type`, and one that is in half precision or quantized as it is.

    ``model`` is not modified.
    """
    if reference_type(target) == "float32" or dtypes(model) & (HALVES | STORED):
        return model
    copy = model.clone()
    canonicalize(copy)
    return half_precision(copy, target)
