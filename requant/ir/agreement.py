"""Whether the shapes in a graph agree, by onnx's own inference: what ONNX Runtime asks of a model that it loads.

Shapes and types that the model declares for what its nodes make are left out: exporters leave stale ones, and ONNX
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
"""Bytes up to which a weight may hold sizes or axes, and is shown to the inference with its data."""


_SIZES = (ir.DataType.INT64, ir.DataType.INT32)


def require_agreement(model: ir.Model, name: str) -> None:
    """Check that the shapes of constants and inputs fit the nodes that read them. The model is not modified.

    Raises:
        SourceError: names the first node whose inputs do not fit, or says why the model cannot be written.
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
        _show(copy.graph, value)
    try:
        proto = ir.to_proto(copy)
    except ir.serde.SerdeError as error:
        raise SourceError(f"{name}: damaged ONNX model ({_cause(error)})") from error
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        if trouble := next(_troubles(error), ""):
            raise SourceError(f"{name}: {trouble}") from error


def _show(graph: ir.Graph, value: ir.Value) -> None:
    """Let a large weight be an input of its shape, and a small one be in memory."""
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


def _troubles(error: Exception) -> Iterator[str]:
    """What is wrong, node by node; not with what onnx spells out itself, which it does wrongly for some attributes."""
    for line in str(error).splitlines():
        text = re.sub(r"\[\w+Error\] (Inference error\(s\): )?", "", line).strip()
        op_type = re.match(r"\(op_type:(\w+)", text)
        if text and not (op_type and _is_spelled_out(op_type[1])):
            yield text


def _is_spelled_out(op_type: str) -> bool:
    try:
        schema = onnx.defs.get_schema(op_type)
    except onnx.defs.SchemaError:
        return False
    return bool(getattr(schema, "has_function", False))  # older releases of onnx do not say
