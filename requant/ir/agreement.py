"""Validation of the shapes in a graph by onnx's own inference, as ONNX Runtime does when it loads a model.

Shapes and types that the model declares for outputs of nodes are left out: exporters leave stale ones, and ONNX
Runtime overrules them too.
"""

import re
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from ..errors import SourceError
from .ownership import own_tensors

_SMALL = 1000
"""Bytes up to which a weight may hold sizes or axes, so that the inference needs its data."""


_UNTYPED = "expected to have type but instead is null"
"""What onnx says of a node behind one whose output it cannot infer."""

_SIZES = (ir.DataType.INT64, ir.DataType.INT32)


def require_agreement(model: ir.Model, name: str) -> None:
    """Check that the shapes of constants and inputs fit the nodes that read them. The model is not modified.

    Raises:
        SourceError: names the first node whose inputs do not fit, or the reason why the model cannot be serialized.
    """
    copy = model.clone()
    own_tensors(copy)
    for graph in copy.graphs():
        for node in graph:
            for value in node.outputs:
                value.shape = None
                value.type = value.type if value.is_graph_output() else None
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    for value in list(copy.graph.initializers.values()):
        _expose(copy.graph, value)
    try:
        proto = ir.to_proto(copy)
    except ir.serde.SerdeError as error:
        raise SourceError(f"{name}: damaged ONNX model ({_cause(error)})") from error
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        if problem := next(_problems(error), None):
            raise SourceError(f"{name}: {problem}") from error


def _expose(graph: ir.Graph, value: ir.Value) -> None:
    """Make a large weight an input of its shape, and load a small one into memory."""
    tensor = value.const_value
    if tensor is None:
        return
    if isinstance(tensor, ir.ExternalTensor) and tensor.dtype in _SIZES and tensor.nbytes <= _SMALL:
        value.const_value = tensor = _in_memory(tensor)
    if tensor.nbytes > _SMALL or isinstance(tensor, ir.ExternalTensor):
        graph.initializers.pop(value.name or "")
        value.const_value, value.shape, value.dtype = None, ir.Shape(tensor.shape.numpy()), tensor.dtype
        if value not in graph.inputs:
            graph.inputs.append(value)


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    """Read ``tensor`` without mapping its file, which would then stay open."""
    with open(tensor.path, "rb") as file:
        file.seek(tensor.offset or 0)
        data = np.frombuffer(file.read(tensor.nbytes), tensor.dtype.numpy())
    return ir.Tensor(data.reshape(tensor.shape.numpy()), name=tensor.name)


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
