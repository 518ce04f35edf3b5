"""Kernels: what an engine can run as one kernel that reads integers and writes integers.

    y = Conv(x), with the Relu or Clip behind it      y = x · Sigmoid(x)      y = HardSwish(x)      y = a + b      …

Between kernels, values can go as integers. `requant.ir.linear` is the view of products alone; a kernel may be any node.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from .activated import activated
from .constants import constant_shape, is_constant
from .linear import Linear, as_linear
from .ops import BLOCKING, LAYOUT, SLICING, is_op
from .scaled_hard_swish import as_scaled_hard_swish
from .traverse import nodes_within, reachable, sole_use

MOVES = (LAYOUT - BLOCKING - {"Identity"}) | SLICING
"""Ops on one input whose integer form is the op itself, on integers."""


@dataclass(frozen=True)
class Kernel:
    """Nodes that are one kernel on integers: of ``kind``, from the data ``inputs`` to ``outputs``.

    ``linear`` is the view of a Conv. A kernel that ``moves`` only picks and moves elements, so that its inputs and
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
    def values(self) -> tuple[ir.Value, ...]:
        """All values that go as integers where it runs on integers."""
        return (*self.inputs, *self.outputs)


def find_kernels(graph: ir.Graph) -> list[Kernel]:
    """Return the kernels of ``graph`` and the bodies within that values link to a Conv; no node is in two of them.

    Left out is what reads a value that a kernel of another graph writes: engines fuse nodes of one graph.
    """
    kernels, members = list[Kernel](), set[ir.Node]()
    for node in nodes_within(graph):
        if node not in members and (kernel := as_kernel(node)) is not None:
            members.update(kernel.nodes)
            kernels.append(kernel)
    owners = {value: kernel.nodes[0].graph for kernel in kernels for value in kernel.outputs}
    within = [
        kernel
        for kernel in kernels
        if all(owners.get(value, kernel.nodes[0].graph) is kernel.nodes[0].graph for value in kernel.inputs)
    ]
    return _linked_to_convs(within)


def _linked_to_convs(kernels: list[Kernel]) -> list[Kernel]:
    """Return those of ``kernels`` that share a value with a Conv, or with one that does, and so on."""
    by_value: dict[ir.Value, list[Kernel]] = {}
    for kernel in kernels:
        for value in kernel.values:
            by_value.setdefault(value, []).append(kernel)
    convs = (value for kernel in kernels if kernel.linear is not None for value in kernel.values)
    linked = set(reachable(convs, lambda value: (other for kernel in by_value[value] for other in kernel.values)))
    return [kernel for kernel in kernels if linked.issuperset(kernel.values)]


def moved_together(kernels: Iterable[Kernel]) -> dict[ir.Value, list[ir.Value]]:
    """Return, for each value of ``kernels``, the values that are moved into it and that it is moved into."""
    group_of: dict[ir.Value, list[ir.Value]] = {}
    for kernel in kernels:
        for value in kernel.values:
            group_of.setdefault(value, [value])
        for value in kernel.values[1:] if kernel.moves else ():
            group, other = group_of[kernel.values[0]], group_of[value]
            if group is not other:
                group += other
                group_of.update(dict.fromkeys(other, group))
    return group_of


def readers(kernels: Iterable[Kernel]) -> dict[ir.Value, list[Kernel]]:
    """Return the kernels that read each value, each once."""
    by_value: dict[ir.Value, list[Kernel]] = {}
    for kernel in kernels:
        for value in dict.fromkeys(kernel.inputs):
            by_value.setdefault(value, []).append(kernel)
    return by_value


def as_kernel(node: ir.Node) -> Kernel | None:
    """View ``node`` and what belongs to it as a kernel, or return None."""
    view = _VIEWS.get(node.op_type) if node.domain == "" else None
    return None if view is None else view(node)


def _conv(node: ir.Node) -> Kernel | None:
    linear = as_linear(node)
    if linear is None:
        return None
    output = activated(linear)
    activation = output.producer()
    nodes = (node,) if activation is node or activation is None else (node, activation)
    return Kernel("Conv", nodes, (linear.data,), (output,), linear)


def _sigmoid(node: ir.Node) -> Kernel | None:
    """View Sigmoid(x) as a kernel, with the product x · Sigmoid(x) where that alone reads it."""
    use, data = sole_use(node.outputs[0]), node.inputs[0]
    if use is not None and data is not None and is_op(use[0], frozenset({"Mul"})) and data in use[0].inputs:
        return Kernel("Silu", (node, use[0]), (data,), tuple(use[0].outputs))
    return _unary("Sigmoid")(node)


def _unary(kind: str) -> Callable[[ir.Node], Kernel | None]:
    def view(node: ir.Node) -> Kernel | None:
        data = node.inputs[0]
        outputs = tuple(output for output in node.outputs if output.uses() or output.is_graph_output())
        return None if data is None or is_constant(data) else Kernel(kind, (node,), (data,), outputs)

    return view


def _binary(kind: str) -> Callable[[ir.Node], Kernel | None]:
    """View an op on several data. A number among its operands is exact as an integer; other constants are not."""

    def view(node: ir.Node) -> Kernel | None:
        operands = [value for value in node.inputs if value is not None]
        data = tuple(value for value in operands if not is_constant(value))
        constants = [value for value in operands if is_constant(value)]
        if not data or any(kind == "Concat" or not _is_number(value, data[0]) for value in constants):
            return None
        return Kernel(kind, (node,), data, tuple(node.outputs))

    return view


def _is_number(value: ir.Value, data: ir.Value) -> bool:
    """Tell whether the constant ``value`` has one element, and would add no axis to ``data``."""
    shape = constant_shape(value)
    return prod(shape) == 1 and (not shape or (data.shape is not None and len(shape) <= len(data.shape)))


def _product(node: ir.Node) -> Kernel | None:
    """View a Mul as a kernel, with what else is in a HardSwish of scaled data where it scales them back."""
    activation = as_scaled_hard_swish(node)
    if activation is None:
        return _binary("Mul")(node)
    return Kernel("HardSwish", activation.nodes, (activation.data,), tuple(activation.nodes[-1].outputs))


def _max_pool(node: ir.Node) -> Kernel | None:
    return _unary("MaxPool")(node) if len(node.outputs) == 1 else None


def _resize(node: ir.Node) -> Kernel | None:
    """View a Resize as a kernel where each element of its output is one of its data."""
    mode, places = (node.attributes.get_string(name, "") for name in ("mode", "coordinate_transformation_mode"))
    return _unary("Resize")(node) if mode in ("", "nearest") and places != "tf_crop_and_resize" else None


def _hard_sigmoid(node: ir.Node) -> Kernel | None:
    """View clip(α x + β, 0, 1) as a kernel where α and β are positive, which become scales of integers."""
    alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return _unary("HardSigmoid")(node) if alpha > 0 and beta > 0 else None


_VIEWS: dict[str, Callable[[ir.Node], Kernel | None]] = {
    "Conv": _conv,
    "Sigmoid": _sigmoid,
    "HardSwish": _unary("HardSwish"),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _unary("LeakyRelu"),
    "GlobalAveragePool": _unary("GlobalAveragePool"),
    "AveragePool": _unary("AveragePool"),
    "Add": _binary("Add"),
    "Mul": _product,
    "Concat": _binary("Concat"),
    "MaxPool": _max_pool,
    "Resize": _resize,
    **dict.fromkeys(MOVES, _unary("Move")),
}
"""By op, the function that views a node of it as a kernel."""
