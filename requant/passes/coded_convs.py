"""Which Convs an engine runs in integers whose kernel rounds the output to codes, as ONNX Runtime's on the CPU does.

    codes → Conv → codes    where `requant.ir.outlets` finds who takes them

It pays for a network that is codes from end to end, and not for single layers in a float one: between them data are
quantized and dequantized, and float kernels have a layout of their own.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from ..calib.collect import statistics
from ..calib.ranges import minmax, symmetric_scale
from ..ir.linear import Linear, find_linears
from ..ir.outlets import Outlet, outlets
from ..runtime.targets import Target
from .quantizer import quantizer
from .scale_limits import no_range

LEAST_SHARE = 0.5
"""Share of the work of a network's Convs that has to be in codes for any of them to be."""


def coded_convs(graph: ir.Graph, layers: Iterable[Linear], engine: Target) -> dict[ir.Node, Outlet | str]:
    """For each Conv among the ``layers`` that are to be in codes: where it writes codes, or why it stays in float."""
    coded = list(layers)
    refused: dict[ir.Node, Outlet | str] = {}
    found: Mapping[ir.Node, Outlet | str] = {}
    while engine.writes_codes:
        found = {node: _known(outlet, engine) for node, outlet in outlets(coded).items()}
        reasons = {node: outlet for node, outlet in found.items() if isinstance(outlet, str)}
        if not reasons:
            break
        refused |= reasons
        coded = [linear for linear in coded if linear.node not in reasons]
    if share := _share(graph, found):
        if share >= LEAST_SHARE:
            return {**refused, **found}
        reason = f"only {share:.0%} of the work of all Convs could be in codes, which does not pay"
        return {**refused, **dict.fromkeys(found, reason)}
    return refused


def _known(outlet: Outlet | str, engine: Target) -> Outlet | str:
    """``outlet``, unless what it would write is not known or not possible."""
    if isinstance(outlet, str):
        return outlet
    planned, seen = quantizer(outlet.grid), statistics(outlet.grid)
    if planned is None and (reason := no_range(seen, static=True, subject="its output")):
        return reason
    if planned is None and (seen is None or quantizer(outlet.conv.weight) is not None):
        return f"{outlet.grid.name!r} has no planned quantizer"
    if planned is not None and planned.dtype not in engine.activations:
        return f"its kernel does not write {planned.dtype.name.lower()}, in which {outlet.grid.name!r} is planned"
    if planned is not None and planned.bits < 8:
        return f"its kernel would round its output to 8 bits, not to {planned.bits}"
    interval = planned.interval if planned is not None else minmax(seen) if seen is not None else None
    low, high = outlet.bounds
    reach = _reach(*interval) if interval is not None else (0.0, 0.0)
    if reach[0] < low or reach[1] > high:
        return f"codes of {outlet.grid.name!r} reach beyond what the kernel would have to clip"
    return outlet


def _reach(low: float, high: float) -> tuple[float, float]:
    """How far the codes of data reach that are one-sided, or else symmetric."""
    scale = symmetric_scale(low, high)
    return (0.0, high) if low >= 0 else (-128 * scale, 127 * scale)


def _share(graph: ir.Graph, found: Mapping[ir.Node, Outlet | str]) -> float:
    work = {linear.node: _work(linear) for linear in find_linears(graph) if linear.node.op_type == "Conv"}
    return sum(work[node] for node in found) / max(sum(work.values()), 1)


def _work(conv: Linear) -> float:
    """Multiplications over the calibration data."""
    seen = statistics(conv.data)
    rows = seen.count if seen is not None else 1
    return rows * float(np.prod(conv.shape)) / float(np.prod(conv.node.attributes.get_ints("strides", (1,))))
