"""The opset of a model, and the IR version that goes with it."""

import onnx
import onnx_ir as ir
from onnxscript.version_converter import ConvertVersionPass

from ...errors import SourceError
from ..silence import quiet
from .old_resize import FIRST_WITH_MODES, convert_old_resizes
from .opaque_nodes import ahead_of_its_opset, hidden


def convert_opset(model: ir.Model, version: int) -> bool:
    """Convert ``model`` in place to opset ``version`` if it is below.

    Returns True if it was below. The nodes and values may be other objects afterwards.

    Raises:
        SourceError: the opset cannot be converted.
    """
    opset = model.graph.opset_imports.setdefault("", version)  # a model may have no standard ops
    if opset >= version:
        return False
    with quiet("onnxscript.version_converter"), hidden(model, ahead_of_its_opset):
        try:
            ConvertVersionPass(target_version=version, fallback=True)(model)
        except RuntimeError as error:  # onnxscript's VersionConverterError, which is not public
            raise SourceError(f"the model's opset {opset} cannot be converted to {version} ({error})") from error
    if model.graph.opset_imports.get("") != version:
        raise SourceError(f"the model's opset {opset} cannot be converted to {version}")
    if opset < FIRST_WITH_MODES:
        convert_old_resizes(model)
    return True


def lowest_ir_version(opset: int) -> int:
    """Return the IR version of the first ONNX release that had ``opset``."""
    versions = {row[2]: row[1] for row in reversed(onnx.helper.VERSION_TABLE)}
    return versions.get(opset, max(versions.values()))
