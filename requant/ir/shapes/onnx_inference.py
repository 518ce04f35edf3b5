"""ONNX's own inference of types and shapes, with large weights as inputs: their data is not needed.

onnx-ir has a pass for it too, but its time is quadratic in the number of weights, and it takes sequences for tensors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import onnx
import onnx_ir as ir

LARGEST = 1000
"""Bytes up to which a weight may hold sizes or axes, so that inference needs its data."""


def infer_by_onnx(model: ir.Model) -> None:
    """Set the types and shapes that ONNX infers for the values of ``model``; none if it finds that types do not fit."""
    with large_weights_as_inputs(model.graph):
        proto = ir.to_proto(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):  # of a node of which nothing is known afterwards
        return
    _read(model.graph, inferred.graph)


@contextmanager
def large_weights_as_inputs(graph: ir.Graph) -> Iterator[None]:
    """Make the weights of ``graph`` with more than `LARGEST` bytes inputs of it, for the time being.

    Smaller ones that are stored in another file are read.
    """
    inputs = list(graph.inputs)
    known = set(inputs)
    tensors = {value: value.const_value for value in graph.initializers.values()}
    large = [value for value, tensor in tensors.items() if tensor is None or tensor.nbytes > LARGEST]
    for value in large:
        del graph.initializers[value.name or ""]
        if value.const_value is not None and value.type is None:
            value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(value.const_value.shape.numpy())
    graph.inputs.extend(value for value in large if value not in known)
    for value in graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = _in_memory(value.const_value)
    try:
        yield
    finally:
        graph.inputs[len(inputs) :] = []  # `del` would leave them marked as inputs
        graph.initializers.clear()
        for value, tensor in tensors.items():
            value.const_value = tensor
            graph.initializers.add(value)


def read_small_constants(graph: ir.Graph) -> None:
    """Read the tensors of Constants of ``graph`` that are stored in another file and may hold sizes or axes."""
    for node in graph.all_nodes():
        attribute = node.attributes.get("value") if node.op_type == "Constant" else None
        if attribute is None or attribute.is_ref() or attribute.type != ir.AttributeType.TENSOR:
            continue
        tensor = attribute.as_tensor()
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= LARGEST:
            node.attributes["value"] = ir.AttrTensor("value", _in_memory(tensor))


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    """Read ``tensor`` without mapping its file, which would then stay open."""
    with open(tensor.path, "rb") as file:
        file.seek(tensor.offset or 0)
        data = np.frombuffer(file.read(tensor.nbytes), tensor.dtype.numpy())
    return ir.Tensor(data.reshape(tensor.shape.numpy()), name=tensor.name)


def _read(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """Take the types and shapes of the values of ``graph`` and its bodies from ``proto``, which has the same nodes."""
    values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
    for info in chain(proto.input, proto.value_info, proto.output):
        if info.name in values:
            _assign(values[info.name], info.type)
    for node, node_proto in zip(graph, proto.node, strict=True):
        for attribute in node_proto.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _read(node.attributes[attribute.name].as_graph(), attribute.g)


def _assign(value: ir.Value, proto: onnx.TypeProto) -> None:
    kind, shape = ir.serde.deserialize_type_proto_for_type(proto), ir.serde.deserialize_type_proto_for_shape(proto)
    if kind is None or kind.dtype == ir.DataType.UNDEFINED:
        return
    if kind != value.type:
        value.type = kind
    if not isinstance(kind, ir.TensorType | ir.SparseTensorType):
        value.shape = None
    elif shape is not None and shape != value.shape:
        value.shape = shape
