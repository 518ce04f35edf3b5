"""Resize as it was before opset 11, by attributes of later opsets, which ONNX's converter leaves out.

    x_original = x_resized / scale        nearest: the floor of that where an axis grows, the ceiling where it shrinks

Source: ONNX Runtime's kernels of Upsample 7 and 9 and Resize 10; ONNX does not specify these versions.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import constant
from ..names import fresh_name

FIRST_WITH_MODES = 11
"""The first opset in which a Resize has an attribute for its coordinates."""


def convert_old_resizes(model: ir.Model) -> None:
    """Keep what each Resize of ``model`` computes, whose opset was raised from below `FIRST_WITH_MODES`."""
    for node in list(model.graph.all_nodes()):
        if node.op_type == "Resize" and node.domain == "" and "coordinate_transformation_mode" not in node.attributes:
            node.attributes["coordinate_transformation_mode"] = ir.AttrString(
                "coordinate_transformation_mode", "asymmetric"
            )
            if node.attributes.get_string("mode", "nearest") == "nearest":
                _round(node)


def _round(node: ir.Node) -> None:
    """Choose the rounding of a nearest Resize; one that both enlarges and shrinks axes becomes two."""
    scales, graph = _scales(node), node.graph
    shrinks = scales is not None and bool((scales < 1).any())
    node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "ceil" if shrinks else "floor")
    if scales is None or not shrinks or not (scales > 1).any() or not isinstance(graph, ir.Graph):
        return
    name = node.outputs[0].name
    upsampling = ir.node("Resize", list(node.inputs), dict(node.attributes), name=f"{node.name}.larger")
    upsampling.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
    upsampling.outputs[0].name = fresh_name(graph, f"{name}.larger")
    for part, factors in ((upsampling, np.maximum(scales, 1)), (node, np.minimum(scales, 1))):
        part.replace_input_with(2, constant(graph, factors, f"{name}.scales"))
    graph.insert_before(node, upsampling)
    node.replace_input_with(0, upsampling.outputs[0])


def _scales(node: ir.Node) -> NDArray[np.float32] | None:
    """Read the scales, unless they are computed at run time; the constant may still be a node."""
    tensor = ir.convenience.get_const_tensor(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    return None if tensor is None else tensor.numpy().astype(np.float32)
