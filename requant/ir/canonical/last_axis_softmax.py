"""A Softmax beside a Transpose, over the last axis:

    U(Softmax_k(T(x))) = B(Softmax₋₁(A(x)))        B ∘ A = U ∘ T, and A moves the axis to the end

Engines compute a Softmax over rows, and transpose before and behind one over another axis, in Transposes of their own
that merge with no other. Ultralytics' exports have one between a Transpose and a Conv (distribution focal loss).
"""

import logging
from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from ..ops import SOFTMAXES, is_op
from ..refusal import declined
from ..traverse import graphs_within, sole_use

_LOGGER = logging.getLogger(__name__)


class SoftmaxOverLastAxis(ir.passes.InPlacePass):
    """Let each Softmax with a Transpose before or behind it that nothing else reads compute over the last axis."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = [_move_axis(graph, node) for graph in graphs_within(model.graph) for node in graph]
        return ir.passes.PassResult(model, any(modified))


def _move_axis(graph: ir.Graph, softmax: ir.Node) -> bool:
    data, out = softmax.inputs[0] if softmax.inputs else None, softmax.outputs[0]
    if not is_op(softmax, SOFTMAXES) or data is None or data.shape is None or not data.shape:
        return False
    rank = len(data.shape)
    axis = softmax.attributes.get_int("axis", -1) % rank
    if axis == rank - 1:
        return False
    use = sole_use(out)
    before = _transpose(data.producer() if sole_use(data) is not None else None, rank)
    after = _transpose(use[0] if use is not None else None, rank)
    if before is None and after is None:
        declined(_LOGGER, softmax, "it is not over the last axis, and no Transpose beside it is its alone")
        return False
    first, last = _order(before, rank), _order(after, rank)
    order = [first[position] for position in last]
    nodes = [node for node in (before, softmax, after) if node is not None]
    new_nodes = _over_last_axis(softmax, nodes[0].inputs[0], first[axis], order)
    replace_nodes_and_values(graph, nodes[-1], nodes[::-1], new_nodes, nodes[-1].outputs, new_nodes[-1].outputs)
    return True


def _transpose(node: ir.Node | None, rank: int) -> ir.Node | None:
    """Return ``node`` if it is a Transpose of ``rank`` axes."""
    is_transpose = node is not None and is_op(node, frozenset({"Transpose"}))
    return node if is_transpose and sorted(_order(node, rank)) == [*range(rank)] else None


def _order(transpose: ir.Node | None, rank: int) -> Sequence[int]:
    """Return the permutation of a Transpose, or of none."""
    return range(rank) if transpose is None else transpose.attributes.get_ints("perm", range(rank)[::-1])


def _over_last_axis(softmax: ir.Node, data: ir.Value | None, axis: int, order: Sequence[int]) -> list[ir.Node]:
    """Build the ``softmax`` over ``axis`` of ``data``, with its axes in ``order`` behind it."""
    assert data is not None
    kept = sorted(order)
    rows = list(order) if order[-1] == axis else [*kept[:axis], *kept[axis + 1 :], axis]
    shape = None if data.shape is None else ir.Shape([data.shape[position] for position in rows])
    nodes, name = list[ir.Node](), softmax.name
    for op_type, attributes in (
        ("Transpose", {"perm": rows}),
        (softmax.op_type, {"axis": -1}),
        ("Transpose", {"perm": [rows.index(position) for position in order]}),
    ):
        if attributes.get("perm") != kept:
            node = ir.node(op_type, [data], attributes, name=f"{name}.{len(nodes)}" if "perm" in attributes else name)
            data = node.outputs[0]
            data.name, data.shape = f"{softmax.outputs[0].name}.{op_type.lower()}", shape
            data.type = softmax.outputs[0].type
            nodes.append(node)
    return nodes
