"""Shapes of all values, in which a dynamic dimension has one name throughout.

    Reshape([batch, seq, 768], [batch, seq, 12, -1]) = [batch, seq, 12, 64]

ONNX's own inference names anew what it cannot tell ("unk__3"). One sweep in graph order finds out what such a
name stands for, and puts that in its place everywhere. Sizes that turn out static become constants.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from ..constants import constant
from ..silence import quiet
from .containers import infer_containers
from .contrib import foreign_functions
from .rules import claims
from .shape_values import Elements, elements
from .symbolic_dims import Dim, dimensions, factors, product

_INVENTED = "unk__"
"""How ONNX's inference begins the names that it makes up."""


class InferShapes(ir.passes.InPlacePass):
    """Give every value of the model its shape; it counts as a modification that a size became a constant."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for value in model.graph.inputs:
            _name(value)
        for node in model.graph.all_nodes():
            for value in node.outputs:
                _forget(value)
        with foreign_functions(model), quiet("onnx_ir.passes.common.shape_inference"):
            infer_containers(model)
            common.ShapeInferencePass(strict_mode=False)(model)
        return ir.passes.PassResult(model, _sweep(model.graph))


def _name(value: ir.Value) -> None:
    """A dimension without a name would have a new one behind every node."""
    dims = [] if value.shape is None else dimensions(value.shape)
    if None in dims:
        value.shape = ir.Shape(f"{value.name}.{axis}" if dim is None else dim for axis, dim in enumerate(dims))


def _forget(value: ir.Value) -> None:
    """Inference would keep a name that it made up when less was known."""
    dims = [] if value.shape is None else dimensions(value.shape)
    if any(_is_invented(dim) for dim in dims):
        value.shape = ir.Shape(None if _is_invented(dim) else dim for dim in dims)


def _is_invented(dim: Dim) -> bool:
    return isinstance(dim, str) and dim.startswith(_INVENTED)


def _sweep(graph: ir.Graph) -> bool:
    names, known, modified = _Names(graph), dict[ir.Value, Elements](), False
    for node in graph:
        for value in node.inputs:
            if value is not None:
                names.rewrite(value)
            if value in known:
                known[value] = names.resolve(known[value])
        for value, dims in claims(node, known):
            names.agree(value, dims)
        modified |= _hold(graph, node, known)
    for node in graph:
        for value in node.outputs:
            names.rewrite(value)
    return modified


def _hold(graph: ir.Graph, node: ir.Node, known: dict[ir.Value, Elements]) -> bool:
    """Note what ``node`` computes if that is a few sizes, and make a constant of them if all are numbers."""
    found = elements(node, known)
    if found is None or not _fits(node.outputs[0].shape, found):
        return False
    known[node.outputs[0]] = found
    return _fold(graph, node.outputs[0], found)


def _fits(shape: ir.Shape | None, found: Elements) -> bool:
    if shape is None or len(shape) > 1:
        return False
    return all(dim == len(found) or not isinstance(dim, int) for dim in shape or [1])


def _fold(graph: ir.Graph, value: ir.Value, found: Elements) -> bool:
    """Put a constant in place of ``value`` if all its elements are numbers."""
    numbers = [element for element in found if isinstance(element, int)]
    if len(numbers) < len(found) or value.is_graph_output() or not value.uses() or value.shape is None:
        return False
    if value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return False
    data = np.array(numbers, value.dtype.numpy()).reshape((-1,) if len(value.shape) else ())
    ir.convenience.replace_all_uses_with(value, constant(graph, data, f"{value.name}.static"))
    return True


class _Names:
    """What the names of dimensions stand for; those of the graph's inputs stand for themselves."""

    def __init__(self, graph: ir.Graph) -> None:
        self._given = {dim for value in graph.inputs if value.shape is not None for dim in dimensions(value.shape)}
        self._meanings: dict[str, int | str] = {}

    def agree(self, value: ir.Value, dims: list[Dim]) -> None:
        """Take it as true that ``value`` has the shape ``dims``, in which None says nothing."""
        if value.dtype is None:
            return  # a shape without a type cannot be saved
        have = [None] * len(dims) if value.shape is None else dimensions(value.shape)
        if len(have) == len(dims):
            merged = [self._equal(one, other) for one, other in zip(have, dims, strict=True)]
            if (merged != have or value.shape is None) and not value.is_graph_input():
                value.shape = ir.Shape(merged)

    def rewrite(self, value: ir.Value) -> None:
        """Say the shape of ``value`` in the names that stand for themselves."""
        dims = [] if value.shape is None else dimensions(value.shape)
        resolved = self.resolve(dims)
        if resolved != dims and not value.is_graph_input():
            value.shape = ir.Shape(resolved)

    def resolve(self, dims: list[Dim]) -> list[Dim]:
        """``dims`` in the names that stand for themselves."""
        return [self._resolve(dim) for dim in dims]

    def _equal(self, one: Dim, other: Dim) -> Dim:
        one, other = self._resolve(one), self._resolve(other)
        if one is None or other is None or one == other:
            return other if one is None else one
        for name, meaning in ((one, other), (other, one)):
            if self._is_free(name) and str(name) not in factors(meaning)[1]:
                self._meanings[str(name)] = meaning
                return meaning
        return other if isinstance(other, int) and not isinstance(one, int) else one

    def _is_free(self, dim: int | str) -> bool:
        return isinstance(dim, str) and dim not in self._given and factors(dim) == (1, {dim: 1})

    def _resolve(self, dim: Dim) -> Dim:
        while isinstance(dim, str) and (dim in self._meanings or "*" in dim):
            number, names = factors(dim)
            meant = product([number, *(self._meanings.get(name, name) for name in names.elements())])
            if meant is None or meant == dim:
                break
            dim = meant
        return dim
