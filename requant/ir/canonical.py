"""One spelling for every graph, so that the analysis has one case to understand.

Functions are inlined, constants are initializers, identities are gone, the layout of weights is settled, the
opset is at least 17, decomposed LayerNorms are LayerNormalization nodes, and shapes are inferred.
"""

import logging
from collections.abc import Callable
from itertools import chain

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants
from onnxscript.version_converter import ConvertVersionPass

from ..errors import SourceError
from .constants import constant, is_constant, lazily
from .load import reason
from .norms import FuseLayerNorm
from .static_shapes import FoldStaticShapes

LOWEST_OPSET = 17
"""LayerNormalization exists from here on, and per-channel DequantizeLinear since 13."""

LOWEST_IR = 8
"""The IR version that came with opset 17."""

_QUANTIZED = (
    "QuantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "MatMulInteger",
    "ConvInteger",
)

_CLEAN = ir.passes.Sequential(
    common.InlinePass(),
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    common.RemoveInitializersFromInputsPass(),
    common.IdentityEliminationPass(),
    common.NameFixPass(),
)


def canonicalize(model: ir.Model) -> None:
    """Bring ``model`` into canonical form, in place.

    Raises:
        SourceError: the model is quantized already, its opset cannot be converted, or it is malformed.
    """
    refuse_quantized(model)
    try:
        _rewrite(model)
    except SourceError:
        raise
    except Exception as error:  # what a malformed graph makes the passes stumble over can be anything
        raise SourceError(f"the model cannot be brought into canonical form: {reason(error)}") from error


def _rewrite(model: ir.Model) -> None:
    _clean(model)
    _raise_opset(model)
    infer = common.ShapeInferencePass(strict_mode=False)
    infer(model)
    FoldWeightLayout()(model)
    fold_constants(model)
    while FoldStaticShapes()(model).modified:
        fold_constants(model)
        infer(model)
    _clean(model)
    FuseLayerNorm()(model)
    common.RemoveUnusedNodesPass()(model)
    common.TopologicalSortPass()(model)
    infer(model)
    model.ir_version = max(lowest_ir_version(model.graph.opset_imports.get("", 0)), LOWEST_IR)


def _clean(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        node.name = node.name or node.outputs[0].name  # NameFixPass would call it "node_17"
    _CLEAN(model)


def refuse_quantized(model: ir.Model) -> None:
    """Raise SourceError if ``model`` computes in integers: there is no float function left to keep."""
    for node in chain(model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values())):
        if node.op_type in _QUANTIZED:
            raise SourceError(f"the model is quantized already (node {node.name!r} is a {node.op_type})")


def lowest_ir_version(opset: int) -> int:
    """The IR version of the first ONNX release that had ``opset``."""
    versions = {row[2]: row[1] for row in reversed(onnx.helper.VERSION_TABLE)}
    return versions.get(opset, max(versions.values()))


def _raise_opset(model: ir.Model) -> None:
    opset = model.graph.opset_imports.get("", 1)
    if opset >= LOWEST_OPSET:
        return
    logger = logging.getLogger("onnxscript.version_converter")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of the C++ converter, which is the one that knows old opsets
    try:
        ConvertVersionPass(target_version=LOWEST_OPSET, fallback=True)(model)
    finally:
        logger.setLevel(level)
    if model.graph.opset_imports.get("") != LOWEST_OPSET:
        raise SourceError(f"the model's opset {opset} cannot be converted to {LOWEST_OPSET}")


class FoldWeightLayout(ir.passes.InPlacePass):
    """Transpose, Cast and Reshape of an initializer become an initializer, computed when it is read."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in graph:
                if node.op_type in _LAYOUT and is_constant(node.inputs[0]):
                    modified |= _fold(graph, node)
        return ir.passes.PassResult(model, modified)


def _fold(graph: ir.Graph | ir.Function, node: ir.Node) -> bool:
    source, out = node.inputs[0], node.outputs[0]
    if source is None or source.const_value is None or out.is_graph_output() or not isinstance(graph, ir.Graph):
        return False
    tensor = _LAYOUT[node.op_type](node, source.const_value)
    if tensor is None:
        return False
    ir.convenience.replace_all_uses_with(out, constant(graph, tensor, f"{out.name}.folded"))
    graph.remove(node, safe=True)
    return True


def _transposed(node: ir.Node, tensor: ir.TensorProtocol) -> ir.LazyTensor:
    shape = tensor.shape.numpy()
    order = node.attributes.get_ints("perm", tuple(reversed(range(len(shape)))))
    return lazily(lambda weight: weight.transpose(order), tensor, shape=tuple(shape[axis] for axis in order))


def _cast(node: ir.Node, tensor: ir.TensorProtocol) -> ir.LazyTensor:
    return lazily(lambda weight: weight, tensor, dtype=ir.DataType(node.attributes.get_int("to", 0)))


def _reshaped(node: ir.Node, tensor: ir.TensorProtocol) -> ir.LazyTensor | None:
    """PaddlePaddle reshapes γ by a slice of x's shape, which is static although it is computed."""
    shape = node.outputs[0].shape
    if shape is None or not shape.is_static():
        return None
    return lazily(lambda weight: weight.reshape(shape.numpy()), tensor, shape=shape.numpy())


_LAYOUT: dict[str, Callable[[ir.Node, ir.TensorProtocol], ir.LazyTensor | None]] = {
    "Transpose": _transposed,
    "Cast": _cast,
    "Reshape": _reshaped,
}
