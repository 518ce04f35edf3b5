"""Shape(x)[i] is a constant where dimension i of x is known, even if others are not.

Exporters compute sizes from shapes at run time; what depends on static dimensions alone (the size to which position
embeddings are resized, say) can be settled here, and then the engine settles what follows from it when it loads.
"""

import numpy as np
import onnx_ir as ir

from .constants import array, constant

Dims = list[int | ir.SymbolicDim]


class FoldStaticShapes(ir.passes.InPlacePass):
    """Replace every Shape, and every Gather or Slice of a Shape, whose dimensions are all static."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            dims, out = _dims(node), node.outputs[0]
            if dims is None or not all(isinstance(dim, int) for dim in dims):
                continue
            if out.is_graph_output() or not out.uses() or out.shape is None:
                continue
            data = np.array(dims, np.int64).reshape((-1,) if len(out.shape) else ())
            ir.convenience.replace_all_uses_with(out, constant(model.graph, data, f"{out.name}.static"))
            modified = True
        return ir.passes.PassResult(model, modified)


def _dims(node: ir.Node) -> Dims | None:
    """The dimensions that ``node`` picks out of a shape, or None when it does no such thing."""
    if node.op_type == "Shape":
        return _shape(node)
    if node.op_type not in _PICKS or node.inputs[0] is None or (source := node.inputs[0].producer()) is None:
        return None
    dims = _shape(source) if source.op_type == "Shape" else None
    return None if dims is None else _PICKS[node.op_type](node, dims)


def _shape(node: ir.Node) -> Dims | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    dims: Dims = list(value.shape)
    return dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))]


def _gathered(node: ir.Node, dims: Dims) -> Dims | None:
    indices = array(node.inputs[1])
    if indices is None or indices.ndim > 1:
        return None
    picked = [int(index) for index in indices.ravel()]
    return [dims[index] for index in picked] if all(-len(dims) <= index < len(dims) for index in picked) else None


def _sliced(node: ir.Node, dims: Dims) -> Dims | None:
    bounds = [array(value) for value in node.inputs[1:]]
    known = [int(bound.ravel()[0]) for bound in bounds if bound is not None and bound.size == 1]
    if len(known) < max(len(bounds), 2):
        return None
    step = known[3] if len(known) > 3 else 1
    return dims[known[0] : known[1] : step] if step > 0 else None


_PICKS = {"Gather": _gathered, "Slice": _sliced}
