"""What nodes say of shapes that ONNX's own inference leaves open when dimensions are dynamic."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import onnx_ir as ir

from ..constants import array
from .shape_values import Known, held
from .symbolic_dims import Dim, broadcast, dimensions, product, quotient

Claim: TypeAlias = tuple[ir.Value, list[Dim]]
"""A value and the shape that it must have, in which None says nothing."""


def claims(node: ir.Node, known: Known) -> Iterator[Claim]:
    """All that ``node`` says of the shapes of its inputs and of its first output."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None or any(value is not None and value.shape is None for value in node.inputs):
        return
    shapes = [[] if value is None or value.shape is None else dimensions(value.shape) for value in node.inputs]
    if node.op_type == "MatMul" and node.inputs[0] is not None and shapes[1]:
        yield node.inputs[0], [*(None for _ in shapes[0][1:]), shapes[1][-2:][0]]
    try:
        output = rule(node, shapes, known)
    except (IndexError, ValueError):
        return  # a node that does not fit its inputs is the engine's to refuse
    if output is not None:
        yield node.outputs[0], [None if isinstance(dim, int) and dim < 0 else dim for dim in output]


def _reshape(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    """0 copies the dimension, -1 is what is left over."""
    source, target = shapes[0], held(node.inputs[1], known)
    if target is None:
        return None
    if not node.attributes.get_int("allowzero", 0):
        target = [source[axis] if dim == 0 else dim for axis, dim in enumerate(target)]
    if -1 not in target:
        return target
    rest = quotient(source, [dim for dim in target if dim != -1])
    return [rest if dim == -1 else dim for dim in target]


def _expand(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    target = held(node.inputs[1], known)
    return None if target is None else broadcast(shapes[0], target)


def _tile(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    repeats = held(node.inputs[1], known)
    return None if repeats is None else [product(pair) for pair in zip(shapes[0], repeats, strict=True)]


def _filled(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    return held(node.inputs[0], known)


def _range(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    start, limit, step = (held(value, known) for value in node.inputs)
    return limit if (start, step) == ([0], [1]) else None


def _slice(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    """What begins at 0 and ends at a named size is that long: position embeddings are cut so."""
    starts, ends, axes, steps = (held(value, known) for value in (*node.inputs[1:], *[None] * (5 - len(node.inputs))))
    if starts is None or ends is None or axes is None:
        return None
    dims: dict[int, Dim] = dict(enumerate(shapes[0]))
    for axis, start, end in zip(axes, starts, ends, strict=True):
        if isinstance(axis, int):
            dims[axis % len(dims)] = end if start == 0 and isinstance(end, str) and steps in (None, [1]) else None
    return list(dims.values())


def _nonzero(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    """The positions in a tensor of ones, which is how PyTorch spelled Range before opset 11."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if source is None or source.op_type != "ConstantOfShape":
        return None
    value = source.attributes.get_tensor("value", None)
    return [len(shapes[0]), product(shapes[0])] if value is not None and value.numpy().all() else None


def _resize(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    """What is scaled by 1 keeps its name."""
    scales = array(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or len(scales) != len(shapes[0]):
        return None
    return [dim if scale == 1 else None for dim, scale in zip(shapes[0], scales, strict=True)]


def _flatten(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim]:
    axis = node.attributes.get_int("axis", 1)
    axis = axis if axis >= 0 else axis + len(shapes[0])
    return [product(shapes[0][:axis]), product(shapes[0][axis:])]


def _matmul(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim] | None:
    left, right = shapes
    if len(left) < 2 or len(right) < 2:
        return None
    return [*broadcast(left[:-2], right[:-2]), left[-2], right[-1]]


def _elementwise(node: ir.Node, shapes: list[list[Dim]], known: Known) -> list[Dim]:
    return broadcast(*shapes)


_Rule: TypeAlias = Callable[[ir.Node, list[list[Dim]], Known], list[Dim] | None]

_ELEMENTWISE = """
    Add And Cast Div Equal Erf Greater GreaterOrEqual LayerNormalization Less LessOrEqual Max Min Mod Mul Neg Not Or
    Pow PRelu Reciprocal Relu RMSNormalization Sigmoid Softmax Sqrt Sub Tanh Where Xor
"""
"""Ops whose output has the shape that their inputs have when they are broadcast together."""

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
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
}
