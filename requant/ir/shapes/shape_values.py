"""What small integer tensors hold, where exporters compute sizes from shapes at run time.

    s = Shape(x) = [batch, seq, 768]   ⇒   Concat(Gather(s, 0), Gather(s, 1), [12], [64]) = [batch, seq, 12, 64]

An element is a number, a name, a product of both, or None where nothing is known of it.
"""

import operator
from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

from ..constants import array, is_constant
from .symbolic_dims import Dim, dimensions, product, quotient

Elements: TypeAlias = list[Dim]
"""What a tensor of at most one axis holds; truths are 1 and 0."""

Known: TypeAlias = Mapping[ir.Value, Elements]
"""What tensors hold that are computed at run time."""

LARGEST = 64
"""Elements of a constant above which it is no shape."""


def elements(node: ir.Node, known: Known) -> Elements | None:
    """What the first output of ``node`` holds, given what is known of its inputs; None for nothing."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None:
        return None
    try:
        return rule(node, known)
    except (IndexError, ValueError):
        return None


def held(value: ir.Value | None, known: Known) -> Elements | None:
    """What ``value`` holds if it is a small integer constant or ``known``."""
    if value is None:
        return None
    if not is_constant(value):
        return known.get(value)
    tensor = value.const_value
    if tensor is None or tensor.size > LARGEST or len(tensor.shape) > 1 or tensor.dtype not in _INTEGERS:
        return None
    data = array(value)
    return None if data is None else [int(element) for element in data.ravel()]


_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


def _held(node: ir.Node, position: int, known: Known) -> Elements:
    """What an input holds.

    Raises:
        ValueError: nobody knows.
    """
    found = held(node.inputs[position], known)
    if found is None:
        raise ValueError
    return found


def _constant(node: ir.Node, position: int, default: int | None = None) -> list[int]:
    """The numbers that an input holds, or ``default`` when nothing is plugged in.

    Raises:
        ValueError: they are computed at run time.
    """
    if default is not None and (len(node.inputs) <= position or node.inputs[position] is None):
        return [default]
    return [element for element in _held(node, position, {}) if isinstance(element, int)]


def _shape(node: ir.Node, known: Known) -> Elements | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    dims = dimensions(value.shape)
    return dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))]


def _same(node: ir.Node, known: Known) -> Elements | None:
    """Ops that change the shape of their input only, which has as many elements before and after."""
    return held(node.inputs[0], known)


def _absolute(node: ir.Node, known: Known) -> Elements:
    """PyTorch's way of telling an Expand that no size is -1."""
    return [abs(element) if isinstance(element, int) else element for element in _held(node, 0, known)]


def _cast(node: ir.Node, known: Known) -> Elements | None:
    return _same(node, known) if ir.DataType(node.attributes.get_int("to", 0)) in _INTEGERS[:2] else None


def _gather(node: ir.Node, known: Known) -> Elements:
    data = _held(node, 0, known)
    indices = _constant(node, 1)
    if any(not -len(data) <= index < len(data) for index in indices):
        raise IndexError
    return [data[index] for index in indices]


def _slice(node: ir.Node, known: Known) -> Elements:
    data = _held(node, 0, known)
    (start,), (end,), (step,) = _constant(node, 1), _constant(node, 2), _constant(node, 4, 1)
    if step < 1:
        raise ValueError
    return data[start:end:step]


def _concat(node: ir.Node, known: Known) -> Elements:
    return [element for position in range(len(node.inputs)) for element in _held(node, position, known)]


def _filled(node: ir.Node, known: Known) -> Elements:
    (size,) = _held(node, 0, known)
    if not isinstance(size, int) or size > LARGEST:
        raise ValueError
    value = node.attributes.get_tensor("value", None)
    if value is not None and value.dtype not in _INTEGERS:
        raise ValueError
    return [0 if value is None else int(value.numpy().ravel()[0])] * size


def _where(node: ir.Node, known: Known) -> Elements:
    columns = _aligned(*(_held(node, position, known) for position in range(3)))
    return [_chosen(condition, chosen, other) for condition, chosen, other in columns]


def _chosen(condition: Dim, chosen: Dim, other: Dim) -> Dim:
    if condition is None:
        return chosen if chosen == other else None
    return chosen if condition else other


def _equal(one: Dim, other: Dim) -> Dim:
    """Names stand for sizes, which are never negative; whether two are equal is not for them to say."""
    if isinstance(one, int) and isinstance(other, int):
        return int(one == other)
    return 0 if any(isinstance(dim, int) and dim < 0 for dim in (one, other)) else None


def _times(one: Dim, other: Dim) -> Dim:
    return one * other if isinstance(one, int) and isinstance(other, int) else product((one, other))


def _over(one: Dim, other: Dim) -> Dim:
    """Division of integers, which rounds towards zero."""
    if isinstance(one, int) and isinstance(other, int):
        return int(one / other) if other else None
    return quotient((one,), (other,))


def _numbers(function: Callable[[int, int], int]) -> Callable[[Dim, Dim], Dim]:
    return lambda one, other: function(one, other) if isinstance(one, int) and isinstance(other, int) else None


def _pairwise(function: Callable[[Dim, Dim], Dim]) -> Callable[[ir.Node, Known], Elements]:
    def rule(node: ir.Node, known: Known) -> Elements:
        return [function(one, other) for one, other in _aligned(_held(node, 0, known), _held(node, 1, known))]

    return rule


def _aligned(*columns: Elements) -> list[tuple[Dim, ...]]:
    length = max(map(len, columns))
    return list(zip(*(column * length if len(column) == 1 else column for column in columns), strict=True))


_RULES: dict[str, Callable[[ir.Node, Known], Elements | None]] = {
    "Shape": _shape,
    "Identity": _same,
    "Unsqueeze": _same,
    "Squeeze": _same,
    "Reshape": _same,
    "Abs": _absolute,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Where": _where,
    "Equal": _pairwise(_equal),
    "Mul": _pairwise(_times),
    "Div": _pairwise(_over),
    "Add": _pairwise(_numbers(operator.add)),
    "Sub": _pairwise(_numbers(operator.sub)),
}
