"""Shapes of all values, in which a dynamic dimension has one name throughout.

    Reshape([batch, seq, 768], [batch, seq, 12, -1]) = [batch, seq, 12, 64]

ONNX's own inference invents names for unknown dimensions ("unk__3"). One sweep in graph order resolves these names and
replaces them everywhere. Sizes that turn out static become constants.
"""

import numpy as np
import onnx_ir as ir

from ..constants import constant
from .contrib import contrib_functions
from .onnx_inference import infer_by_onnx
from .rules import implied_shapes
from .shape_values import Elements, elements
from .symbolic_dims import Dim, dimensions, factors, product

_INVENTED = "unk__"
"""The prefix of names that ONNX's inference invents."""


class InferShapes(ir.passes.InPlacePass):
    """Infer the shape of every value of the model; a size that becomes a constant counts as a modification."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for value in model.graph.inputs:
            _name(value)
        for node in model.graph.all_nodes():
            for value in node.outputs:
                _forget(value)
        with contrib_functions(model):
            infer_by_onnx(model)
        return ir.passes.PassResult(model, _sweep(model.graph))


def _name(value: ir.Value) -> None:
    """Name dimensions without a name, which would have a new one behind every node."""
    dims = [] if value.shape is None else dimensions(value.shape)
    if None in dims:
        value.shape = ir.Shape(f"{value.name}.{axis}" if dim is None else dim for axis, dim in enumerate(dims))


def _forget(value: ir.Value) -> None:
    """Drop names that an earlier inference invented, which the next one would keep."""
    dims = [] if value.shape is None else dimensions(value.shape)
    if any(_is_invented(dim) for dim in dims):
        value.shape = ir.Shape(None if _is_invented(dim) else dim for dim in dims)


def _is_invented(dim: Dim) -> bool:
    return isinstance(dim, str) and dim.startswith(_INVENTED)


def _sweep(graph: ir.Graph) -> bool:
    names, contents, modified = _Names(graph), dict[ir.Value, Elements](), False
    for node in graph:
        for value in node.inputs:
            if value is not None:
                names.rewrite(value)
            if value in contents:
                contents[value] = names.resolve(contents[value])
        for value, dims in implied_shapes(node, contents):
            names.unify(value, dims)
        modified |= _evaluate(graph, node, contents)
    for node in graph:
        for value in node.outputs:
            names.rewrite(value)
    return modified


def _evaluate(graph: ir.Graph, node: ir.Node, contents: dict[ir.Value, Elements]) -> bool:
    """Record the sizes that ``node`` computes, and fold them to a constant if all are numbers."""
    sizes = elements(node, contents)
    if sizes is None or not _fits(node.outputs[0].shape, sizes):
        return False
    contents[node.outputs[0]] = sizes
    return _fold(graph, node.outputs[0], sizes)


def _fits(shape: ir.Shape | None, sizes: Elements) -> bool:
    if shape is None or len(shape) > 1:
        return False
    return all(dim == len(sizes) or not isinstance(dim, int) for dim in shape or [1])


def _fold(graph: ir.Graph, value: ir.Value, sizes: Elements) -> bool:
    """Replace ``value`` by a constant if all its elements are numbers."""
    numbers = [element for element in sizes if isinstance(element, int)]
    if len(numbers) < len(sizes) or value.is_graph_output() or not value.uses() or value.shape is None:
        return False
    if value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return False
    data = np.array(numbers, value.dtype.numpy()).reshape((-1,) if len(value.shape) else ())
    ir.convenience.replace_all_uses_with(value, constant(graph, data, f"{value.name}.static"))
    return True


class _Names:
    """The meanings of names of dimensions; those of the graph's inputs stand for themselves."""

    def __init__(self, graph: ir.Graph) -> None:
        self._input_names = {
            dim for value in graph.inputs if value.shape is not None for dim in dimensions(value.shape)
        }
        self._meanings: dict[str, int | str] = {}

    def unify(self, value: ir.Value, dims: list[Dim]) -> None:
        """Unify the shape of ``value`` with ``dims``, in which None is unknown."""
        if value.dtype is None:
            return  # a shape without a type cannot be saved
        current = [None] * len(dims) if value.shape is None else dimensions(value.shape)
        if len(current) == len(dims):
            result = [self._unify(*pair) for pair in zip(current, dims, strict=True)]
            if (result != current or value.shape is None) and not value.is_graph_input():
                value.shape = ir.Shape(result)

    def rewrite(self, value: ir.Value) -> None:
        """Rewrite the shape of ``value`` in the names that stand for themselves."""
        dims = [] if value.shape is None else dimensions(value.shape)
        resolved = self.resolve(dims)
        if resolved != dims and not value.is_graph_input():
            value.shape = ir.Shape(resolved)

    def resolve(self, dims: list[Dim]) -> list[Dim]:
        """Rewrite ``dims`` in the names that stand for themselves."""
        return [self._resolve(dim) for dim in dims]

    def _unify(self, one: Dim, other: Dim) -> Dim:
        one, other = self._resolve(one), self._resolve(other)
        if one is None or other is None or one == other:
            return other if one is None else one
        for name, meaning in ((one, other), (other, one)):
            if self._is_free(name) and str(name) not in factors(meaning)[1]:
                self._meanings[str(name)] = meaning
                return meaning
        return other if isinstance(other, int) and not isinstance(one, int) else one

    def _is_free(self, dim: int | str) -> bool:
        return isinstance(dim, str) and dim not in self._input_names and factors(dim) == (1, {dim: 1})

    def _resolve(self, dim: Dim) -> Dim:
        while isinstance(dim, str) and (dim in self._meanings or "*" in dim):
            number, names = factors(dim)
            meaning = product([number, *(self._meanings.get(name, name) for name in names.elements())])
            if meaning is None or meaning == dim:
                break
            dim = meaning
        return dim
