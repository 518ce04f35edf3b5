"""Convert nodes of a float32 graph to half precision, with a Cast wherever a value changes type.

a (float32) → b (half)    becomes    a → Cast → b
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from ...ir.constants import constant, is_constant, lazily
from ...ir.names import forget_names, fresh_name
from .ranges import headroom, masks, narrowed
from .signatures import Signature, is_float

Read = tuple[ir.Value, ir.Node, int, ir.DataType]
"""A float32 value, the node that reads it, the position of the input, and the type that the node needs."""

_NAMES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


def retype(
    graph: ir.Graph, half: Mapping[ir.Node, Signature], dtype: ir.DataType, interface: Mapping[str, ir.DataType]
) -> bool:
    """Convert the nodes in ``half`` to ``dtype``; all other nodes stay in float32.

    Args:
        graph: changed in place; every value has its type.
        half: nodes of ``graph``, those in bodies excluded, with their types in ``dtype``.
        dtype: FLOAT16 or BFLOAT16.
        interface: the types of float inputs and outputs of the graph by name; float32 where there is none.

    Returns:
        True if anything changed.
    """
    forget_names(graph)
    conversion = _Conversion(graph, dtype)
    reads = list(_reads(graph, half))
    for node, types in half.items():
        conversion.narrow_outputs(node, types)
    conversion.narrow_constants(reads)
    conversion.retype_inputs(interface)
    for value, node, position, input_type in reads:
        if value.dtype != input_type:
            node.replace_input_with(position, conversion.cast(value, input_type))
    conversion.cast_outputs(interface)
    return bool(conversion.narrowed or conversion.copies)


def _reads(graph: ir.Graph, half: Mapping[ir.Node, Signature]) -> Iterator[Read]:
    for node in graph.all_nodes():
        float_types = (None if node.op_type == "Cast" else ir.DataType.FLOAT,) * len(node.inputs)
        types = half[node].inputs if node in half else float_types
        for position, (value, input_type) in enumerate(zip(node.inputs, types, strict=True)):
            if value is not None and is_float(value) and input_type is not None:
                yield value, node, position, input_type


class _Conversion:
    """A graph on its way to ``dtype``: the values that have it by now, and the copies in the other type."""

    def __init__(self, graph: ir.Graph, dtype: ir.DataType) -> None:
        self._graph, self._dtype, self._masks = graph, dtype, masks(graph)
        self.narrowed: set[ir.Value] = set()
        self.copies: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def narrow_values(self, values: Iterable[ir.Value]) -> None:
        """Give ``dtype`` to those of ``values`` that are float32."""
        for value in filter(is_float, values):
            value.type = ir.TensorType(self._dtype)  # not in place: a copy of the model shares the old type
            self.narrowed.add(value)

    def retype_inputs(self, interface: Mapping[str, ir.DataType]) -> None:
        """Give the graph's float inputs the types of the ``interface``."""
        for value in filter(is_float, self._graph.inputs):
            if (dtype := interface.get(value.name or "", ir.DataType.FLOAT)) != ir.DataType.FLOAT:
                value.type = ir.TensorType(dtype)
                self.narrowed.add(value)

    def narrow_outputs(self, node: ir.Node, types: Signature) -> None:
        """Give the outputs of ``node`` the ``types``."""
        self.narrow_values(
            value for value, dtype in zip(node.outputs, types.outputs, strict=True) if dtype == self._dtype
        )
        if self._dtype not in types.outputs:
            return
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", self._dtype)
        if node.op_type == "DequantizeLinear" and (
            ir.DataType.FLOAT in types.inputs or "output_dtype" in node.attributes
        ):
            node.attributes["output_dtype"] = ir.AttrInt64("output_dtype", self._dtype)
        if node.op_type == "ConstantOfShape":
            filling = node.attributes.get("value")
            tensor = ir.tensor(np.zeros(1, np.float32)) if filling is None else filling.as_tensor()
            node.attributes["value"] = ir.AttrTensor("value", self._in_half(tensor, node.outputs[0]))

    def narrow_constants(self, reads: list[Read]) -> None:
        """Convert constants that half precision nodes read; float32 nodes that read them too get a copy."""
        uses = {(value, dtype) for value, _, _, dtype in reads if is_constant(value) and not value.is_graph_output()}
        for value in tuple(self._graph.initializers.values()):
            tensor = value.const_value
            if (value, self._dtype) not in uses or tensor is None:
                continue
            value.const_value = self._in_half(tensor, value)
            self.narrow_values([value])
            if (value, ir.DataType.FLOAT) in uses:
                copy = constant(self._graph, lazily(lambda data: data, tensor), f"{value.name}.float32")
                self.copies[value, ir.DataType.FLOAT] = copy

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Return ``value`` in ``dtype``, by one Cast for all consumers that need it."""
        if (value, dtype) not in self.copies:
            is_mask = dtype == self._dtype and is_float(value) and value.is_graph_input() and value in self._masks
            nodes = [self._limit(value)] if is_mask else []
            source = nodes[0].outputs[0] if nodes else value
            name = fresh_name(self._graph, f"{value.name}.{_NAMES[dtype]}")
            cast = ir.node("Cast", [source], {"to": dtype}, name=f"{name}.cast")
            self.copies[value, dtype] = _like(cast, value, dtype, name)
            producer = value.producer()
            if producer is not None:
                self._graph.insert_after(producer, [*nodes, cast])
            else:
                self._graph.insert_before(self._graph[0], [*nodes, cast])
        return self.copies[value, dtype]

    def cast_outputs(self, interface: Mapping[str, ir.DataType]) -> None:
        """Give the graph's float outputs the types of the ``interface``, under their names."""
        for position, value in enumerate(self._graph.outputs):
            dtype = interface.get(value.name or "", ir.DataType.FLOAT)
            if (is_float(value) or value in self.narrowed) and value.dtype is not None and value.dtype != dtype:
                result = self.cast(value, dtype)
                name = fresh_name(self._graph, f"{value.name}.{_NAMES[value.dtype]}")
                value.name, result.name = name, value.name
                self._graph.outputs[position] = result

    def _limit(self, value: ir.Value) -> ir.Node:
        """Clip a mask from outside, whose large numbers would become infinity."""
        name, most = f"{value.name}.limited", headroom(self._dtype)
        bounds = [constant(self._graph, np.array(bound, np.float32), f"{name}.bound") for bound in (-most, most)]
        node = ir.node("Clip", [value, *bounds], name=name)
        _like(node, value, ir.DataType.FLOAT, fresh_name(self._graph, f"{name}.out"))
        return node

    def _in_half(self, tensor: ir.TensorProtocol, value: ir.Value) -> ir.LazyTensor:
        limit = headroom(self._dtype) if value in self._masks else float(self._dtype.max)
        return narrowed(tensor, self._dtype, limit)


def _like(node: ir.Node, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
    """Describe the output of ``node``: ``value`` in ``dtype``."""
    output = node.outputs[0]
    output.name, output.shape, output.type = name, value.shape, ir.TensorType(dtype)
    return output
