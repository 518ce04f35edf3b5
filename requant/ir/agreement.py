"""Validation of the shapes in a graph by onnx's own inference, as ONNX Runtime does when it loads a model.

Shapes and types that the model declares for outputs of nodes are left out: exporters leave stale ones, and ONNX
Runtime overrules them too.
"""

import re
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from ..errors import SourceError
from .shapes.onnx_inference import large_weights_as_inputs, read_small_constants

_UNTYPED = "expected to have type but instead is null"
"""What onnx says of a node behind one whose output it cannot infer."""


def require_agreement(model: ir.Model, name: str) -> None:
    """Check that the shapes of constants and inputs fit the nodes that read them.

    The model computes the same afterwards; small Constants of another file are in memory.

    Raises:
        SourceError: names the first node whose inputs do not fit, or the reason why the model cannot be serialized.
    """
    read_small_constants(model.graph)
    try:
        with large_weights_as_inputs(model.graph):
            proto = ir.to_proto(model)
    except ir.serde.SerdeError as error:
        raise SourceError(f"{name}: damaged ONNX model ({_cause(error)})") from error
    _forget_declared(proto.graph)
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        if problem := next(_problems(error), None):
            raise SourceError(f"{name}: {problem}") from error


def _forget_declared(graph: onnx.GraphProto) -> None:
    """Drop the types and shapes that ``graph`` and its bodies declare for values, but for the types of outputs."""
    del graph.value_info[:]
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _forget_declared(attribute.g)


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _problems(error: Exception) -> Iterator[str]:
    """Yield the problems, node by node; not those of ops with a function body, which onnx expands wrongly for some."""
    for line in str(error).splitlines():
        text = re.sub(r"\[\w+Error\] (Inference error\(s\): )?", "", line).strip()
        op_type = re.match(r"\(op_type:(\w+)", text)
        if text and _UNTYPED not in text and not (op_type and _has_function(op_type[1])):
            yield text


def _has_function(op_type: str) -> bool:
    try:
        schema = onnx.defs.get_schema(op_type)
    except onnx.defs.SchemaError:
        return False
    return bool(getattr(schema, "has_function", False))  # older releases of onnx do not say
