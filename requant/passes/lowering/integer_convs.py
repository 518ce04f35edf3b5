"""Which Convs an engine runs in integers whose kernel rounds the output to codes, as ONNX Runtime's on the CPU does.

    codes → Conv → codes    where `requant.ir.conv_outputs` finds who takes them

It pays where many of them follow each other, and not for single ones in a float network (`..cost_model.conv_gain`).
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from ...calib.collect import statistics
from ...calib.ranges import minmax, symmetric_scale
from ...ir.conv_outputs import ConvOutput, conv_outputs
from ...ir.linear import Linear, find_linears
from ...ir.quantizer import quantizer
from ...runtime.targets import Target
from ..cost_model.conv_gain import LEAST, Region, float_time, regions
from ..scale_limits import no_range


def integer_convs(graph: ir.Graph, layers: Iterable[Linear], engine: Target) -> dict[ir.Node, ConvOutput | str]:
    """For each Conv among the ``layers`` that are to be in codes: where it writes codes, or why it stays in float."""
    coded = list(layers)
    refused: dict[ir.Node, ConvOutput | str] = {}
    found: Mapping[ir.Node, ConvOutput | str] = {}
    while engine.writes_codes:
        found = {node: _known(conv_output, engine) for node, conv_output in conv_outputs(coded).items()}
        reasons = {node: conv_output for node, conv_output in found.items() if isinstance(conv_output, str)}
        if not reasons:
            break
        refused |= reasons
        coded = [linear for linear in coded if linear.node not in reasons]
    chosen = {node: conv_output for node, conv_output in found.items() if isinstance(conv_output, ConvOutput)}
    return {**refused, **chosen, **_without_gain(graph, regions(chosen))}


def _without_gain(graph: ir.Graph, found: Sequence[Region]) -> dict[ir.Node, ConvOutput | str]:
    """Why Convs of the regions stay in float for which int8 does not pay, alone or for all Convs of the graph."""
    poor = [region for region in found if region.gain < LEAST]
    reasons = {conv.node: _reason("this chain of Convs", region.gain) for region in poor for conv in region.convs}
    rich = [region for region in found if region.gain >= LEAST]
    whole = sum(float_time(linear) for linear in find_linears(graph) if linear.node.op_type == "Conv")
    saved = sum(region.float_time - region.integer_time for region in rich)
    if rich and whole < LEAST * (whole - saved):
        gain = whole / (whole - saved)
        reasons |= {conv.node: _reason("the Convs of the model", gain) for region in rich for conv in region.convs}
    return dict[ir.Node, ConvOutput | str](reasons)


def _reason(convs: str, gain: float) -> str:
    return f"int8 is estimated to run {convs} {gain:.2f} times as fast as float, less than {LEAST} times"


def _known(conv_output: ConvOutput | str, engine: Target) -> ConvOutput | str:
    """``conv_output``, unless what it would write is not known or not possible."""
    if isinstance(conv_output, str):
        return conv_output
    planned, seen = quantizer(conv_output.grid), statistics(conv_output.grid)
    if planned is None and (reason := no_range(seen, static=True, subject="its output")):
        return reason
    if planned is None and (seen is None or quantizer(conv_output.conv.weight) is not None):
        return f"{conv_output.grid.name!r} has no planned quantizer"
    if planned is not None and planned.dtype not in engine.activations:
        return f"its kernel does not write {planned.dtype.name.lower()}, in which {conv_output.grid.name!r} is planned"
    if planned is not None and planned.bits < 8:
        return f"its kernel would round its output to 8 bits, not to {planned.bits}"
    interval = planned.interval if planned is not None else minmax(seen) if seen is not None else None
    low, high = conv_output.bounds
    reach = _reach(*interval) if interval is not None else (0.0, 0.0)
    if reach[0] < low or reach[1] > high:
        return f"codes of {conv_output.grid.name!r} reach beyond what the kernel would have to clip"
    return conv_output


def _reach(low: float, high: float) -> tuple[float, float]:
    """How far the codes of data reach that are one-sided, or else symmetric."""
    scale = symmetric_scale(low, high)
    return (0.0, high) if low >= 0 else (-128 * scale, 127 * scale)
