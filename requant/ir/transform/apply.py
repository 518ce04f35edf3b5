"""The exact rewrite of a site by (d, t).

    producers compute X' = (X - t) / d      consumers have W' = diag(d) W, b' = b + t W
    inverse edges get X' d + t

Parameters are computed in float64 and rounded once; weights are scaled when they are read.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..channels.site import AddedConstant, Consumer, Site
from ..linear import Linear, as_linear
from .edit import add_to_bias, affine, cast_like, graph_of, read_constant, replace_constant, scale_along, scale_by
from .inverse_edges import apply_inverse
from .producers import transform_producers
from .transform import ChannelTransform

__all__ = ["ChannelTransform", "apply_transform"]


def apply_transform(site: Site, transform: ChannelTransform) -> int:
    """Rewrite the graph around ``site``: its values become (X - shift) / scale, the outputs stay the same.

    It uses ``site`` up: to transform the place again, find its site again.

    Returns:
        The number of nodes that run at inference and were not there before.

    Raises:
        ValueError: the transform does not fit the site, is not finite and positive, or shifts where that is not
            legal.
    """
    _require_legal(site, transform)
    added = apply_inverse(site.inverse_edges, transform)
    if transform.shifts:
        added += sum(_shift_bias(consumer, transform) for consumer in site.consumers)
    for consumer in {consumer.linear.weight: consumer for consumer in site.consumers}.values():
        scale_rows(consumer, transform)
    for added_constant in site.added_constants:
        _scale_constant(added_constant, transform)
    added += transform_producers(site.producers, transform)
    return added if site.producers else added + _transform_consumers(site.consumers, transform)


def _require_legal(site: Site, transform: ChannelTransform) -> None:
    if transform.scale.shape != (site.channels,) or transform.shift.shape != (site.channels,):
        raise ValueError(f"{site.name}: the site has {site.channels} channels, the transform {transform.scale.shape}")
    if not (
        np.all(np.isfinite(transform.scale)) and np.all(transform.scale > 0) and np.all(np.isfinite(transform.shift))
    ):
        raise ValueError(f"{site.name}: scales must be positive and finite, shifts finite")
    if transform.shifts and site.shift_blocked:
        raise ValueError(f"{site.name}: no shift is allowed, because {site.shift_blocked}")


def _shift_bias(consumer: Consumer, transform: ChannelTransform) -> int:
    """Add t W (with the weights as they are before scaling) to the bias, which is created if there is none."""
    linear, part = as_linear(consumer.linear.node), transform.at(consumer.channels)  # with its current bias
    assert linear is not None
    return add_to_bias(linear, _product(linear, part.shift)) if part.shifts else 0


def scale_rows(consumer: Consumer, transform: ChannelTransform) -> None:
    """Multiply the weight's input channels by d."""
    linear, scale = consumer.linear, transform.at(consumer.channels).scale
    if linear.groups == 1:
        scale_along(linear.weight, linear.in_axis, scale)
        return
    per_output = np.repeat(scale.reshape(linear.groups, 1, -1), linear.outputs // linear.groups, axis=1)
    scale_by(linear.weight, per_output.reshape(linear.outputs, -1, *(1,) * (len(linear.shape) - 2)))


def _product(linear: Linear, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return t W as it adds to the output, of shape [out]."""
    weight = linear.weight.const_value
    assert weight is not None
    data = weight.numpy().astype(np.float64)
    if linear.node.op_type != "Conv":
        return np.asarray(linear.factor * np.tensordot(shift, data, (0, linear.in_axis)))
    taps = data.reshape(*data.shape[:2], -1).sum(axis=2)
    per_output = np.repeat(shift.reshape(linear.groups, -1), linear.outputs // linear.groups, axis=0)
    return np.asarray((taps * per_output).sum(axis=1))


def _scale_constant(added_constant: AddedConstant, transform: ChannelTransform) -> None:
    """Divide a constant that is added between producer and consumer by d."""
    node, position = added_constant.slot
    value = node.inputs[position]
    quotient = read_constant(value) / transform.at(added_constant.channels).scale
    name = value.name if value is not None else node.name
    replace_constant(added_constant.slot, cast_like(value, quotient), f"{name}.rebased")


def _transform_consumers(consumers: tuple[Consumer, ...], transform: ChannelTransform) -> int:
    """Compute X · (1/d) - t/d once in each graph for its consumers of each value of an inserted site."""
    added, copies = 0, dict[tuple[ir.Value, ir.Graph], ir.Value]()
    for consumer in consumers:
        linear, data = consumer.linear, consumer.linear.node.inputs[0]  # another site may have replaced it
        assert data is not None
        key = data, graph_of(linear.node)
        if key not in copies:
            axes = (-1,) if linear.data_axis == -1 else (-1,) + (1,) * (len(linear.shape) - 2)
            part = transform.at(consumer.channels)
            scale, shift = (1 / part.scale).reshape(axes), (-part.shift / part.scale).reshape(axes)
            copies[key], nodes = affine(linear.node, data, scale, shift, "rebase")
            added += nodes
        linear.node.replace_input_with(0, copies[key])
    return added
