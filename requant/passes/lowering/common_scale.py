"""A common scale for the weights of all layers that read one value, with the rest of each channel's scale behind them.

    y = x̂ (s Q) + b    becomes    y = (x̂ (s₀ Q)) · s / s₀ + b        s₀ = max s        over all weights that read x̂

TensorRT-RTX 1.7 computes what integers multiply to in float32 where a weight has a scale for each channel, and leaves
scales, bias and all that follows to a second kernel. With one scale the product is written in half precision. Layers
that read one value have one s₀, because those with different ones are not joined to one product.

    128 s_x s₀ Σ |Q| ≤ 65504    for any data, or    4 |x̂ (s₀ Q)| ≤ 65504    on the calibration rows

If neither holds, as a product may then not fit a half, the layer keeps a scale for each channel. So do all that read
the same value: the builder of TensorRT-RTX 1.7 fails on some products of both kinds that it would join.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array, constant
from ...ir.linear import Linear
from ...ir.ops import CONVOLUTIONS
from ...ir.quantizer import E4M3_LARGEST
from ...ir.refusal import Refusal
from ...ir.transform.edit import graph_of, insert_after, read_constant
from ..planned_layer import PlannedLayer
from ..precision.ranges import headroom

_BESIDE = "it keeps a scale for each channel, as another layer that reads the same value does"


class _Product(NamedTuple):
    """A lowered layer: its plan, the DequantizeLinear nodes of its data and weight, and Q, in the weight's shape."""

    layer: PlannedLayer
    data: ir.Node
    weight: ir.Node
    integers: NDArray[np.float32]

    @property
    def linear(self) -> Linear:
        return self.layer.linear

    @property
    def scale(self) -> NDArray[np.float64]:
        """The scale of each output channel, [N]."""
        return read_constant(self.weight.inputs[1])

    @property
    def sums(self) -> NDArray[np.float64]:
        """Σ |Q| of each output channel, [N]."""
        axes = tuple(axis for axis in range(self.integers.ndim) if axis != self.linear.out_axis)
        sums: NDArray[np.float64] = np.abs(self.integers).sum(axis=axes, dtype=np.float64)
        return sums


def share_scales(layers: Iterable[PlannedLayer], dtype: ir.DataType) -> dict[Linear, Refusal]:
    """Give the lowered ``layers`` that read one value a common scale; returns refusals of those that keep their own.

    ``dtype`` is the type that products are to be written in.
    """
    groups: dict[ir.Value, list[PlannedLayer]] = {}
    for layer in layers:
        if layer.data is not None:
            groups.setdefault(layer.linear.current_data, []).append(layer)
    refusals: dict[Linear, Refusal] = {}
    for group in groups.values():
        products = [product for product in map(_product, group) if product is not None]
        common = _largest_scale(products)
        reasons = {one.linear: reason for one in products if (reason := _overflow(one, common, dtype)) is not None}
        if reasons:
            refusals |= {one.linear: Refusal.at(one.linear.node, reasons.get(one.linear, _BESIDE)) for one in products}
        elif len(products) == len(group):
            for product in products:
                _share(product, common)
    return refusals


def _product(layer: PlannedLayer) -> _Product | None:
    """Return ``layer`` as a product; None where its weight has another form, or belongs to other layers too."""
    data, weight = (value.producer() if value is not None else None for value in layer.linear.node.inputs[:2])
    if layer.linear.batched or layer.weight.axis is None or layer.weight.block:
        return None
    if data is None or weight is None or len(weight.outputs[0].uses()) > 1:
        return None
    integers = array(weight.inputs[0])
    assert integers is not None
    return _Product(layer, data, weight, integers.astype(np.float32))


def _largest_scale(group: Sequence[_Product]) -> float:
    """Return the largest scale of a channel that is not 0."""
    return max((float(one.scale.max(where=one.sums > 0, initial=0.0)) for one in group), default=0.0) or 1.0


def _overflow(product: _Product, common: float, dtype: ir.DataType) -> str | None:
    """Give the reason why ``dtype`` may not hold the products with the ``common`` scale, or None."""
    step = float(read_constant(product.data.inputs[1]))
    top = E4M3_LARGEST if product.layer.weight.dtype.is_floating_point() else 128.0
    if top * step * common * product.sums.max(initial=0.0) <= float(dtype.max):
        return None
    largest = common * _largest_on_rows(product)
    if largest <= headroom(dtype):
        return None
    return (
        f"it keeps a scale for each channel: with one for all, products may reach {largest:.2g} in {dtype.name.lower()}"
    )


def _largest_on_rows(product: _Product) -> float:
    """Return the largest |x̂ Q| on the calibration rows; an upper bound where an output is a sum over several rows."""
    linear, stats, data = product.linear, product.layer.statistics, product.layer.data
    if stats is None or data is None:
        return np.inf
    if linear.groups == 1 and set(linear.shape[2:]) <= {1}:
        rows = data.decode(data.encode(stats.rows)).astype(np.float32)
        return float(np.abs(rows @ linear.laid_out(product.integers)).max(initial=0.0))
    bounds = np.where(np.isfinite(stats.magnitude), stats.magnitude, 0.0).max(initial=0.0)
    return float(bounds * product.sums.max(initial=0.0))


def _share(product: _Product, common: float) -> None:
    """Give the weight the ``common`` scale, and multiply what is left of its own behind the product."""
    linear, weight = product.linear, product.weight
    graph, name, integers = graph_of(linear.node), linear.weight.name, weight.inputs[0]
    assert integers is not None
    assert integers.const_value is not None
    factor = np.where(product.sums > 0, product.scale / common, 1.0)
    zero = np.zeros((), integers.const_value.dtype.numpy())
    weight.replace_input_with(1, constant(graph, np.asarray(common, np.float32), f"{name}.common_scale"))
    weight.replace_input_with(2, constant(graph, ir.Tensor(zero, dtype=integers.const_value.dtype), f"{name}.zero"))
    weight.attributes.pop("axis", None)
    axes = (-1, *(1,) * (len(linear.shape) - 2)) if linear.node.op_type in CONVOLUTIONS else (-1,)
    _move_bias(linear, axes)
    insert_after(
        linear.node.outputs[0], "Mul", constant(graph, factor.astype(np.float32).reshape(axes), f"{name}.rest")
    )


def _move_bias(linear: Linear, axes: tuple[int, ...]) -> None:
    """Add the bias of a Conv or a Gemm behind the product."""
    node = linear.node
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return
    data = (read_constant(bias) * linear.bias_factor).astype(np.float32).reshape(axes)
    node.resize_inputs(2)
    insert_after(node.outputs[0], "Add", constant(graph_of(node), data, f"{bias.name}.behind"))
