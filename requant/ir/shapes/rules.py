"""Shape rules of nodes for which ONNX's own inference leaves dynamic dimensions unknown."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import onnx_ir as ir

from ..constants import array
from ..ops import (
    ARITHMETIC,
    COMPARISONS,
    CONVERSIONS,
    EXTREMA,
    LAYER_NORMS,
    LOGICAL,
    MASKING,
    POWERS,
    RECTIFIERS,
    S_CURVES,
    SIGN_CHANGES,
    SOFTMAXES,
)
from .shape_values import Contents, read_elements
from .symbolic_dims import Dim, broadcast, dimensions, product, quotient

ImpliedShape: TypeAlias = tuple[ir.Value, list[Dim]]
"""A value and the shape that it must have, in which None is unknown."""


def implied_shapes(node: ir.Node, contents: Contents) -> Iterator[ImpliedShape]:
    """Yield the shapes of inputs and of the first output that ``node`` implies."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None or any(value is not None and value.shape is None for value in node.inputs):
        return
    shapes = [[] if value is None or value.shape is None else dimensions(value.shape) for value in node.inputs]
    if node.op_type == "MatMul" and node.inputs[0] is not None and shapes[1]:
        yield node.inputs[0], [*(None for _ in shapes[0][1:]), shapes[1][-2:][0]]
    try:
        output = rule(node, shapes, contents)
    except (IndexError, ValueError):
        return  # a node that does not fit its inputs, which the engine refuses
    if output is not None:
        yield node.outputs[0], [None if isinstance(dim, int) and dim < 0 else dim for dim in output]


def _reshape(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    """Copy the dimension for 0, and compute the rest for -1."""
    source, target = shapes[0], read_elements(node.inputs[1], contents)
    if target is None:
        return None
    if not node.attributes.get_int("allowzero", 0):
        target = [source[axis] if dim == 0 else dim for axis, dim in enumerate(target)]
    if -1 not in target:
        return target
    remainder = quotient(source, [dim for dim in target if dim != -1])
    return [remainder if dim == -1 else dim for dim in target]


def _expand(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    target = read_elements(node.inputs[1], contents)
    return None if target is None else broadcast(shapes[0], target)


def _tile(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    repeats = read_elements(node.inputs[1], contents)
    return None if repeats is None else [product(pair) for pair in zip(shapes[0], repeats, strict=True)]


def _filled(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    return read_elements(node.inputs[0], contents)


def _range(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    start, limit, step = (read_elements(value, contents) for value in node.inputs)
    return limit if (start, step) == ([0], [1]) else None


def _slice(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    """Take the end for the length of a slice that begins at 0, as of position embeddings."""
    starts, ends, axes, steps = (
        read_elements(value, contents) for value in (*node.inputs[1:], *[None] * (5 - len(node.inputs)))
    )
    if starts is None or ends is None or axes is None:
        return None
    dims: dict[int, Dim] = dict(enumerate(shapes[0]))
    for axis, start, end in zip(axes, starts, ends, strict=True):
        if isinstance(axis, int):
            dims[axis % len(dims)] = end if start == 0 and isinstance(end, str) and steps in (None, [1]) else None
    return list(dims.values())


def _nonzero(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    """Size the positions in a tensor of ones, by which PyTorch exported Range before opset 11."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if source is None or source.op_type != "ConstantOfShape":
        return None
    value = source.attributes.get_tensor("value", None)
    return [len(shapes[0]), product(shapes[0])] if value is not None and value.numpy().all() else None


def _resize(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    """Keep the dimensions that are scaled by 1."""
    scales = array(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or len(scales) != len(shapes[0]):
        return None
    return [dim if scale == 1 else None for dim, scale in zip(shapes[0], scales, strict=True)]


def _flatten(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim]:
    axis = node.attributes.get_int("axis", 1)
    axis = axis if axis >= 0 else axis + len(shapes[0])
    return [product(shapes[0][:axis]), product(shapes[0][axis:])]


def _matmul(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim] | None:
    left, right = shapes
    if len(left) < 2 or len(right) < 2:
        return None
    return [*broadcast(left[:-2], right[:-2]), left[-2], right[-1]]


def _elementwise(node: ir.Node, shapes: list[list[Dim]], contents: Contents) -> list[Dim]:
    return broadcast(*shapes)


_Rule: TypeAlias = Callable[[ir.Node, list[list[Dim]], Contents], list[Dim] | None]

_FUNCTIONS = S_CURVES | POWERS | (SIGN_CHANGES - {"Abs"}) | (RECTIFIERS - {"LeakyRelu"}) | (SOFTMAXES - {"LogSoftmax"})

_ELEMENTWISE = (
    ARITHMETIC | COMPARISONS | EXTREMA | LOGICAL | _FUNCTIONS | (LAYER_NORMS - {"SimplifiedLayerNormalization"})
    | (CONVERSIONS - {"Identity"}) | (MASKING - {"Trilu"}) | {"Mod"}
)  # fmt: skip
"""Ops whose output has the shape of their inputs, broadcast together."""

_RULES: dict[str, _Rule] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _filled,
    "Range": _range,
    "Slice": _slice,
    "Resize": _resize,
    "NonZero": _nonzero,
    "Flatten": _flatten,
    "MatMul": _matmul,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
}
