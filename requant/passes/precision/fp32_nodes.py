"""Nodes that stay in float32 in a graph of mixed precision, with the reasons.

float16 ends at 65504, has nothing between 0 and 6e-8, and counts to 2048 without gaps; bfloat16 counts to 256.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ...calib.collect import statistics
from ...ir.constants import array
from ...ir.float_types import ComputedTypes
from ...ir.norm_patterns import square_of
from ...ir.ops import CLIPPING, DYNAMIC_QUANTIZERS, EXTREMA, INTEGER_PRODUCTS, LP_NORMS, QUANTIZERS, SUMS, TRIGONOMETRIC
from .ranges import headroom, masks, misfit, stored_constants
from .scalar_paths import ahead, counting, summands
from .signatures import EXACT_SCALES, is_float, scales_integer_product, signature

NodeReason = tuple[ir.Node, str]
"""A node, and the reason why it computes in float32."""

_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

_ALONE = frozenset({"CumSum", "MeanVarianceNormalization", "ReduceProd"})  # each the only op of its kind
_ACCUMULATIONS = SUMS | LP_NORMS | _ALONE
"""Ops whose result, or an intermediate sum, is larger than the inputs."""

_DYNAMIC_PRODUCTS = INTEGER_PRODUCTS | DYNAMIC_QUANTIZERS
"""Ops whose integer sums and scales make sense only together."""


def fp32_nodes(
    graph: ir.Graph, opset: int, dtype: ir.DataType, computed: ComputedTypes, *, products: bool = True
) -> dict[ir.Node, str]:
    """Return the nodes of ``graph`` that stay in float32 beside others in ``dtype``, in graph order, with the reasons.

    Nodes that the file has have the types of the file, ``computed`` (see `requant.ir.float_types`), wherever an engine
    has the op in that type and the values fit. Without integer ``products`` in ``dtype``, integer Convs are among them.
    """
    narrow = {node for node in graph if _file_type(node, computed) == dtype}
    reasons = dict(_as_in_file(graph, computed))
    for rule in _RULES if products else (*_RULES, _integer_convs):
        for node, reason in rule(graph, opset, dtype):
            if rule not in _PRECAUTIONS or node not in narrow:
                reasons.setdefault(node, reason)
    _spread(reasons)
    return {node: reasons[node] for node in graph if node in reasons}


def _as_in_file(graph: ir.Graph, computed: ComputedTypes) -> Iterator[NodeReason]:
    """Yield the nodes that the file has in float32, but for masks, in which a half needs smaller numbers."""
    infinite = masks(graph)
    for node in graph:
        is_wide = _file_type(node, computed) == ir.DataType.FLOAT and node.op_type != "Cast"
        if is_wide and not infinite.intersection(node.outputs):
            yield node, "it is in float32 in the file"


def _file_type(node: ir.Node, computed: ComputedTypes) -> ir.DataType | None:
    """Return the type that ``node`` computes in the file; None where the file has another op in its place, or none."""
    op_type, dtype = computed.get(node.outputs[0].name or "", ("", None))
    return dtype if op_type == node.op_type else None


def _spread(reasons: dict[ir.Node, str]) -> None:
    """Give Q, DQ and the nodes between them one type: a Cast between them would hide an integer product."""
    queue = list(reasons)
    for node in queue:
        neighbours = [before for before in node.predecessors() if before.op_type in QUANTIZERS]
        neighbours += node.successors() if node.op_type in QUANTIZERS else ()
        additions = [neighbour for neighbour in dict.fromkeys(neighbours) if neighbour not in reasons]
        reasons.update(dict.fromkeys(additions, reasons[node]))
        queue += additions


def _inexpressible(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for node in graph:
        types = signature(node, opset, dtype)
        dtypes = () if types is None else (*types.inputs, *types.outputs)
        values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
        if any(attribute.type in _BODIES for attribute in node.attributes.values()):
            yield node, "its subgraph is not converted"
        elif types is None:
            yield node, f"ONNX has no schema of {node.op_type}"
        elif not types.tensors or any(not isinstance(value.type, ir.TensorType) for value in values):
            yield node, "some of its inputs or outputs are not tensors of known types"
        elif ir.DataType.FLOAT in dtypes and dtype not in dtypes and node.op_type not in ("Cast", *QUANTIZERS):
            yield node, f"not every engine has a {node.op_type} in {_name(dtype)}"


def _ranges(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        stats = statistics(value)
        if stats is not None and (largest := float(stats.magnitude.max())) > headroom(dtype):
            producer = value.producer()
            nodes = [producer, *value.consumers()] if producer is not None else value.consumers()
            yield from (
                (node, f"{value.name} reaches {largest:g}, near the largest {_name(dtype)} number") for node in nodes
            )


def _scales(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for node in graph:
        scale = array(node.inputs[1]) if node.op_type in QUANTIZERS and is_float(node.inputs[1]) else None
        if scale is None or (opset >= EXACT_SCALES and scales_integer_product(node)):
            continue
        reference = scale.astype(np.float64)
        half = np.clip(reference, None, float(dtype.max)).astype(dtype.numpy()).astype(np.float64)
        least = float(dtype.tiny) if node.op_type == "QuantizeLinear" else 0.0  # engines multiply by its inverse
        off = np.where(half < least, np.inf, np.abs(half - reference) / reference)
        integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
        if (
            integers is not None
            and integers.dtype is not None
            and off.max() > max(_quarter_step(integers.dtype), float(dtype.eps) / 2)
        ):
            yield node, f"its scale {reference.flat[off.argmax()]:g} is not representable in {_name(dtype)}"


def _quarter_step(dtype: ir.DataType) -> float:
    """Return a quarter of the largest quantized step, relative to its ends: a scale may be off by as much."""
    return float(dtype.eps) / 8 if dtype.is_floating_point() else 2.0 ** -(dtype.bitwidth + 1)


def _integer_products(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for node in graph:
        if node.op_type in _DYNAMIC_PRODUCTS:
            yield from ((part, "it is part of an integer product") for part in ahead(node))


def _integer_convs(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for node in graph:
        if node.op_type == "Conv" and all(_is_dequantized(value) for value in node.inputs[:2]):
            yield from ((part, "it is part of an integer Conv") for part in _up_to_quantizer(node))


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"


def _up_to_quantizer(conv: ir.Node) -> list[ir.Node]:
    """Return ``conv`` and the nodes behind it that may be one kernel with it, up to the QuantizeLinear."""
    nodes = [conv]
    for node in nodes:
        if node.op_type != "QuantizeLinear":
            fused = [consumer for consumer in node.successors() if consumer.op_type in CLIPPING | {"QuantizeLinear"}]
            nodes += [consumer for consumer in fused if consumer not in nodes]
    return nodes


def _sums(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for node in graph:
        if not node.inputs or not is_float(node.inputs[0]):
            continue
        squares = node.op_type == "ReduceMean" and square_of(node.inputs[0]) is not None
        if squares or node.op_type in _ACCUMULATIONS:
            reason = "it is part of a norm" if squares else f"its sum may exceed the range of {_name(dtype)}"
            yield from ((part, reason) for part in (*summands(node), *ahead(node)))


def _constants(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    infinite = masks(graph)
    for value, tensor, consumers in stored_constants(graph):
        number = misfit(tensor, dtype) if is_float(value) else None
        if number is None or (abs(number) > 1 and value in infinite):
            continue
        for node, position in consumers:
            bounds = node.op_type in EXTREMA or (node.op_type == "Clip" and position > 0)
            if node.op_type not in QUANTIZERS and not (abs(number) > 1 and bounds):
                yield from (
                    (part, f"its constant {number:g} is not representable in {_name(dtype)}") for part in ahead(node)
                )


def _positions(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[NodeReason]:
    for node in graph:
        types = signature(node, opset, dtype)
        for value, input_type in zip(node.inputs, types.inputs if types is not None else (), strict=False):
            keeps_float32 = node.op_type in TRIGONOMETRIC or input_type == ir.DataType.FLOAT or _makes_integers(node)
            counters = counting(value) if keeps_float32 and value is not None and is_float(value) else None
            if counters is not None:
                angle = [node] if node.op_type in TRIGONOMETRIC else []
                yield from ((part, "it computes positions or sizes") for part in (*counters, *angle))


def _makes_integers(node: ir.Node) -> bool:
    return node.op_type == "Cast" and node.outputs[0].dtype is not None and node.outputs[0].dtype.is_integer()


def _name(dtype: ir.DataType) -> str:
    return dtype.name.lower()


_PRECAUTIONS = (_sums, _constants, _positions)
"""Rules about what a narrow type might lose, which the file has lost where it computes in that type."""

_RULES = (_inexpressible, _ranges, _scales, _integer_products, *_PRECAUTIONS)
