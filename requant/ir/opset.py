"""Another opset for a model: raised with the metadata of its values kept, or lowered where no operator changed."""

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnx_ir.schemas import OpSignature, Parameter

from ..errors import TargetError
from .canonical.convert_opset import convert_opset, lowest_ir_version
from .shapes.infer import InferShapes


def raise_opset(model: ir.Model, version: int) -> bool:
    """Convert ``model`` in place to opset ``version``, and its IR version with it.

    Returns True if the opset was below.

    The nodes and values are other objects afterwards; those that kept their names keep their `meta`.

    Raises:
        SourceError: the opset cannot be converted.
    """
    nodes = {node.name: node.meta for node in model.graph.all_nodes()}
    values = {name: value.meta for name, value in ir.convenience.create_value_mapping(model.graph).items()}
    if not convert_opset(model, version):
        return False
    for node in model.graph.all_nodes():
        node.meta.update(nodes.get(node.name, {}))
    for name, value in ir.convenience.create_value_mapping(model.graph).items():
        value.meta.update(values.get(name, {}))
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    InferShapes()(model)
    model.ir_version = max(model.ir_version, lowest_ir_version(version))
    return True


def lower_opset(model: ir.Model, highest: int, highest_ir: int) -> None:
    """Declare ``model``, which has no functions, to be of opset ``highest`` and IR version ``highest_ir`` at most.

    Raises:
        TargetError: an operator of the model was added later, or changed in what it computes.
    """
    opset = model.opset_imports.get("", 1)
    if opset > highest:
        for node in model.graph.all_nodes():
            if node.domain == "" and not _is_defined(node, opset, highest):
                raise TargetError(
                    f"the engine supports opset {highest} at most, which lacks {node.op_type} as of opset {opset}"
                )
        model.opset_imports[""] = highest
    if opset > highest or model.ir_version > highest_ir:
        model.ir_version = min(model.ir_version, highest_ir)


def _is_defined(node: ir.Node, opset: int, lower: int) -> bool:
    """Tell whether ``node`` computes the same at the ``lower`` opset as at ``opset``: later versions only add types."""
    if not onnx.defs.has(node.op_type):  # the engine's own, which it knows at every opset
        return True
    try:
        newer, older = (onnx.defs.get_schema(node.op_type, version, "") for version in (opset, lower))
    except onnx.defs.SchemaError:
        return False
    if newer.since_version == older.since_version:
        return True
    signature = OpSignature.from_op_schema(older)
    sides = ((node.inputs, signature.inputs), (node.outputs, signature.outputs))
    return node.attributes.keys() <= older.attributes.keys() and all(_accept(*side) for side in sides)


def _accept(values: Sequence[ir.Value | None], parameters: Sequence[Parameter]) -> bool:
    """Tell whether ``parameters``, of which the last may be variadic, allow the types of ``values``."""
    last = len(parameters) - 1
    return all(
        value is None or value.type is None or value.type in parameters[min(index, last)].type_constraint.allowed_types
        for index, value in enumerate(values)
    )
