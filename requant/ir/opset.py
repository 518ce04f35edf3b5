"""Raising a model's opset without forgetting what its values know."""

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from .canonical.convert_opset import convert_opset, lowest_ir_version
from .canonical.shapes import InferShapes


def raise_opset(model: ir.Model, version: int) -> bool:
    """Convert ``model`` in place to opset ``version``, and its IR version with it; says whether it was below.

    The nodes and values are other objects afterwards; those that kept their names keep their `meta`.

    Raises:
        SourceError: the opset cannot be converted.
    """
    nodes = {node.name: node.meta for node in model.graph}
    values = {name: value.meta for name, value in ir.convenience.create_value_mapping(model.graph).items()}
    if not convert_opset(model, version):
        return False
    for node in model.graph:
        node.meta.update(nodes.get(node.name, {}))
    for name, value in ir.convenience.create_value_mapping(model.graph).items():
        value.meta.update(values.get(name, {}))
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    InferShapes()(model)
    model.ir_version = max(model.ir_version, lowest_ir_version(version))
    return True
