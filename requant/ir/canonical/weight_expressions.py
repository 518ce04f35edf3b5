"""Folding of weights that are computed from constants, whatever their size.

    W + α A B        W · gain        g · V / ‖V‖        Split(W)[1]        Where(mask, W, 0)

An engine computes them once when it loads the model, and then multiplies by the result. Here they become constants; in
a large model they are computed when they are read, so that no second copy of it is held.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from ..constants import is_constant
from ..load import reason
from ..names import fresh_name
from ..ops import (
    ARITHMETIC,
    CENTRED_NORMS,
    CONVOLUTIONS,
    GENERATORS,
    LAYER_NORMS,
    LINEAR,
    POINT_GATHERS,
    QUANTIZERS,
    RANDOM,
    RECURRENT,
    REPETITION,
    RESAMPLING,
    SCATTERS,
    is_op,
)
from ..refusal import declined
from ..traverse import producer, producers
from .expression import Array, Expression

_LOGGER = logging.getLogger(__name__)

_LAYERS = LINEAR | RECURRENT | CENTRED_NORMS | LAYER_NORMS | {"Einsum"}
"""Ops with parameters."""

_FIRST_INPUTS = ("Gather", "If")
"""Ops whose first input is a parameter: a table, and the condition of a branch that is always taken."""

_SIZED = GENERATORS | REPETITION | RESAMPLING | {"CenterCropPad", "EyeLike", "OneHot", "Pad"}
"""Ops whose output can be of any size, by the elements of an input."""

_SLOW = CONVOLUTIONS | POINT_GATHERS | RECURRENT | SCATTERS | {"Erf"}
"""Ops that the reference implementation computes element by element, in Python."""

_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

_HELD = 2**26
"""Results are held in memory up to so many bytes of all; those beyond are computed each time that they are read."""

_GROWTH, _ALWAYS = 16, 2**28
"""Bytes of a value for each byte of the constants, and bytes that a value may have in any case."""

Order: TypeAlias = dict[ir.Node, int]
"""Nodes that compute constants of constants, and their places in the model."""


def fold_weights(model: ir.Model) -> bool:
    """Fold every expression of constants that is a parameter of a layer of ``model``; returns True if there was one."""
    opset = model.graph.opset_imports.get("", 0)
    order = _constant_nodes(model)
    held, modified = 0, False
    for value in list(_parameters(order)):
        upstream = producers([value], through=order.__contains__)
        nodes = sorted((node for node in upstream if node in order), key=order.__getitem__)
        expression = Expression.of(value, nodes, opset)
        result = _result(value, nodes, expression)
        if result is None:
            continue
        goes_on = any(use.node in order for use in value.uses())  # else each layer of a chain evaluates all before it
        if goes_on or held + result.nbytes <= _HELD or any(is_op(node, _SLOW) for node in nodes):
            held += result.nbytes
            _replace(value, ir.Tensor(result.copy()))  # it may be a view of a large constant
        else:
            _replace(value, expression.lazily(result))
        modified = True
    _remove_unused(order)
    return modified


def _constant_nodes(model: ir.Model) -> Order:
    """Find the nodes of the graph and of bodies that compute constants of constants."""
    order: Order = {}
    for node in model.graph.all_nodes():
        inputs = [value for value in node.inputs if value is not None]
        if inputs and _is_function(node) and all(is_constant(value) or value.producer() in order for value in inputs):
            order[node] = len(order)
    return order


def _is_function(node: ir.Node) -> bool:
    """Tell whether ``node`` is a standard op that computes the same of the same inputs, and has no body."""
    if node.domain != "" or node.op_type in RANDOM | QUANTIZERS:
        return False
    return all(attribute.type not in _BODIES for attribute in node.attributes.values())


def _parameters(order: Order) -> Iterator[ir.Value]:
    """Yield the values that layers read, and what products of constants end in: such products are no layers."""
    products: set[ir.Node] = set()
    for node in order:
        if is_op(node, LINEAR) or any(value is not None and value.producer() in products for value in node.inputs):
            products.add(node)
        for value in node.outputs:
            slots = [(use.node, use.idx) for use in value.uses() if use.node not in order]
            if any(_is_parameter(*slot) for slot in slots) or (slots and node in products):
                yield value


def _is_parameter(node: ir.Node, position: int) -> bool:
    """Tell whether the input is a parameter of a layer or a condition, or joins the output of a layer."""
    if is_op(node, ARITHMETIC):
        other = producer(node.inputs[1 - position])
        return other is not None and is_op(other, LINEAR)
    return node.domain != "" or is_op(node, _LAYERS) or (node.op_type in _FIRST_INPUTS and position == 0)


def _result(value: ir.Value, nodes: Sequence[ir.Node], expression: Expression) -> Array | None:
    """Evaluate the expression of ``nodes`` that ends in ``value``; None where that is not possible."""
    if unbounded := _unbounded(nodes):
        declined(_LOGGER, value, unbounded)
        return None
    try:
        result = expression.evaluate()
    except Exception as error:  # the reference implementation raises whatever it meets
        declined(_LOGGER, value, f"it cannot be evaluated: {reason(error)}")
        return None
    if not isinstance(result, np.ndarray) or result.dtype.kind == "O":
        declined(_LOGGER, value, "it is no tensor of numbers")
        return None
    return result


def _unbounded(nodes: Sequence[ir.Node]) -> str | None:
    """Say why values of ``nodes`` may take far more memory than the constants; None if they do not."""
    inputs = {value for node in nodes for value in node.inputs}
    most = _ALWAYS + _GROWTH * sum(value.const_value.nbytes for value in inputs if value and value.const_value)
    for node in nodes:
        for value in node.outputs:
            if value.shape is None or value.dtype is None or not value.shape.is_static():
                if is_op(node, _SIZED):
                    return f"the size of {value.name!r} is not inferred"
            elif math.prod(value.shape.numpy()) * value.dtype.itemsize > most:
                return f"{value.name!r} is much larger than the constants that it is computed from"
    return None


def _replace(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Let an initializer replace ``value``, under its name where it is no output of a graph."""
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    assert value.name is not None
    name = fresh_name(graph, f"{value.name}.folded") if value.is_graph_output() else value.name
    tensor.name = name
    folded = ir.Value(
        name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(folded)
    for use in tuple(value.uses()):
        use.node.replace_input_with(use.idx, folded)


def _remove_unused(order: Order) -> None:
    """Remove the nodes of expressions that are folded."""
    for node in reversed(order):
        if node.graph is not None and not any(value.uses() or value.is_graph_output() for value in node.outputs):
            node.graph.remove(node, safe=True)
