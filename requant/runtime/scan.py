"""The Loop that a Scan stands for, with its body and its states:

for i in range(T):    x_i = Gather(x, i)    backwards: x_i = Gather(x, -1 - i)
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import replace_all_uses_with, replace_nodes_and_values
from onnx_ir.tape import Tape

from ..ir.constants import constant
from ..ir.names import fresh_name


def as_loop(scan: ir.Node, root: ir.Graph) -> tuple[ir.Node, list[ir.Value]]:
    """Replace ``scan``, anywhere in ``root``, by a Loop; it has to stack its outputs along the first axis.

    Returns:
        The Loop, and the values that took the names of others.
    """
    graph, body = scan.graph, scan.attributes["body"].as_graph()
    assert isinstance(graph, ir.Graph)
    count = scan.attributes.get_int("num_scan_inputs", 0)
    axes = scan.attributes.get_ints("scan_input_axes", (0,) * count)
    states, data = list(scan.inputs[:-count]), scan.inputs[-count:]
    picked = _iterate(body, data, axes, scan.attributes.get_ints("scan_input_directions", (0,) * count), root)
    tape = Tape()
    trips = tape.op("Gather", [tape.op("Shape", [data[0]]), _number(root, axes[0])])
    loop = ir.Node("", "Loop", [trips, None, *states], [ir.AttrGraph("body", body)], num_outputs=len(scan.outputs))
    outputs = list(loop.outputs)
    stacked = outputs[len(states) :]
    backwards = scan.attributes.get_ints("scan_output_directions", (0,) * len(stacked))
    ends = [_number(root, [end]) for end in (-1, np.iinfo(np.int64).min, 0, -1)]  # starts, ends, axes, steps
    behind = Tape()
    for position, is_backwards in enumerate(backwards, start=len(states)):
        if is_backwards:
            outputs[position] = behind.op("Slice", [outputs[position], *ends])
    nodes = [*tape.nodes, loop, *behind.nodes]
    _name(nodes, root, scan.name)
    replace_nodes_and_values(graph, scan, [scan], nodes, scan.outputs, outputs)
    return loop, [*outputs, *picked]


def _iterate(
    body: ir.Graph, data: Sequence[ir.Value | None], axes: Sequence[int], backwards: Sequence[int], root: ir.Graph
) -> list[ir.Value]:
    """Let ``body`` go on to the end, and pick its elements of ``data``, which are returned, by the iteration."""
    iteration, condition = (
        ir.Value(type=ir.TensorType(dtype), shape=ir.Shape(())) for dtype in (ir.DataType.INT64, ir.DataType.BOOL)
    )
    iteration.name, condition.name = (fresh_name(root, f"{body.name}.{part}") for part in ("iteration", "condition"))
    tape, elements = Tape(), body.inputs[-len(data) :]
    picked = [
        tape.op("Gather", [x, tape.op("Sub", [_number(root, -1), iteration]) if back else iteration], {"axis": axis})
        for x, axis, back in zip(data, axes, backwards, strict=True)
    ]
    go_on = tape.op("Identity", [condition])
    _name(tape.nodes, root, body.name)
    for element, value in zip(elements, picked, strict=True):
        replace_all_uses_with(element, value, replace_graph_outputs=True)
        value.name, value.shape, value.type, element.name = element.name, element.shape, element.type, None
    del body.inputs[-len(data) :]
    body.inputs[:0] = [iteration, condition]
    body.outputs.insert(0, go_on)
    for node in reversed(tape.nodes):
        body.insert_before(body[0], node)
    return picked


def _number(root: ir.Graph, number: int | list[int]) -> ir.Value:
    return constant(root, np.array(number, np.int64), "number")


def _name(nodes: Sequence[ir.Node], root: ir.Graph, name: str | None) -> None:
    """Name the outputs of the new ``nodes``."""
    for node in nodes:
        for value in node.outputs:
            value.name = fresh_name(root, f"{name}.{node.op_type}")
