"""One spelling for every graph, so that the analysis has one case to understand.

Functions are inlined, constants are initializers, identities are gone, the layout of weights is settled, the
opset is at least 17, what ONNX Runtime fused is spelled out, decomposed LayerNorms are LayerNormalization nodes,
BatchNorms are folded into the layers beside them, behind a Conv they are before a Transpose, and shapes are known.
"""

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants

from ...errors import SourceError
from ..load import reason
from ..names import forget_names
from ..schema import require_schemas
from ..shapes.infer import InferShapes
from ..silence import quiet
from .batch_norm import FoldBatchNorm
from .contrib import Unfuse
from .convert_opset import convert_opset, lowest_ir_version
from .fuse_norms import FuseNorms
from .opaque_nodes import all_nodes, hidden, necessary_identities, splits_at_run_time
from .sink_transposes import SinkTransposes
from .weight_expressions import fold_weights
from .weight_layout import DropLeadingAxes, FoldWeightLayout

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
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "QAttention",
    "QGemm",
)

_INLINE = ir.passes.Sequential(common.InlinePass())  # which tells of its errors as PassError

_CLEAN = ir.passes.Sequential(
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    common.RemoveInitializersFromInputsPass(),
    common.IdentityEliminationPass(),
    common.NameFixPass(),
)


def canonicalize(model: ir.Model, opset: int = LOWEST_OPSET) -> None:
    """Bring ``model`` into canonical form, in place, at ``opset`` or above.

    Raises:
        SourceError: the model is quantized already, its opset cannot be converted, or it is malformed.
    """
    refuse_quantized(model)
    try:
        _rewrite(model, opset)
    except ir.passes.PassError as error:  # functions whose opset is not the model's
        raise SourceError(f"the model cannot be brought into canonical form: {reason(error)}") from error


def _rewrite(model: ir.Model, opset: int) -> None:
    _clean(model)
    require_schemas(model, "the model")  # a function may hand on an input that its caller left out
    convert_opset(model, opset)
    _settle(model)
    _clean(model)
    DropLeadingAxes()(model)
    FuseNorms()(model)
    SinkTransposes()(model)
    FoldBatchNorm()(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    common.TopologicalSortPass()(model)
    common.NameFixPass()(model)
    forget_names(model.graph)
    _forget_the_dead(model)
    model.ir_version = max(lowest_ir_version(model.graph.opset_imports.get("", 0)), LOWEST_IR)


def _forget_the_dead(model: ir.Model) -> None:
    """Nodes in the bodies of an If that was folded away still count as consumers of what they captured."""
    alive = set(model.graph.all_nodes())
    made = (value for node in alive for value in node.outputs)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *made):
        for use in tuple(value.uses()):
            if use.node not in alive:
                use.node.replace_input_with(use.idx, None)


def _settle(model: ir.Model) -> None:
    """Spell out foreign ops, know every shape, and compute what follows from the static ones."""
    infer, unfuse = InferShapes(), Unfuse()
    unfuse(model)
    infer(model)
    while unfuse(model).modified:  # what needs types or ranks can be spelled out now
        infer(model)
    modified = FoldWeightLayout()(model).modified | _fold(model)
    while modified:
        modified = infer(model).modified
        _fold(model)


def _fold(model: ir.Model) -> bool:
    with quiet("onnxscript.optimizer"), hidden(model, splits_at_run_time):
        return bool(fold_constants(model).modified) | fold_weights(model)


def _clean(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        node.name = node.name or node.outputs[0].name  # NameFixPass would call it "node_17"
    _INLINE(model)
    with hidden(model, necessary_identities(model).__contains__):
        _CLEAN(model)
    forget_names(model.graph)


def refuse_quantized(model: ir.Model) -> None:
    """Raise SourceError if ``model`` computes in integers: there is no float function left to keep."""
    for node in all_nodes(model):
        if node.op_type in _QUANTIZED:
            raise SourceError(f"the model is quantized already (node {node.name!r} is a {node.op_type})")
