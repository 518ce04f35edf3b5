"""Which nodes compute in float32 when the others compute in a half, and why.

float16 ends at 65504, has nothing between 0 and 6e-8, and counts to 2048 without gaps; bfloat16 counts to 256.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ...calib.collect import statistics
from ...ir.constants import array
from ...ir.norm_patterns import square_of
from .ranges import headroom, masks, misfit
from .scalar_paths import ahead, counting, summands
from .signatures import EXACT_SCALES, is_float, multiplies_codes, signature

Found = tuple[ir.Node, str]
"""A node, and why it computes in float32."""

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")

_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

_SUMS = frozenset(
    (
        *("CumSum", "GlobalLpPool", "LpNormalization", "LpPool", "MeanVarianceNormalization", "ReduceL1", "ReduceL2"),
        *("ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
    )
)
"""Ops whose result, or what they add up on the way to it, is larger than what they read."""

_INTEGER_PRODUCTS = ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger")
"""Ops whose sums of codes, and whose scales, make sense only together."""


def fp32_nodes(graph: ir.Graph, opset: int, dtype: ir.DataType, products: bool = True) -> dict[ir.Node, str]:
    """The nodes of ``graph`` that stay in float32 beside others in ``dtype``, in graph order, with the reasons.

    Without ``products`` of codes in ``dtype``, Convs between codes are among them.
    """
    found: dict[ir.Node, str] = {}
    for rule in _RULES if products else (*_RULES, _integer_convs):
        for node, reason in rule(graph, opset, dtype):
            found.setdefault(node, reason)
    _spread(found)
    return {node: found[node] for node in graph if node in found}


def _spread(found: dict[ir.Node, str]) -> None:
    """Let Q, DQ and what multiplies their values be of one type: a Cast between them would hide an integer product."""
    queue = list(found)
    for node in queue:
        joined = [other for other in node.predecessors() if other.op_type in _QUANTIZERS]
        joined += node.successors() if node.op_type in _QUANTIZERS else ()
        new = [other for other in dict.fromkeys(joined) if other not in found]
        found.update(dict.fromkeys(new, found[node]))
        queue += new


def _inexpressible(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for node in graph:
        types = signature(node, opset, dtype)
        found = () if types is None else (*types.inputs, *types.outputs)
        values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
        if any(attribute.type in _BODIES for attribute in node.attributes.values()):
            yield node, "it has a body, which stays as it is"
        elif types is None:
            yield node, f"ONNX does not say what types {node.op_type} takes"
        elif not types.tensors or any(not isinstance(value.type, ir.TensorType) for value in values):
            yield node, "not all that it reads and makes are tensors of known types"
        elif ir.DataType.FLOAT in found and dtype not in found and node.op_type not in ("Cast", *_QUANTIZERS):
            yield node, f"not every engine has a {node.op_type} in {_name(dtype)}"


def _ranges(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        seen = statistics(value)
        if seen is not None and (largest := float(seen.magnitude.max())) > headroom(dtype):
            producer = value.producer()
            nodes = [producer, *value.consumers()] if producer is not None else value.consumers()
            yield from ((node, f"{value.name} reaches {largest:g}, near the end of {_name(dtype)}") for node in nodes)


def _scales(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for node in graph:
        scale = array(node.inputs[1]) if node.op_type in _QUANTIZERS and is_float(node.inputs[1]) else None
        if scale is None or (opset >= EXACT_SCALES and multiplies_codes(node)):
            continue
        exact = scale.astype(np.float64)
        rounded = np.clip(exact, None, float(dtype.max)).astype(dtype.numpy()).astype(np.float64)
        off = np.where(rounded < float(dtype.tiny), np.inf, np.abs(rounded - exact) / exact)
        codes = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
        if (
            codes is not None
            and codes.dtype is not None
            and off.max() > max(_quarter_step(codes.dtype), float(dtype.eps) / 2)
        ):
            yield node, f"{_name(dtype)} has no number near its scale {exact.flat[off.argmax()]:g}"


def _quarter_step(codes: ir.DataType) -> float:
    """A quarter of the distance between the largest two codes, relative to them: a scale may be off by as much."""
    return float(codes.eps) / 8 if codes.is_floating_point() else 2.0 ** -(codes.bitwidth + 1)


def _integer_products(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for node in graph:
        if node.op_type in _INTEGER_PRODUCTS:
            yield from ((part, "it is part of an integer product") for part in ahead(node))


def _integer_convs(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for node in graph:
        if node.op_type == "Conv" and all(_is_dequantized(value) for value in node.inputs[:2]):
            yield from ((part, "it is part of an integer Conv") for part in _up_to_codes(node))


def _is_dequantized(value: ir.Value | None) -> bool:
    maker = value.producer() if value is not None else None
    return maker is not None and maker.op_type == "DequantizeLinear"


def _up_to_codes(conv: ir.Node) -> list[ir.Node]:
    """``conv`` and the nodes behind it that one kernel with it may be, up to the QuantizeLinear."""
    nodes = [conv]
    for node in nodes:
        if node.op_type != "QuantizeLinear":
            parts = ("Clip", "QuantizeLinear", "Relu")
            nodes += [consumer for consumer in node.successors() if consumer.op_type in parts and consumer not in nodes]
    return nodes


def _sums(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for node in graph:
        if not node.inputs or not is_float(node.inputs[0]):
            continue
        squares = node.op_type == "ReduceMean" and square_of(node.inputs[0]) is not None
        if squares or node.op_type in _SUMS:
            reason = "it is part of a norm" if squares else f"{_name(dtype)} is too narrow to add up in"
            yield from ((part, reason) for part in (*summands(node), *ahead(node)))


def _constants(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    infinite = masks(graph)
    for value, tensor, consumers in _stored(graph):
        number = misfit(tensor, dtype) if is_float(value) else None
        if number is None or (abs(number) > 1 and value in infinite):
            continue
        for node, position in consumers:
            bounds = node.op_type in ("Max", "Min") or (node.op_type == "Clip" and position > 0)
            if node.op_type not in _QUANTIZERS and not (abs(number) > 1 and bounds):
                yield from ((part, f"{_name(dtype)} has no number near its {number:g}") for part in ahead(node))


def _stored(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.TensorProtocol, list[tuple[ir.Node, int]]]]:
    """Every constant with those who read it; ConstantOfShape is said to read its own."""
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield value, value.const_value, [(node, position) for node, position in value.uses()]
    for node in graph:
        filling = node.attributes.get("value") if node.op_type == "ConstantOfShape" else None
        if filling is not None:
            yield node.outputs[0], filling.as_tensor(), [(node, 0)]


def _positions(graph: ir.Graph, opset: int, dtype: ir.DataType) -> Iterator[Found]:
    for node in graph:
        types = signature(node, opset, dtype)
        for value, narrow in zip(node.inputs, types.inputs if types is not None else (), strict=False):
            exact = node.op_type in ("Sin", "Cos") or narrow == ir.DataType.FLOAT or _makes_integers(node)
            counted = counting(value) if exact and value is not None and is_float(value) else None
            if counted is not None:
                angle = [node] if node.op_type in ("Sin", "Cos") else []
                yield from ((part, "it computes positions or sizes") for part in (*counted, *angle))


def _makes_integers(node: ir.Node) -> bool:
    return node.op_type == "Cast" and node.outputs[0].dtype is not None and node.outputs[0].dtype.is_integer()


def _name(dtype: ir.DataType) -> str:
    return dtype.name.lower()


_RULES = (_inexpressible, _ranges, _scales, _integer_products, _sums, _constants, _positions)
