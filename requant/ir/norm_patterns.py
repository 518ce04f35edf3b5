"""Decomposed normalizations: x̂ = d / sqrt(mean d² + ε), in all the ways that exporters write it."""

from dataclasses import dataclass

import onnx_ir as ir

from .constants import array, is_constant
from .ops import LOWER_BOUNDS, MULTIPLICATIVE
from .traverse import origin


@dataclass(frozen=True)
class Normalized:
    """A match of `normalized`: d = x - mean x when ``centred``, else d = x."""

    x: ir.Value
    epsilon: float
    centred: bool


def normalized(value: ir.Value | None) -> Normalized | None:
    """Match d / sqrt(mean d² + ε), where d is x or x - mean x; None when ``value`` is something else."""
    node = _producer(value)
    if node is None or node.op_type not in MULTIPLICATIVE:
        return None
    for position in (0,) if node.op_type == "Div" else (0, 1):
        numerator, other = node.inputs[position], node.inputs[1 - position]
        match = _root(other) if node.op_type == "Div" else inverse_root(other)
        if match and source_of(numerator) == (match.x, match.centred):
            return match
    return None


def scaled_inverse_root(value: ir.Value | None) -> tuple[ir.Value, ir.Value, Normalized] | None:
    """Match γ / sqrt(mean d² + ε), as TensorFlow and Flax write it, with γ as wide as d.

    Returns:
        1 / sqrt(mean d² + ε), γ, and the match with d.
    """
    node = _producer(value)
    if node is None or node.op_type != "Mul":
        return None
    for inverse, gamma in (node.inputs, node.inputs[::-1]):
        match = inverse_root(inverse)
        if match is None or inverse is None or gamma is None or gamma.shape is None or not is_vector(gamma):
            continue
        if match.x.shape and match.x.shape[-1] == gamma.shape[0]:
            return inverse, gamma, match
    return None


def inverse_root(value: ir.Value | None) -> Normalized | None:
    """Match 1 / sqrt(mean d² + ε)."""
    node = _producer(value)
    if node is None:
        return None
    if node.op_type == "Pow" and _scalar(node.inputs[1]) == -0.5:
        return _variance_plus_epsilon(node.inputs[0])
    if node.op_type == "Reciprocal":
        return _root(node.inputs[0])
    if node.op_type == "Div" and _scalar(node.inputs[0]) == 1.0:
        return _root(node.inputs[1])
    return None


def mean_of(value: ir.Value | None) -> ir.Value | None:
    """Return x when ``value`` is the mean of x over its last axis, kept as an axis of 1."""
    node = _producer(value)
    if node is None or node.op_type != "ReduceMean" or node.attributes.get_int("keepdims", 1) != 1:
        return None
    axes = node.attributes.get_ints("axes", None)
    if axes is None and len(node.inputs) > 1:
        data = array(node.inputs[1])
        axes = None if data is None else [int(axis) for axis in data.ravel()]
    x = node.inputs[0]
    rank = len(x.shape) if x is not None and x.shape is not None else None
    last = axes is not None and list(axes) in ([-1], [rank - 1 if rank else -1])
    return bare(x) if last else None


def is_vector(value: ir.Value | None) -> bool:
    """Tell whether ``value`` is a constant of shape [C]."""
    return value is not None and is_constant(value) and value.shape is not None and len(value.shape) == 1


def bare(value: ir.Value | None) -> ir.Value | None:
    """Return ``value`` before any Cast between float types."""
    return origin(value, through=_is_float_cast)


def _is_float_cast(node: ir.Node) -> bool:
    data = node.inputs[0] if node.op_type == "Cast" else None
    return data is not None and data.dtype is not None and data.dtype.is_floating_point()


def _root(value: ir.Value | None) -> Normalized | None:
    node = _producer(value)
    if node is not None and (node.op_type == "Sqrt" or (node.op_type == "Pow" and _scalar(node.inputs[1]) == 0.5)):
        return _variance_plus_epsilon(node.inputs[0])
    return None


def _variance_plus_epsilon(value: ir.Value | None) -> Normalized | None:
    node = _producer(value)
    if node is None or node.op_type != "Add":
        return None
    for position in (0, 1):
        epsilon, variance = _scalar(node.inputs[position]), _variance(node.inputs[1 - position])
        if epsilon is not None and variance is not None:
            x, centred = variance
            return Normalized(x, epsilon, centred)
    return None


def _variance(value: ir.Value | None) -> tuple[ir.Value, bool] | None:
    """Match mean d², or mean x² - (mean x)² clamped at 0, by which Flax computes it."""
    squared = square_of(mean_of(value))
    if squared is not None:
        return source_of(squared)
    node = _producer(value)
    if node is not None and node.op_type in LOWER_BOUNDS:
        operands = [operand for operand in node.inputs if _scalar(operand) != 0.0]
        node = _producer(operands[0]) if len(operands) == 1 else None
    if node is None or node.op_type != "Sub":
        return None
    x, mean = square_of(mean_of(node.inputs[0])), square_of(node.inputs[1])
    return (x, True) if x is not None and x is mean_of(mean) else None


def square_of(value: ir.Value | None) -> ir.Value | None:
    """Return x when ``value`` is x²."""
    node = _producer(value)
    if node is None:
        return None
    if node.op_type == "Pow":
        return bare(node.inputs[0]) if _scalar(node.inputs[1]) == 2.0 else None
    if node.op_type == "Mul" and source_of(node.inputs[0]) == source_of(node.inputs[1]):
        return bare(node.inputs[0])
    return None


def source_of(value: ir.Value | None) -> tuple[ir.Value, bool] | None:
    """Return (x, True) when ``value`` is x - mean x, else ``value`` without casts and False."""
    source, node = bare(value), _producer(value)
    if node is not None and node.op_type == "Sub":
        x = bare(node.inputs[0])
        if x is not None and mean_of(node.inputs[1]) is x:
            return x, True
    return None if source is None else (source, False)


def _scalar(value: ir.Value | None) -> float | None:
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None  # before array(), which would read a whole weight
    data = array(value)
    return None if data is None else float(data.ravel()[0])


def _producer(value: ir.Value | None) -> ir.Node | None:
    source = bare(value)
    return source.producer() if source is not None else None
