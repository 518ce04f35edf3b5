"""Steps: what an engine can run as one kernel that reads integers and writes integers.

    y = Conv(x), with the Relu or Clip behind it      y = x · Sigmoid(x)      y = HardSwish(x)      y = a + b      …

Between steps, values can go as integers. `requant.ir.linear` is the view of products alone; a step may be any node.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .activated import activated
from .constants import is_constant
from .linear import Linear, as_linear
from .ops import BLOCKING, LAYOUT, SLICING, is_op
from .traverse import nodes_within, sole_use

MOVES = (LAYOUT - BLOCKING - {"Identity"}) | SLICING
"""Ops on one input whose integer form is the op itself, on integers."""


@dataclass(frozen=True)
class Step:
    """Nodes that are one kernel on integers: of ``kind``, from the data ``inputs`` to ``outputs``.

    ``linear`` is the view of a Conv. A step that ``moves`` only picks and moves elements, so that its inputs and
    outputs share one quantizer.
    """

    kind: str
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    linear: Linear | None = None

    @property
    def moves(self) -> bool:
        """True where the output has no other elements than the inputs."""
        return self.kind in ("Move", "Concat", "MaxPool", "Resize")

    @property
    def graph(self) -> ir.Graph | ir.Function | None:
        """The graph or body that its nodes are in."""
        return self.nodes[0].graph


def find_steps(graph: ir.Graph) -> Iterator[Step]:
    """Yield the steps of ``graph`` and the bodies within, in order; no node is in two of them."""
    taken = set[ir.Node]()
    for node in nodes_within(graph):
        if node not in taken and (step := as_step(node)) is not None:
            taken.update(step.nodes)
            yield step


def as_step(node: ir.Node) -> Step | None:
    """View ``node`` and what belongs to it as a step, or return None."""
    view = _VIEWS.get(node.op_type) if node.domain == "" else None
    return None if view is None else view(node)


def _conv(node: ir.Node) -> Step | None:
    linear = as_linear(node)
    if linear is None:
        return None
    output = activated(linear)
    activation = output.producer()
    nodes = (node,) if activation is node or activation is None else (node, activation)
    return Step("Conv", nodes, (linear.data,), (output,), linear)


def _sigmoid(node: ir.Node) -> Step | None:
    """View Sigmoid(x) as a step, with the product x · Sigmoid(x) where that alone reads it."""
    use, data = sole_use(node.outputs[0]), node.inputs[0]
    if use is not None and data is not None and is_op(use[0], frozenset({"Mul"})) and data in use[0].inputs:
        return Step("Silu", (node, use[0]), (data,), tuple(use[0].outputs))
    return _unary("Sigmoid")(node)


def _unary(kind: str) -> Callable[[ir.Node], Step | None]:
    def view(node: ir.Node) -> Step | None:
        data = node.inputs[0]
        outputs = tuple(output for output in node.outputs if output.uses() or output.is_graph_output())
        return None if data is None or is_constant(data) else Step(kind, (node,), (data,), outputs)

    return view


def _binary(kind: str) -> Callable[[ir.Node], Step | None]:
    """View an op on several data; a constant among them is no data that an integer kernel takes."""

    def view(node: ir.Node) -> Step | None:
        data = tuple(value for value in node.inputs if value is not None)
        return None if any(map(is_constant, data)) else Step(kind, (node,), data, tuple(node.outputs))

    return view


def _max_pool(node: ir.Node) -> Step | None:
    return _unary("MaxPool")(node) if len(node.outputs) == 1 else None


def _resize(node: ir.Node) -> Step | None:
    nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    return _unary("Resize")(node) if nearest else None


def _hard_sigmoid(node: ir.Node) -> Step | None:
    return _unary("HardSigmoid")(node)


_VIEWS: dict[str, Callable[[ir.Node], Step | None]] = {
    "Conv": _conv,
    "Sigmoid": _sigmoid,
    "HardSwish": _unary("HardSwish"),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _unary("LeakyRelu"),
    "GlobalAveragePool": _unary("GlobalAveragePool"),
    "AveragePool": _unary("AveragePool"),
    "Add": _binary("Add"),
    "Mul": _binary("Mul"),
    "Concat": _binary("Concat"),
    "MaxPool": _max_pool,
    "Resize": _resize,
    **dict.fromkeys(MOVES, _unary("Move")),
}
"""By op, the function that views a node of it as a step."""
