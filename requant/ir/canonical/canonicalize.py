"""The canonical form of a graph, so that the analysis has one case to handle.

Functions are inlined, constants are initializers, identities are eliminated, the layout of weights is folded, the opset
is at least 17, ops that ONNX Runtime fused are decomposed, decomposed LayerNorms are LayerNormalization nodes,
a HardSwish or HardSigmoid that is spelled out is one node, element-wise ops behind a Conv come before a Transpose,
a Softmax beside a Transpose is over the last axis, BatchNorms, scalars behind activations and constant factors behind
layers are folded into layers, and shapes are inferred.
"""

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants

from ...errors import SourceError
from ..collector import paused_collector
from ..constants import array
from ..load import reason
from ..names import forget_names, separate_values
from ..order import label
from ..quantized import holds_quantized_data, is_quantizer
from ..schema import require_schemas
from ..shapes.infer import InferShapes
from ..silence import quiet
from ..traverse import all_nodes
from ..unused import remove_unused
from .batch_norm import FoldBatchNorm
from .contrib import Unfuse
from .convert_opset import convert_opset, lowest_ir_version
from .fold_factors import FoldFactors
from .fold_scalars import FoldScalars
from .fuse_hard_swish import FuseHardSwish
from .fuse_norms import FuseNorms
from .invariant_states import CaptureInvariantStates
from .last_axis_softmax import SoftmaxOverLastAxis
from .opaque_nodes import drop_output_counts, hidden, necessary_identities, splits_at_run_time
from .product_forms import rewrite_products
from .sink_transposes import SinkTransposes
from .weight_expressions import fold_weights
from .weight_layout import DropLeadingAxes, FoldWeightLayout
from .zero_points import store_zero_points

LOWEST_OPSET = 17
"""LayerNormalization exists from here on, and per-channel DequantizeLinear since 13."""

LOWEST_IR = 8
"""The IR version that came with opset 17."""

_INLINE = ir.passes.Sequential(common.InlinePass())  # so that its errors are raised as PassError

_CLEAN = ir.passes.Sequential(
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    common.RemoveInitializersFromInputsPass(),
    common.IdentityEliminationPass(),
    common.NameFixPass(),
)


@paused_collector()
def canonicalize(model: ir.Model, opset: int = LOWEST_OPSET, *, finish: bool = False) -> None:
    """Bring ``model`` into canonical form, in place, at ``opset`` or above.

    With ``finish``, parts that are quantized already stay as they are; without, there may be compressed weights alone.

    Raises:
        SourceError: the model is quantized already, drops elements at random, cannot be converted, or is invalid.
    """
    if not finish:
        refuse_quantized(model)
    try:
        _rewrite(model, opset)
        refuse_random_dropout(model)
    except ir.passes.PassError as error:  # a function's opset is not the model's
        raise SourceError(f"the model cannot be brought into canonical form: {reason(error)}") from error


def _rewrite(model: ir.Model, opset: int) -> None:
    _clean(model)
    require_schemas(model, "the model")  # a function may pass on an input that its caller left out
    convert_opset(model, opset)
    CaptureInvariantStates()(model)
    _fold_constants(model)
    _detach_removed_nodes(model)
    _clean(model)
    products = rewrite_products(model)
    if products:
        InferShapes()(model)
    store_zero_points(model)
    DropLeadingAxes()(model)
    FuseNorms()(model)
    FuseHardSwish()(model)
    if SinkTransposes(products)(model).modified:
        DropLeadingAxes()(model)
    SoftmaxOverLastAxis()(model)
    FoldBatchNorm()(model)
    FoldScalars()(model)
    FoldFactors()(model)
    remove_unused(model)
    common.RemoveUnusedOpsetsPass()(model)
    common.TopologicalSortPass()(model)
    common.NameFixPass()(model)
    separate_values(model)
    forget_names(model.graph)
    model.ir_version = max(lowest_ir_version(model.graph.opset_imports.get("", 0)), LOWEST_IR)


def _detach_removed_nodes(model: ir.Model) -> None:
    """Detach nodes in bodies of an If that was folded: they still count as consumers of values outside."""
    nodes = set(model.graph.all_nodes())
    outputs = (value for node in nodes for value in node.outputs)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *outputs):
        for use in tuple(value.uses()):
            if use.node not in nodes:
                use.node.replace_input_with(use.idx, None)


def _fold_constants(model: ir.Model) -> None:
    """Decompose ONNX Runtime's own ops, infer every shape, and fold what is constant given the static ones."""
    infer, unfuse = InferShapes(), Unfuse()
    unfuse(model)
    infer(model)
    while unfuse(model).modified:  # ops that need types or ranks can be decomposed now
        infer(model)
    modified = FoldWeightLayout()(model).modified | _fold(model)
    while modified:
        modified = infer(model).modified
        _fold(model)


def _fold(model: ir.Model) -> bool:
    with quiet("onnxscript.optimizer"), hidden(model, _is_not_folded):
        modified = bool(fold_constants(model).modified)
    drop_output_counts(model)
    return fold_weights(model) | modified


def _is_not_folded(node: ir.Node) -> bool:
    return is_quantizer(node) or splits_at_run_time(node)


def _clean(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        node.name = node.name or node.outputs[0].name  # NameFixPass would call it "node_17"
    _INLINE(model)
    with hidden(model, necessary_identities(model).__contains__):
        _CLEAN(model)
    forget_names(model.graph)


def refuse_quantized(model: ir.Model) -> None:
    """Raise SourceError if ``model`` is quantized: the float model that requant starts from is lost."""
    for node in all_nodes(model):
        if holds_quantized_data(node):
            raise SourceError(
                f"the model is quantized already (node {label(node)!r} is a {node.op_type}); finish=True or --finish "
                "of optimize leaves what is quantized as it is and quantizes the rest"
            )


def refuse_random_dropout(model: ir.Model) -> None:
    """Raise SourceError if a Dropout of the canonical ``model`` is in training mode: no two runs would agree."""
    for node in model.graph.all_nodes():
        if node.op_type != "Dropout" or len(node.inputs) < 3:
            continue
        ratio, training = map(array, node.inputs[1:3])
        if training is not None and training.any() and (ratio is None or ratio.any()):
            raise SourceError(f"node {label(node)!r} is a Dropout in training mode: export the model for inference")
