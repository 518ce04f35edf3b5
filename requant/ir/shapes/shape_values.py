"""The contents of small integer tensors, where exporters compute sizes from shapes at run time.

    s = Shape(x) = [batch, seq, 768]   ⇒   Concat(Gather(s, 0), Gather(s, 1), [12], [64]) = [batch, seq, 12, 64]

An element is a number, a name, a product of both, or None where it is unknown.
"""

import operator
from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

from ..constants import array, is_constant
from .symbolic_dims import Dim, dimensions, product, quotient

Elements: TypeAlias = list[Dim]
"""The contents of a tensor of at most one axis; booleans are 1 and 0."""

Contents: TypeAlias = Mapping[ir.Value, Elements]
"""The contents of tensors that are computed at run time."""

LARGEST = 64
"""Elements of a constant above which it is not a shape."""


def elements(node: ir.Node, contents: Contents) -> Elements | None:
    """Compute the contents of the first output of ``node`` from those of its inputs; None where they are unknown."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None:
        return None
    try:
        return rule(node, contents)
    except (IndexError, ValueError):
        return None


def read_elements(value: ir.Value | None, contents: Contents) -> Elements | None:
    """Read ``value`` if it is a small integer constant, or look it up in ``contents``."""
    if value is None:
        return None
    if not is_constant(value):
        return contents.get(value)
    tensor = value.const_value
    if tensor is None or tensor.size > LARGEST or len(tensor.shape) > 1 or tensor.dtype not in _INTEGERS:
        return None
    data = array(value)
    return None if data is None else [int(element) for element in data.ravel()]


_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


def _read(node: ir.Node, position: int, contents: Contents) -> Elements:
    """Read an input.

    Raises:
        ValueError: its contents are unknown.
    """
    sizes = read_elements(node.inputs[position], contents)
    if sizes is None:
        raise ValueError
    return sizes


def _constant(node: ir.Node, position: int, default: int | None = None) -> list[int]:
    """Read the numbers of an input, or return ``default`` for an omitted one.

    Raises:
        ValueError: they are computed at run time.
    """
    if default is not None and (len(node.inputs) <= position or node.inputs[position] is None):
        return [default]
    return [element for element in _read(node, position, {}) if isinstance(element, int)]


def _shape(node: ir.Node, contents: Contents) -> Elements | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    dims = dimensions(value.shape)
    return dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))]


def _same(node: ir.Node, contents: Contents) -> Elements | None:
    """Copy the elements, for ops that change the shape of their input only."""
    return read_elements(node.inputs[0], contents)


def _absolute(node: ir.Node, contents: Contents) -> Elements:
    """Take absolute values, by which PyTorch keeps an Expand from reading -1."""
    return [abs(element) if isinstance(element, int) else element for element in _read(node, 0, contents)]


def _cast(node: ir.Node, contents: Contents) -> Elements | None:
    return _same(node, contents) if ir.DataType(node.attributes.get_int("to", 0)) in _INTEGERS[:2] else None


def _gather(node: ir.Node, contents: Contents) -> Elements:
    data = _read(node, 0, contents)
    indices = _constant(node, 1)
    if any(not -len(data) <= index < len(data) for index in indices):
        raise IndexError
    return [data[index] for index in indices]


def _slice(node: ir.Node, contents: Contents) -> Elements:
    data = _read(node, 0, contents)
    (start,), (end,), (step,) = _constant(node, 1), _constant(node, 2), _constant(node, 4, 1)
    if step < 1:
        raise ValueError
    return data[start:end:step]


def _concat(node: ir.Node, contents: Contents) -> Elements:
    return [element for position in range(len(node.inputs)) for element in _read(node, position, contents)]


def _filled(node: ir.Node, contents: Contents) -> Elements:
    (size,) = _read(node, 0, contents)
    if not isinstance(size, int) or size > LARGEST:
        raise ValueError
    value = node.attributes.get_tensor("value", None)
    if value is not None and value.dtype not in _INTEGERS:
        raise ValueError
    return [0 if value is None else int(value.numpy().ravel()[0])] * size


def _where(node: ir.Node, contents: Contents) -> Elements:
    columns = _aligned(*(_read(node, position, contents) for position in range(3)))
    return [_select(*column) for column in columns]


def _select(condition: Dim, one: Dim, other: Dim) -> Dim:
    if condition is None:
        return one if one == other else None
    return one if condition else other


def _equal(one: Dim, other: Dim) -> Dim:
    """Compare two sizes, which are never negative; None where their names do not decide."""
    if isinstance(one, int) and isinstance(other, int):
        return int(one == other)
    return 0 if any(isinstance(dim, int) and dim < 0 for dim in (one, other)) else None


def _times(one: Dim, other: Dim) -> Dim:
    return one * other if isinstance(one, int) and isinstance(other, int) else product((one, other))


def _over(one: Dim, other: Dim) -> Dim:
    """Divide integers, rounding towards zero."""
    if isinstance(one, int) and isinstance(other, int):
        return int(one / other) if other else None
    return quotient((one,), (other,))


def _numbers(function: Callable[[int, int], int]) -> Callable[[Dim, Dim], Dim]:
    return lambda one, other: function(one, other) if isinstance(one, int) and isinstance(other, int) else None


def _pairwise(function: Callable[[Dim, Dim], Dim]) -> Callable[[ir.Node, Contents], Elements]:
    def rule(node: ir.Node, contents: Contents) -> Elements:
        return [function(one, other) for one, other in _aligned(_read(node, 0, contents), _read(node, 1, contents))]

    return rule


def _aligned(*columns: Elements) -> list[tuple[Dim, ...]]:
    length = max(map(len, columns))
    return list(zip(*(column * length if len(column) == 1 else column for column in columns), strict=True))


_RULES: dict[str, Callable[[ir.Node, Contents], Elements | None]] = {
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
