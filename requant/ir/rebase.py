"""The exact rewrite of a site by (d, t).

    γ' = γ / d      β' = (β - t) / d      W' = diag(d) W      b' = b + t W      other readers get X' d + t

Parameters are computed in float64 and rounded once; weights are scaled when they are read.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .constants import array, constant, lazily
from .linear import Linear
from .norms import Norm
from .sites import Reader, Restored, Site


@dataclass(frozen=True)
class Basis:
    """A per-channel change of basis X' = (X - shift) / scale; both have shape [C], scale is positive."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def identity(cls, channels: int) -> "Basis":
        """The basis that changes nothing."""
        return cls(np.ones(channels), np.zeros(channels))

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return not self.shifts and bool(np.all(self.scale == 1))

    @property
    def shifts(self) -> bool:
        """Whether any channel is shifted."""
        return bool(np.any(self.shift != 0))


def rebase(site: Site, basis: Basis) -> int:
    """Rewrite the graph around ``site``: its values become (X - shift) / scale, the outputs stay the same.

    It uses ``site`` up: to re-base the place again, find its site again.

    Returns:
        The number of nodes that run at inference and were not there before.

    Raises:
        ValueError: the basis does not fit the site, is not finite and positive, or shifts where that is not
            legal.
    """
    _require_legal(site, basis)
    added = _restore_edges(site.restored, basis)
    for reader in site.readers:
        if basis.shifts:
            added += _shift_bias(reader, basis.shift[reader.channels])
    for weight, reader in {reader.linear.weight: reader for reader in site.readers}.items():
        _scale_rows(weight, reader.linear, basis.scale[reader.channels])
    for norm in site.norms:
        added += _rebase_norm(norm, basis)
    return added if site.norms else added + _rebase_readers(site.readers, basis)


def _require_legal(site: Site, basis: Basis) -> None:
    if basis.scale.shape != (site.channels,) or basis.shift.shape != (site.channels,):
        raise ValueError(f"{site.name}: the site has {site.channels} channels, the basis {basis.scale.shape}")
    if not (np.all(np.isfinite(basis.scale)) and np.all(basis.scale > 0) and np.all(np.isfinite(basis.shift))):
        raise ValueError(f"{site.name}: scales must be positive and finite, shifts finite")
    if basis.shifts and site.fixed_shift:
        raise ValueError(f"{site.name}: no shift is allowed, because {site.fixed_shift}")


def _rebase_norm(norm: Norm, basis: Basis) -> int:
    node, position = norm.scale
    graph = _graph(node)
    gamma = node.inputs[position]
    _plug(node, position, _like(gamma, _values(gamma) / basis.scale), f"{norm.output.name}.scale")
    offset = -basis.shift / basis.scale
    if norm.shift is not None:
        node, position = norm.shift
        beta = node.inputs[position] if len(node.inputs) > position else None
        if beta is None and not basis.shifts:
            return 0
        shifted = offset if beta is None else _values(beta) / basis.scale + offset
        _plug(node, position, _like(gamma, shifted), f"{norm.output.name}.bias")
        return 0
    if not basis.shifts:
        return 0
    shift = constant(graph, _like(gamma, offset), f"{norm.output.name}.shift")
    _insert_after(norm.output, "Add", shift)
    return 1


def _rebase_readers(readers: tuple[Reader, ...], basis: Basis) -> int:
    """Compute X · (1/d) - t/d for the readers of an explicit site, which read one value."""
    linear = readers[0].linear
    axes = (-1,) if linear.data_axis == -1 else (-1,) + (1,) * (len(linear.shape) - 2)
    scale, shift = (1 / basis.scale).reshape(axes), (-basis.shift / basis.scale).reshape(axes)
    rebased, added = _affine(linear.node, linear.data, scale, shift, "rebase")
    for reader in readers:
        reader.linear.node.replace_input_with(0, rebased)
    return added


def _scale_rows(weight: ir.Value, linear: Linear, scale: NDArray[np.float64]) -> None:
    """Multiply the weight's input channels by ``scale``, in float32 or better, when somebody reads it."""
    tensor = weight.const_value
    assert tensor is not None
    shape = [1] * len(linear.shape)
    shape[linear.in_axis] = linear.shape[linear.in_axis]
    if linear.groups == 1:
        factor = scale.reshape(shape)
    else:
        shape[linear.out_axis] = linear.outputs
        per_group = scale.reshape(linear.groups, 1, -1)
        factor = np.repeat(per_group, linear.outputs // linear.groups, axis=1).reshape(shape)
    dtype = np.promote_types(tensor.dtype.numpy(), np.float32)
    factor = factor.astype(dtype)
    weight.const_value = lazily(lambda w: w.astype(dtype, copy=False) * factor, tensor)


def _shift_bias(reader: Reader, shift: NDArray[np.float64]) -> int:
    """Add t W (with the weights as they are before scaling) to the bias, which is made if there is none."""
    linear, node = reader.linear, reader.linear.node
    delta = _product(linear, shift)
    name = f"{node.outputs[0].name}.bias"
    if linear.bias is not None:
        owner, position = linear.bias
        bias = owner.inputs[position]
        _plug(owner, position, _like(bias, _values(bias) + delta), name)
        return 0
    tensor = _like(linear.weight, delta)
    if node.op_type != "MatMul":
        _plug(node, 2, tensor, name)
        return 0
    _insert_after(node.outputs[0], "Add", constant(_graph(node), tensor, name))
    return 1


def _product(linear: Linear, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """t W as the op's bias input wants it, of shape [out]."""
    weight = linear.weight.const_value
    assert weight is not None
    data = weight.numpy().astype(np.float64)
    if linear.node.op_type != "Conv":
        ratio = linear.node.attributes.get_float("alpha", 1.0) / linear.node.attributes.get_float("beta", 1.0)
        return np.asarray(ratio * np.tensordot(shift, data, (0, linear.in_axis)))
    taps = data.reshape(*data.shape[:2], -1).sum(axis=2)
    per_output = np.repeat(shift.reshape(linear.groups, -1), linear.outputs // linear.groups, axis=0)
    return np.asarray((taps * per_output).sum(axis=1))


def _restore_edges(edges: tuple[Restored, ...], basis: Basis) -> int:
    """Hand X = X' d + t to every edge; edges that read one value share its restored copy."""
    copies: dict[ir.Value, ir.Value] = {}
    added = 0
    for node, position, channels in ((*edge.slot, edge.channels) for edge in edges):
        value = node.inputs[position]
        assert value is not None
        if value not in copies:
            copies[value], steps = _affine(node, value, basis.scale[channels], basis.shift[channels], "restore")
            added += steps
        node.replace_input_with(position, copies[value])
    return added


def _affine(
    node: ir.Node, value: ir.Value, scale: NDArray[np.float64], shift: NDArray[np.float64], purpose: str
) -> tuple[ir.Value, int]:
    """value · scale + shift, computed just before ``node``; a trivial Mul or Add is left out."""
    result, steps = value, 0
    for op_type, data, neutral in (("Mul", scale, 1.0), ("Add", shift, 0.0)):
        if not np.all(data == neutral):
            operand = constant(_graph(node), _like(value, data), f"{value.name}.{purpose}.{op_type.lower()}")
            step = ir.node(op_type, [result, operand])
            _graph(node).insert_before(node, step)
            result, steps = _describe(step.outputs[0], value, f"{operand.name}.out"), steps + 1
    return result, steps


def _insert_after(value: ir.Value, op_type: str, operand: ir.Value) -> None:
    """Let every reader of ``value`` read op(value, operand) instead, under the old name."""
    node, name = value.producer(), value.name
    assert node is not None
    step = ir.node(op_type, [value, operand])
    value.name = f"{operand.name}.in"
    _describe(step.outputs[0], value, name or f"{operand.name}.out")
    ir.convenience.replace_all_uses_with(value, step.outputs[0], replace_graph_outputs=True)
    step.replace_input_with(0, value)
    _graph(node).insert_after(node, step)


def _plug(node: ir.Node, position: int, data: NDArray[np.generic], name: str) -> None:
    """Put a fresh initializer into an input, so that nobody who shares the old one notices."""
    fresh = constant(_graph(node), data, name)
    if len(node.inputs) <= position:
        node.resize_inputs(position + 1)
    node.replace_input_with(position, fresh)


def _values(value: ir.Value | None) -> NDArray[np.float64]:
    data = array(value)
    assert data is not None
    return data.astype(np.float64)


def _like(value: ir.Value | None, data: NDArray[np.float64]) -> NDArray[np.generic]:
    """``data`` in the element type of ``value``."""
    dtype = value.dtype if value is not None else None
    return data.astype((dtype or ir.DataType.FLOAT).numpy())


def _describe(value: ir.Value, like: ir.Value, name: str) -> ir.Value:
    value.name, value.shape, value.type = name, like.shape, like.type
    return value


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph
