"""Scalar paths: the parts of a graph that compute few numbers, such as a norm's, and not data.

ahead      Σ x² → + ε → √ → x / √      from a sum to where it meets the data again
summands   x - mean x → (x - mean x)² → Σ
counting   Range → · ω → sin           from integers to what is made of them
"""

import onnx_ir as ir

from ...ir.constants import is_constant
from ...ir.linear import as_linear
from ...ir.norm_patterns import square_of
from ...ir.ops import (
    ADDITIVE,
    ARITHMETIC,
    BLOCKING,
    CLIPPING,
    CONVERSIONS,
    EXPONENTIALS,
    EXTREMA,
    MOVEMENT,
    POINT_GATHERS,
    POWERS,
    ROUNDING,
    SHAPED,
    SIGN_CHANGES,
    SQUARES,
    UNIT_AXES,
)
from ...ir.traverse import reachable
from .signatures import is_float

PLAIN_MOVEMENT = MOVEMENT - BLOCKING - POINT_GATHERS - {"Flatten"}
"""Ops that move numbers; those of images and of scattered elements are about data."""

_FORMULAS = ARITHMETIC | EXTREMA | CLIPPING | SIGN_CHANGES | POWERS | (EXPONENTIALS - {"Exp"})
_SCALAR = _FORMULAS | SHAPED | UNIT_AXES | (CONVERSIONS - {"Identity"})
"""Ops between a sum and the data that it is applied to: formulas of norms, and the layouts that one number has."""

_PRODUCTS = frozenset({"CumSum", "Einsum", "MatMul", "Range", "Where"})  # what exporters write, so no trait
"""Ops of products of positions with frequencies."""

_COUNTING = _SCALAR | PLAIN_MOVEMENT | EXPONENTIALS | (ROUNDING - {"Sign"}) | {"Mod"} | _PRODUCTS
"""Ops that compute positions and sizes."""

_DIFFERENCES = (ADDITIVE - {"Add"}) | (SIGN_CHANGES - {"Neg"})
"""Ops that compute a difference, or its magnitude."""


def ahead(start: ir.Node) -> list[ir.Node]:
    """Return ``start`` and what is computed from its result alone, including the node that applies it to the data."""
    nodes, queue = {start: None}, [start]
    for node in queue:
        for consumer in dict.fromkeys(node.successors()):
            if consumer in nodes or consumer.op_type not in _SCALAR:
                continue
            nodes[consumer] = None
            operands = [value for value in consumer.inputs if value and is_float(value) and not is_constant(value)]
            queue += [consumer] if all(value.producer() in nodes for value in operands) else []
    return list(nodes)


def summands(total: ir.Node) -> list[ir.Node]:
    """Return the squares that ``total`` adds up, and the differences from a mean that they are of."""
    nodes = [total]
    for node in nodes:
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is None or producer in nodes:
                continue
            is_square = producer.op_type in SQUARES and square_of(value) is not None
            is_mean = producer.op_type == "ReduceMean" and node.op_type == "Sub"
            is_difference = producer.op_type in _DIFFERENCES
            nodes += [producer] if is_square or is_mean or is_difference else []
    return nodes[1:]


def counting(value: ir.Value) -> list[ir.Node] | None:
    """Return the nodes that compute ``value`` of integers, constants and inputs; None where it depends on data."""
    nodes = dict[ir.Node, None]()
    for source in reachable([value], _float_operands):
        producer = source.producer()
        if producer is None:
            continue
        layer = as_linear(producer)
        if producer.op_type not in _COUNTING or (layer is not None and layer.inputs > 1):
            return None
        nodes[producer] = None
    return list(nodes)


def _float_operands(value: ir.Value) -> list[ir.Value]:
    producer = value.producer()
    return [] if producer is None else [operand for operand in producer.inputs if operand and is_float(operand)]
