"""Take the scales around a HardSwish out again where it runs in float between Convs in float.

x' · HardSigmoid(d x'), x' = x / d        HardSwish(x), one pass over the data in place of three
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ...ir.channels.site import Consumer, Producer
from ...ir.linear import Linear, as_linear
from ...ir.scaled_hard_swish import ScaledHardSwish, as_scaled_hard_swish
from ...ir.transform.apply import scale_rows
from ...ir.transform.edit import graph_of
from ...ir.transform.producers import transform_producers
from ...ir.transform.transform import ChannelTransform
from ...ir.traverse import nodes_within
from ..split_hard_swish import join


def join_float_hard_swishes(graph: ir.Graph, on_integers: Iterable[ir.Node]) -> None:
    """Join each HardSwish whose scales only Convs have, none of them or itself among the nodes ``on_integers``."""
    taken = set(on_integers)
    for node in nodes_within(graph):
        activation = as_scaled_hard_swish(node)
        convs = _convs(activation) if activation is not None else []
        if activation is not None and convs and taken.isdisjoint((node, *(conv.node for conv in convs))):
            _unscale(activation, *convs)


def _convs(activation: ScaledHardSwish) -> list[Linear]:
    """Return the Conv that computes the data of ``activation`` and those that read it; none if others do."""
    producer, output = activation.data.producer(), activation.nodes[-1].outputs[0]
    readers = [use.node for use in output.uses()]
    convs = [linear for node in (producer, *readers) if node is not None and (linear := as_linear(node)) is not None]
    are_alone = all(conv.node.op_type == "Conv" and len(conv.weight.uses()) == 1 for conv in convs)
    is_private = len(activation.data.uses()) == 2 and not activation.data.is_graph_output()
    is_whole = len(convs) == 1 + len(readers) and not output.is_graph_output() and is_private
    return convs if is_whole and are_alone and convs[0].output is activation.data else []


def _unscale(activation: ScaledHardSwish, conv: Linear, *readers: Linear) -> None:
    restore, gate, _ = activation.nodes
    scales = activation.scales.ravel()
    channels, transform = np.arange(len(scales)), ChannelTransform(1 / scales, np.zeros(len(scales)))
    for reader in readers:
        scale_rows(Consumer(reader, channels), transform)
    transform_producers([Producer(conv, channels)], transform)
    gate.replace_input_with(0, activation.data)
    graph_of(restore).remove(restore, safe=True)
    join(gate)
