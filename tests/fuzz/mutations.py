"""Ways to damage a model: its bytes, its wiring, its attributes, its sizes, its weights, its names."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx

Rng = np.random.Generator
Mutation = Callable[[onnx.ModelProto, Rng], None]

_SIZES = (0, 1, -1, 2, 7, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 62))
_VALUES = (np.nan, np.inf, -np.inf, 1e35, -1e35, 1e-42, 0.0)
_NAMES = ("", "x", "\x1b[31mred", "a\u202eb", "\x9b2J", "n" * 5000, "a\0b", "/", "ü")
_OPS = (
    *("MatMul", "Conv", "Gemm", "Relu", "Reshape", "Transpose", "Concat", "Split", "LayerNormalization", "Loop"),
    *("Softmax", "Gather", "Slice", "Identity", "QuantizeLinear", "DequantizeLinear", "ConstantOfShape", "Expand"),
    *("Tile", "Range", "Pad", "Resize", "Constant", "If", "Scan", "SequenceEmpty", "Attention", "Nonsense"),
)


def mutated(model: bytes, rng: Rng) -> tuple[bytes, str]:
    """A damaged copy of ``model``, and the names of what was done to it."""
    count = 1 + int(rng.geometric(0.6)) // 2
    chosen = [_ALL[rng.integers(len(_ALL))] for _ in range(count)]
    proto = onnx.ModelProto.FromString(model)
    for mutation in chosen:
        mutation(proto, rng)
    names = [mutation.__name__.strip("_") for mutation in chosen]
    data = bytearray(proto.SerializeToString())
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] = rng.integers(256)
        names.append("bytes")
    return bytes(data), ", ".join(names)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _node(proto: onnx.ModelProto, rng: Rng) -> onnx.NodeProto:
    nodes = [node for graph in _graphs(proto.graph) for node in graph.node]
    nodes += [node for function in proto.functions for node in function.node]
    return nodes[rng.integers(len(nodes))] if nodes else onnx.NodeProto()


def _value(proto: onnx.ModelProto, rng: Rng) -> str:
    names = [name for node in proto.graph.node for name in (*node.input, *node.output)]
    return names[rng.integers(len(names))] if names else ""


def _tensor(proto: onnx.ModelProto, rng: Rng) -> onnx.TensorProto:
    tensors = [tensor for graph in _graphs(proto.graph) for tensor in graph.initializer]
    tensors += [a.t for n in proto.graph.node for a in n.attribute if a.type == onnx.AttributeProto.TENSOR]
    return tensors[rng.integers(len(tensors))] if tensors else onnx.TensorProto()


def _whole(tensor: onnx.TensorProto, itemsize: int) -> bool:
    """Whether the model itself still holds as many values as it declares, so that they can be read."""
    held = len(tensor.raw_data) // itemsize if tensor.HasField("raw_data") else len(tensor.int64_data)
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    return inside and min(tensor.dims, default=0) >= 0 and held == np.prod(tensor.dims, dtype=object)


def _pick(choices: tuple[object, ...], rng: Rng) -> object:
    return choices[rng.integers(len(choices))]


def _rewire(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.input:
        node.input[rng.integers(len(node.input))] = _value(proto, rng)


def _dangle(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.input:
        node.input[rng.integers(len(node.input))] = "nowhere"


def _blank(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.input:
        node.input[rng.integers(len(node.input))] = ""


def _swap(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    inputs = list(node.input)
    rng.shuffle(inputs)
    node.input[:] = inputs


def _drop_input(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.input:
        del node.input[rng.integers(len(node.input))]


def _add_input(proto: onnx.ModelProto, rng: Rng) -> None:
    _node(proto, rng).input.append(_value(proto, rng))


def _rename_output(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.output:
        node.output[0] = _value(proto, rng) if rng.random() < 0.5 else str(_pick(_NAMES, rng))


def _drop_output(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.output:
        del node.output[rng.integers(len(node.output))]


def _shuffle(proto: onnx.ModelProto, rng: Rng) -> None:
    nodes = list(proto.graph.node)
    order = rng.permutation(len(nodes))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[place] for place in order)


def _drop_node(proto: onnx.ModelProto, rng: Rng) -> None:
    if proto.graph.node:
        del proto.graph.node[rng.integers(len(proto.graph.node))]


def _copy_node(proto: onnx.ModelProto, rng: Rng) -> None:
    proto.graph.node.append(_node(proto, rng))


def _op_type(proto: onnx.ModelProto, rng: Rng) -> None:
    _node(proto, rng).op_type = str(_pick(_OPS, rng))


def _domain(proto: onnx.ModelProto, rng: Rng) -> None:
    _node(proto, rng).domain = str(_pick(("", "ai.onnx", "com.microsoft", "ai.onnx.ml", "own", "?"), rng))


def _attribute(proto: onnx.ModelProto, rng: Rng) -> None:
    """Another value, or another type, or a name that the operator may know."""
    node = _node(proto, rng)
    if node.attribute and rng.random() < 0.8:
        old = node.attribute[rng.integers(len(node.attribute))]
        name = old.name
        node.attribute.remove(old)
    else:
        name = str(_pick(("axis", "perm", "group", "to", "value", "axes", "pads", "epsilon", "transB", "q"), rng))
    size = _pick(_SIZES, rng)
    value = _pick((size, [size, size], 1.5, [1.5], "text", ["text"], [size]), rng)
    node.attribute.append(onnx.helper.make_attribute(name, value))


def _attribute_type(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.attribute:
        node.attribute[rng.integers(len(node.attribute))].type = int(rng.integers(0, 15))


def _drop_attribute(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    if node.attribute:
        del node.attribute[rng.integers(len(node.attribute))]


def _declared(proto: onnx.ModelProto, rng: Rng) -> None:
    """Another size of an input, an output or a value in between."""
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    dims = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    if dims:
        dims[rng.integers(len(dims))].dim_value = int(str(_pick(_SIZES, rng)))


def _declared_type(proto: onnx.ModelProto, rng: Rng) -> None:
    values = [*proto.graph.input, *proto.graph.output]
    if values:
        values[rng.integers(len(values))].type.tensor_type.elem_type = int(rng.integers(0, 28))


def _no_shape(proto: onnx.ModelProto, rng: Rng) -> None:
    values = [*proto.graph.input, *proto.graph.output]
    if values:
        values[rng.integers(len(values))].ClearField("type")


def _drop_value(proto: onnx.ModelProto, rng: Rng) -> None:
    values = proto.graph.input if rng.random() < 0.5 else proto.graph.output
    if values:
        del values[rng.integers(len(values))]


def _weight_dims(proto: onnx.ModelProto, rng: Rng) -> None:
    tensor = _tensor(proto, rng)
    if tensor.dims:
        tensor.dims[rng.integers(len(tensor.dims))] = int(str(_pick(_SIZES, rng)))


def _weight_shape(proto: onnx.ModelProto, rng: Rng) -> None:
    """The same number of elements in another shape."""
    tensor = _tensor(proto, rng)
    count = int(np.prod(tensor.dims))
    del tensor.dims[:]
    tensor.dims.extend([[count], [1, count], [count, 1], [1, 1, count]][rng.integers(4)])


def _weight_type(proto: onnx.ModelProto, rng: Rng) -> None:
    _tensor(proto, rng).data_type = int(rng.integers(0, 28))


def _weight_values(proto: onnx.ModelProto, rng: Rng) -> None:
    tensor = _tensor(proto, rng)
    if tensor.data_type == onnx.TensorProto.FLOAT and _whole(tensor, 4):
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.flat[: rng.integers(1, values.size + 1)] = float(str(_pick(_VALUES, rng)))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _sizes(proto: onnx.ModelProto, rng: Rng) -> None:
    """Another number in a constant that holds a shape, axes or indices."""
    nodes = [*proto.graph.node]
    tensors = [a.t for n in nodes for a in n.attribute if a.type == onnx.AttributeProto.TENSOR]
    numbers = [t for t in [*tensors, *proto.graph.initializer] if t.data_type == onnx.TensorProto.INT64]
    tensors = [tensor for tensor in numbers if _whole(tensor, 8)]
    if tensors:
        tensor = tensors[rng.integers(len(tensors))]
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.size:
            values.flat[rng.integers(values.size)] = int(str(_pick(_SIZES, rng)))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _external(proto: onnx.ModelProto, rng: Rng) -> None:
    tensor = _tensor(proto, rng)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    location = str(_pick(("w.bin", "../w.bin", "/dev/zero", "n" * 5000, "a\0b", "", "."), rng))
    for key, value in (("location", location), ("offset", str(_pick(_SIZES, rng))), ("length", "64")):
        tensor.external_data.add(key=key, value=value)


def _opset(proto: onnx.ModelProto, rng: Rng) -> None:
    if proto.opset_import:
        proto.opset_import[0].version = int(str(_pick((0, 1, 6, 9, 11, 13, 20, 23, 26, 99, -1, 1 << 40), rng)))


def _no_opset(proto: onnx.ModelProto, rng: Rng) -> None:
    del proto.opset_import[:]


def _name(proto: onnx.ModelProto, rng: Rng) -> None:
    node = _node(proto, rng)
    old, new = (node.output[0] if node.output else ""), str(_pick(_NAMES, rng))
    for graph in _graphs(proto.graph):
        for other in graph.node:
            other.input[:] = [new if name == old else name for name in other.input]
            other.output[:] = [new if name == old else name for name in other.output]
    node.name = new


def _recursion(proto: onnx.ModelProto, rng: Rng) -> None:
    for function in proto.functions:
        function.node.add(op_type=function.name, domain=function.domain, input=function.input, output=["again"])


_ALL: tuple[Mutation, ...] = (
    _rewire, _rewire, _dangle, _blank, _swap, _drop_input, _add_input, _rename_output, _drop_output, _shuffle,
    _drop_node, _copy_node, _op_type, _domain, _attribute, _attribute, _attribute_type, _drop_attribute, _declared,
    _declared, _declared_type, _no_shape, _drop_value, _weight_dims, _weight_shape, _weight_type, _weight_values,
    _weight_values, _sizes, _sizes, _external, _opset, _no_opset, _name, _recursion,
)  # fmt: skip
