"""The exact rewrite of a site by (d, t).

    writers make X' = (X - t) / d      readers have W' = diag(d) W, b' = b + t W      all others get X' d + t

Parameters are computed in float64 and rounded once; weights are scaled when they are read.
"""

import numpy as np
from numpy.typing import NDArray

from ..channels.site import Operand, Reader, Site
from ..linear import Linear, as_linear
from .edit import add_to_bias, affine, like, plug, scale_along, scale_by, values
from .producers import produce
from .restore import restore
from .transform import Basis

__all__ = ["Basis", "rebase"]


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
    added = restore(site.restored, basis)
    if basis.shifts:
        added += sum(_shift_bias(reader, basis) for reader in site.readers)
    for reader in {reader.linear.weight: reader for reader in site.readers}.values():
        _scale_rows(reader, basis)
    for operand in site.operands:
        _scale_operand(operand, basis)
    added += produce(site.writers, basis)
    return added if site.writers else added + _rebase_readers(site.readers, basis)


def _require_legal(site: Site, basis: Basis) -> None:
    if basis.scale.shape != (site.channels,) or basis.shift.shape != (site.channels,):
        raise ValueError(f"{site.name}: the site has {site.channels} channels, the basis {basis.scale.shape}")
    if not (np.all(np.isfinite(basis.scale)) and np.all(basis.scale > 0) and np.all(np.isfinite(basis.shift))):
        raise ValueError(f"{site.name}: scales must be positive and finite, shifts finite")
    if basis.shifts and site.fixed_shift:
        raise ValueError(f"{site.name}: no shift is allowed, because {site.fixed_shift}")


def _shift_bias(reader: Reader, basis: Basis) -> int:
    """Add t W (with the weights as they are before scaling) to the bias, which is made if there is none."""
    linear, part = as_linear(reader.linear.node), basis.at(reader.channels)  # with the bias that it has by now
    assert linear is not None
    return add_to_bias(linear, _product(linear, part.shift)) if part.shifts else 0


def _scale_rows(reader: Reader, basis: Basis) -> None:
    """Multiply the weight's input channels by d."""
    linear, scale = reader.linear, basis.at(reader.channels).scale
    if linear.groups == 1:
        scale_along(linear.weight, linear.in_axis, scale)
        return
    per_output = np.repeat(scale.reshape(linear.groups, 1, -1), linear.outputs // linear.groups, axis=1)
    scale_by(linear.weight, per_output.reshape(linear.outputs, -1, *(1,) * (len(linear.shape) - 2)))


def _product(linear: Linear, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """t W as it adds to the output, of shape [out]."""
    weight = linear.weight.const_value
    assert weight is not None
    data = weight.numpy().astype(np.float64)
    if linear.node.op_type != "Conv":
        return np.asarray(linear.factor * np.tensordot(shift, data, (0, linear.in_axis)))
    taps = data.reshape(*data.shape[:2], -1).sum(axis=2)
    per_output = np.repeat(shift.reshape(linear.groups, -1), linear.outputs // linear.groups, axis=0)
    return np.asarray((taps * per_output).sum(axis=1))


def _scale_operand(operand: Operand, basis: Basis) -> None:
    """Divide a constant that is added on the way by d."""
    node, position = operand.slot
    value = node.inputs[position]
    scaled = values(value) / basis.at(operand.channels).scale
    plug(operand.slot, like(value, scaled), f"{value.name if value is not None else node.name}.rebased")


def _rebase_readers(readers: tuple[Reader, ...], basis: Basis) -> int:
    """Compute X · (1/d) - t/d once for the readers of each value of an explicit site."""
    added, copies = 0, {}
    for reader in readers:
        linear, data = reader.linear, reader.linear.node.inputs[0]  # by now it may be what another site put there
        assert data is not None
        if data not in copies:
            axes = (-1,) if linear.data_axis == -1 else (-1,) + (1,) * (len(linear.shape) - 2)
            part = basis.at(reader.channels)
            scale, shift = (1 / part.scale).reshape(axes), (-part.shift / part.scale).reshape(axes)
            copies[data], nodes = affine(linear.node, data, scale, shift, "rebase")
            added += nodes
        linear.node.replace_input_with(0, copies[data])
    return added
