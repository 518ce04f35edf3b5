"""Normalizations spelled out: x̂ = d / sqrt(mean d² + ε), in all the ways that exporters write it."""

from dataclasses import dataclass

import onnx_ir as ir

from .constants import array


@dataclass(frozen=True)
class Normalized:
    """What `normalized` found: d = x - mean x when ``centred``, else d = x."""

    x: ir.Value
    epsilon: float
    centred: bool


def normalized(value: ir.Value | None) -> Normalized | None:
    """Match d / sqrt(mean d² + ε), where d is x or x - mean x; None when ``value`` is something else."""
    node = _maker(value)
    if node is None or node.op_type not in ("Div", "Mul"):
        return None
    for position in (0,) if node.op_type == "Div" else (0, 1):
        numerator, other = node.inputs[position], node.inputs[1 - position]
        variance = _root(other, inverted=node.op_type == "Mul")
        if variance is None or numerator is None:
            continue
        squared, epsilon = variance
        deviation = _bare(numerator)
        if deviation is None or not _is_square(squared, deviation):
            continue
        x = _centred(deviation)
        return Normalized(x or deviation, epsilon, x is not None)
    return None


def _root(value: ir.Value | None, *, inverted: bool) -> tuple[ir.Value, float] | None:
    """``value`` = sqrt(mean(s) + ε), or its reciprocal; returns (s, ε)."""
    node = _maker(value)
    if node is None:
        return None
    if inverted:
        if node.op_type == "Pow" and _scalar(node.inputs[1]) == -0.5:
            return _mean_plus_epsilon(node.inputs[0])
        if node.op_type == "Reciprocal":
            return _root(node.inputs[0], inverted=False)
        if node.op_type == "Div" and _scalar(node.inputs[0]) == 1.0:
            return _root(node.inputs[1], inverted=False)
        return None
    if node.op_type == "Sqrt" or (node.op_type == "Pow" and _scalar(node.inputs[1]) == 0.5):
        return _mean_plus_epsilon(node.inputs[0])
    return None


def _mean_plus_epsilon(value: ir.Value | None) -> tuple[ir.Value, float] | None:
    node = _maker(value)
    if node is None or node.op_type != "Add":
        return None
    for position in (0, 1):
        epsilon, mean = _scalar(node.inputs[position]), _mean_of(node.inputs[1 - position])
        if epsilon is not None and mean is not None:
            return mean, epsilon
    return None


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """x when ``value`` is the mean of x over its last axis, kept as an axis of 1."""
    node = _maker(value)
    if node is None or node.op_type != "ReduceMean" or node.attributes.get_int("keepdims", 1) != 1:
        return None
    axes = node.attributes.get_ints("axes", None)
    if axes is None and len(node.inputs) > 1:
        data = array(node.inputs[1])
        axes = None if data is None else [int(axis) for axis in data.ravel()]
    x = node.inputs[0]
    rank = len(x.shape) if x is not None and x.shape is not None else None
    last = axes is not None and list(axes) in ([-1], [rank - 1 if rank else -1])
    return _bare(x) if last else None


def _is_square(value: ir.Value, of: ir.Value) -> bool:
    node = _maker(value)
    if node is None:
        return False
    if node.op_type == "Pow":
        return _scalar(node.inputs[1]) == 2.0 and _same(node.inputs[0], of)
    return node.op_type == "Mul" and _same(node.inputs[0], of) and _same(node.inputs[1], of)


def _same(value: ir.Value | None, other: ir.Value) -> bool:
    """Whether both are one value, or two spellings of one deviation (PyTorch once exported Sub twice)."""
    bare = _bare(value)
    if bare is other:
        return True
    mine, others = _centred(bare), _centred(other)
    return mine is not None and mine is others


def _centred(value: ir.Value | None) -> ir.Value | None:
    """x when ``value`` is x - mean x."""
    node = _maker(value)
    if node is None or node.op_type != "Sub":
        return None
    x = _bare(node.inputs[0])
    return x if x is not None and _mean_of(node.inputs[1]) is x else None


def _scalar(value: ir.Value | None) -> float | None:
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None  # before array(), which would read a whole weight
    data = array(value)
    return None if data is None else float(data.ravel()[0])


def _bare(value: ir.Value | None) -> ir.Value | None:
    """``value`` before any Cast between float types."""
    while value is not None and (node := value.producer()) is not None and node.op_type == "Cast":
        source = node.inputs[0]
        if source is None or source.dtype is None or not source.dtype.is_floating_point():
            break
        value = source
    return value


def _maker(value: ir.Value | None) -> ir.Node | None:
    bare = _bare(value)
    return bare.producer() if bare is not None else None
