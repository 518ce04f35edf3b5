"""Models in float16, bfloat16 or float64 as float32 models, in which they are calibrated, transformed and planned.

    float32(x ∘ W)        x in float16, W in float16: every half is a float32 number

Weights in half precision are exact, and activations are rounded less than in the file. What float64 has beyond float32
is rounded off. `FileTypes` remembers the types of the file, which the artifact gets back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from .constants import lazily
from .ops import CONVERSIONS, LINEAR, RECURRENT
from .shapes.infer import InferShapes
from .traverse import all_nodes, producer
from .validate import stored_tensors

HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
"""Types whose numbers are all float32 numbers."""

BFLOAT16 = frozenset({ir.DataType.BFLOAT16})

DOUBLE = frozenset({ir.DataType.DOUBLE})

_KEY = "requant.file_types"
"""Key in `Graph.meta` of the types of the file, which a clone of the model keeps."""

_LAYERS = LINEAR | RECURRENT | {"Attention", "Einsum", "FusedConv", "FusedGemm", "FusedMatMul", "QAttention"}
"""Ops of any domain that may multiply by a weight."""

_TYPE_ATTRIBUTES = frozenset({"dtype", "output_datatype", "output_dtype", "precision", "softmax_precision", "to"})
"""Attributes that hold the number of a type."""

_INFER = ir.passes.Sequential(common.InlinePass(), InferShapes())

_SMALL = 1024
"""Elements up to which a constant is converted at once, and not whenever it is read."""


ComputedTypes: TypeAlias = Mapping[str, tuple[str, ir.DataType]]
"""The op and the type of the first output of each node, by that output's name."""


@dataclass(frozen=True)
class FileTypes:
    """The floating-point types of a model before `to_float32`.

    Attributes:
        dtype: the type of its linear layers.
        interface: the type of each input and output that is a tensor, by name.
        computed: the types of its nodes.
    """

    dtype: ir.DataType
    interface: Mapping[str, ir.DataType]
    computed: ComputedTypes


def file_types(graph: ir.Graph) -> FileTypes | None:
    """Return the types that `to_float32` remembered, or None where the file is in float32."""
    types = graph.meta.get(_KEY)
    return types if isinstance(types, FileTypes) else None


def remember_types(graph: ir.Graph, types: FileTypes | None) -> None:
    """Leave the ``types`` of the file on ``graph``."""
    if types is not None:
        graph.meta[_KEY] = types


def to_float32(model: ir.Model) -> FileTypes | None:
    """Convert ``model`` to float32 in place where a linear layer is in half precision, or all of them in float64.

    Returns:
        The types that it had, which are also left on the graph; None where it stays as it is.
    """
    types = _types(model)
    if types is not None:
        convert_floats(model, HALVES if types.dtype in HALVES else DOUBLE)
        remember_types(model.graph, types)
    return types


def convert_floats(model: ir.Model, dtypes: frozenset[ir.DataType]) -> None:
    """Give float32 to everything in ``model`` that is in one of ``dtypes``."""
    for value in _values(model):
        if value.type is not None:  # not in place: a copy of the model shares the old type
            value.type = _converted_type(value.type, dtypes)
        if value.const_value is not None and value.const_value.dtype in dtypes:
            value.const_value = _converted(value.const_value)
    for node in all_nodes(model):
        for attribute in tuple(node.attributes.values()):
            if not attribute.is_ref():
                _convert_attribute(node, attribute, dtypes)


def in_float32(model: ir.Model, dtypes: frozenset[ir.DataType]) -> ir.Model:
    """Return a copy of ``model`` in which float32 takes the place of ``dtypes``."""
    copy = model.clone()
    convert_floats(copy, dtypes)
    return copy


def holds(model: ir.Model, dtypes: frozenset[ir.DataType]) -> bool:
    """Tell whether an input, a constant or a conversion of ``model`` is in one of ``dtypes``; reads no weights."""
    stored = (tensor.dtype for tensor in stored_tensors(model))
    inputs = (value.dtype for graph in model.graphs() for value in graph.inputs)
    attributes = (attribute for node in all_nodes(model) for attribute in node.attributes.values())
    targets = (attribute.value for attribute in attributes if attribute.name in _TYPE_ATTRIBUTES)
    return any(dtype in dtypes for dtype in chain(stored, inputs, targets))


def _types(model: ir.Model) -> FileTypes | None:
    if not holds(model, HALVES | DOUBLE):
        return None
    copy = model.clone()
    try:
        _INFER(copy)
    except ir.passes.PassError:  # which `canonicalize` explains
        return None
    layers = [dtype for node in all_nodes(copy) if node.op_type in _LAYERS and (dtype := _layer_type(node)) is not None]
    halves = [dtype for dtype in layers if dtype in HALVES]
    if not halves and (not layers or set(layers) != DOUBLE):
        return None
    ports = {value.name or "": value.dtype for value in (*copy.graph.inputs, *copy.graph.outputs)}
    results = {node.outputs[0].name or "": node for node in copy.graph}
    for value in copy.graph.outputs:  # a Cast that goes leaves its name to the node before it
        if (node := producer(value, through=CONVERSIONS)) is not None:
            results[value.name or ""] = node
    nodes = {name: (node.op_type, node.outputs[0].dtype) for name, node in results.items()}
    return FileTypes(
        max(halves, key=halves.count) if halves else ir.DataType.DOUBLE,
        {name: dtype for name, dtype in ports.items() if dtype is not None},
        {name: (op_type, dtype) for name, (op_type, dtype) in nodes.items() if dtype is not None},
    )


def _layer_type(node: ir.Node) -> ir.DataType | None:
    """Return the floating-point type of the weight or the data of a layer, or None where neither is known."""
    dtypes = (value.dtype for value in tuple(node.inputs[:2])[::-1] if value is not None)
    return next((dtype for dtype in dtypes if dtype is not None and dtype.is_floating_point()), None)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for function in model.functions.values():
        yield from function.inputs
    for graph in chain(model.graphs(), *(function.subgraphs() for function in model.functions.values())):
        yield from (*graph.inputs, *graph.initializers.values())
    for node in all_nodes(model):
        yield from node.outputs


def _converted_type(kind: ir.TypeProtocol, dtypes: frozenset[ir.DataType]) -> ir.TypeProtocol:
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        return type(kind)(_converted_type(kind.elem_type, dtypes))
    return ir.TensorType(ir.DataType.FLOAT) if kind.dtype in dtypes else kind


def _convert_attribute(node: ir.Node, attribute: ir.Attr, dtypes: frozenset[ir.DataType]) -> None:
    name, value = attribute.name, attribute.value
    if name in _TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT and value in dtypes:
        node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
    elif attribute.type == ir.AttributeType.TENSOR and value.dtype in dtypes:
        node.attributes[name] = ir.AttrTensor(name, _converted(value))
    elif attribute.type == ir.AttributeType.TENSORS:
        tensors = [_converted(tensor) if tensor.dtype in dtypes else tensor for tensor in value]
        node.attributes[name] = ir.AttrTensors(name, tensors)
    elif attribute.type == ir.AttributeType.TYPE_PROTO:
        converted = ir.TypeAndShape(_converted_type(value.type, dtypes), value.shape)
        node.attributes[name] = ir.AttrTypeProto(name, converted)


def _converted(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    convert = _rounded if tensor.dtype == ir.DataType.DOUBLE else _same
    lazy = lazily(convert, tensor, dtype=ir.DataType.FLOAT)
    return ir.Tensor(lazy.numpy(), name=tensor.name) if tensor.size <= _SMALL else lazy


def _same(data: NDArray[np.generic]) -> NDArray[np.generic]:
    return data


def _rounded(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Round to float32, but neither to infinity nor to 0."""
    limits, numbers = np.finfo(np.float32), data.astype(np.float64)
    size = np.clip(np.abs(numbers), limits.tiny, limits.max)
    return np.where(np.isfinite(numbers) & (numbers != 0), np.copysign(size, numbers), numbers)
