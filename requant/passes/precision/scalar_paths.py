"""Where a number goes, and where it comes from: the stretches of a graph that are about few numbers, not about data.

ahead      Σ x² → + ε → √ → x / √      from a sum to where it meets the data again
summands   x - mean x → (x - mean x)² → Σ
counting   Range → · ω → sin           from integers to what is made of them
"""

import onnx_ir as ir

from ...ir.constants import is_constant
from ...ir.linear import as_linear
from ...ir.norm_patterns import square_of
from .signatures import is_float

_SCALAR = frozenset(
    (
        *("Abs", "Add", "Cast", "Clip", "Div", "Expand", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal"),
        *("Relu", "Reshape", "Sqrt", "Squeeze", "Sub", "Unsqueeze"),
    )
)
"""What is done to a sum before it meets the data again."""

_COUNTING = _SCALAR | frozenset(
    (
        *("Ceil", "Concat", "CumSum", "Einsum", "Exp", "Floor", "Gather", "Identity", "MatMul", "Mod", "Range"),
        *("Round", "Slice", "Split", "Tile", "Transpose", "Where"),
    )
)
"""What is done to positions and sizes."""


def ahead(start: ir.Node) -> list[ir.Node]:
    """``start`` and what is computed from its result alone, the node where that meets the data again included."""
    nodes, queue = {start: None}, [start]
    for node in queue:
        for consumer in dict.fromkeys(node.successors()):
            if consumer in nodes or consumer.op_type not in _SCALAR:
                continue
            nodes[consumer] = None
            others = [value for value in consumer.inputs if value and is_float(value) and not is_constant(value)]
            queue += [consumer] if all(value.producer() in nodes for value in others) else []
    return list(nodes)


def summands(total: ir.Node) -> list[ir.Node]:
    """The squares that ``total`` adds up, and the differences from a mean that they are of."""
    nodes = [total]
    for node in nodes:
        for value in node.inputs:
            maker = value.producer() if value is not None else None
            if maker is None or maker in nodes:
                continue
            square = maker.op_type in ("Mul", "Pow") and square_of(value) is not None
            mean = maker.op_type == "ReduceMean" and node.op_type == "Sub"
            nodes += [maker] if square or mean or maker.op_type in ("Abs", "Sub") else []
    return nodes[1:]


def counting(value: ir.Value) -> list[ir.Node] | None:
    """What makes ``value`` of integers, constants and inputs alone; None when there is more to it."""
    nodes, queue = dict[ir.Node, None](), [value]
    for found in queue:
        maker = found.producer()
        if maker is None or maker in nodes:
            continue
        layer = as_linear(maker)
        if maker.op_type not in _COUNTING or (layer is not None and layer.inputs > 1):
            return None
        nodes[maker] = None
        queue += [source for source in maker.inputs if source and is_float(source)]
    return list(nodes)
