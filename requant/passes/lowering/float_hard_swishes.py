"""Write a HardSwish of scaled data that runs in float as one op, which an engine's float Conv computes on its output.

    x' · HardSigmoid(d x') = HardSwish(d x') / d

The scales go back into Convs in float before and behind it. Where integers lie on one side, their quantizers take them:

    d · DQ(q; s, z) = DQ(q; d s, z)        Q(x / d; s, z) = Q(x; d s, z)        one scale for each channel
"""

from collections.abc import Container, Iterable, Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.channels.site import Consumer, Producer
from ...ir.constants import array, constant
from ...ir.linear import Linear, as_linear
from ...ir.ops import is_op
from ...ir.scaled_hard_swish import ScaledHardSwish, as_scaled_hard_swish
from ...ir.transform.apply import scale_rows
from ...ir.transform.edit import cast_like, graph_of
from ...ir.transform.producers import transform_producers
from ...ir.transform.transform import ChannelTransform
from ...ir.traverse import nodes_within, sole_use


def join_float_hard_swishes(graph: ir.Graph, on_integers: Iterable[ir.Node]) -> list[ir.Node]:
    """Write each HardSwish of scaled data that is not among the nodes ``on_integers`` as one op.

    Returns the products by scales that are left.
    """
    taken = set(on_integers)
    activations = [(node, as_scaled_hard_swish(node)) for node in nodes_within(graph)]
    return [
        product
        for node, activation in activations
        if activation is not None and node not in taken
        for product in _join(activation, taken)
    ]


def fold_into_quantizers(products: Iterable[ir.Node]) -> None:
    """Fold each of ``products`` by a number a channel into the Q that alone reads it, or the DQ that it alone reads."""
    for product in products:
        data, use = product.inputs[0], sole_use(product.outputs[0])
        source = data.producer() if data is not None and sole_use(data) is not None else None
        if use is not None and is_op(use[0], frozenset({"QuantizeLinear"})):
            _fold(use[0], product, power=-1)
        elif source is not None and is_op(source, frozenset({"DequantizeLinear"})):
            _fold(source, product, power=1)


def _join(activation: ScaledHardSwish, taken: Container[ir.Node]) -> Iterator[ir.Node]:
    """Write one HardSwish as one op, and yield the products by its scales that are left."""
    (restore, gate, product), graph = activation.nodes, graph_of(activation.nodes[0])
    scales, before, behind = activation.scales.ravel(), _conv_before(activation), _convs_behind(activation)
    channels, inverse = np.arange(len(scales)), ChannelTransform(1 / scales, np.zeros(len(scales)))
    is_float = before is not None and before.node not in taken
    data = activation.data if is_float else restore.outputs[0]
    gate.replace_input_with(0, data)
    if behind and all(conv.node not in taken for conv in behind):
        for conv in behind:
            scale_rows(Consumer(conv, channels), inverse)
        product.resize_inputs(1)
        _become_hard_swish(product, data)
        graph.remove(gate, safe=True)
    else:
        _become_hard_swish(gate, data)
        _become_product(product, gate.outputs[0], 1 / activation.scales, activation.scale)
        yield product
    if before is not None and is_float:
        transform_producers([Producer(before, channels)], inverse)
        graph.remove(restore, safe=True)
    else:
        _become_product(restore, activation.data, activation.scales, activation.scale)
        yield restore


def _become_product(node: ir.Node, data: ir.Value, numbers: NDArray[np.float64], like: ir.Value) -> None:
    """Make ``node`` the product of ``data`` and ``numbers``, in this order."""
    node.replace_input_with(0, data)
    node.replace_input_with(1, constant(graph_of(node), cast_like(like, numbers), f"{node.outputs[0].name}.scales"))


def _become_hard_swish(node: ir.Node, data: ir.Value) -> None:
    node.op_type = "HardSwish"
    node.attributes.clear()
    node.replace_input_with(0, data)


def _conv_before(activation: ScaledHardSwish) -> Linear | None:
    """Return the Conv that computes the data of ``activation``, for it alone and by a weight of its own."""
    node, data = activation.data.producer(), activation.data
    is_alone = len(data.uses()) == 2 and not data.is_graph_output()
    conv = as_linear(node) if is_alone and node is not None else None
    return conv if conv is not None and conv.output is data and _is_private(conv) else None


def _convs_behind(activation: ScaledHardSwish) -> list[Linear]:
    """Return the Convs that read the output of ``activation``, none if others do too."""
    output = activation.nodes[-1].outputs[0]
    convs = [linear for use in output.uses() if use.idx == 0 and (linear := as_linear(use.node)) is not None]
    are_all = len(convs) == len(output.uses()) and not output.is_graph_output()
    return convs if are_all and all(map(_is_private, convs)) else []


def _is_private(conv: Linear) -> bool:
    return conv.node.op_type == "Conv" and len(conv.weight.uses()) == 1


def _fold(quantizer: ir.Node, product: ir.Node, power: int) -> None:
    """Fold ``product`` into the scale of ``quantizer``: 1 to multiply by its numbers, -1 to divide."""
    numbers, scale, zero_point = (array(value) for value in (product.inputs[1], *quantizer.inputs[1:3]))
    assert numbers is not None
    if scale is None or scale.size != 1 or zero_point is None:
        return
    graph, name = graph_of(quantizer), product.outputs[0].name
    scales = scale.astype(np.float64) * numbers.astype(np.float64).ravel() ** power
    zeros = np.full(len(scales), zero_point.reshape(()), zero_point.dtype)
    quantizer.replace_input_with(1, constant(graph, scales.astype(np.float32), f"{name}.scale"))
    quantizer.replace_input_with(2, constant(graph, zeros, f"{name}.zero_point"))
    quantizer.attributes["axis"] = ir.AttrInt64("axis", 1)
    if power < 0:
        quantizer.replace_input_with(0, product.inputs[0])
    else:
        ir.convenience.replace_all_uses_with(product.outputs[0], quantizer.outputs[0])
    graph_of(product).remove(product, safe=True)
