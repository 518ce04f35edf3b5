"""Select the Convs that an engine runs in int8 whose kernel rounds the output, as ONNX Runtime's on the CPU does.

    int8 → Conv → int8    where `requant.ir.conv_outputs` finds consumers of int8

It pays where many of them follow each other, and not for single ones in a float network (`..cost_model.conv_gain`).
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from ...calib.collect import statistics
from ...calib.ranges import minmax, symmetric_scale
from ...ir.conv_outputs import ConvOutput, conv_outputs
from ...ir.linear import Linear, find_linears
from ...ir.quantizer import quantizer
from ...ir.refusal import Refusal
from ...runtime.targets import Target
from ..cost_model.conv_gain import LEAST_GAIN, ConvChain, conv_chains, float_time
from ..scale_limits import no_range


def integer_convs(graph: ir.Graph, layers: Iterable[Linear], engine: Target) -> dict[ir.Node, ConvOutput | Refusal]:
    """Return, for each Conv among the ``layers`` to quantize, its int8 output, or the reason why it stays in float."""
    candidates = list(layers)
    refusals: dict[ir.Node, ConvOutput | Refusal] = {}
    decisions: Mapping[ir.Node, ConvOutput | Refusal] = {}
    while engine.integer_outputs:
        decisions = {node: _checked(conv_output, engine) for node, conv_output in conv_outputs(candidates).items()}
        failures = {node: conv_output for node, conv_output in decisions.items() if isinstance(conv_output, Refusal)}
        if not failures:
            break
        refusals |= failures
        candidates = [linear for linear in candidates if linear.node not in failures]
    outputs = {node: conv_output for node, conv_output in decisions.items() if isinstance(conv_output, ConvOutput)}
    return {**refusals, **outputs, **_without_gain(graph, conv_chains(outputs))}


def _without_gain(graph: ir.Graph, chains: Sequence[ConvChain]) -> dict[ir.Node, ConvOutput | Refusal]:
    """Return the reasons of Convs for whose chain, or for all Convs of the graph, int8 does not pay."""
    slow = [chain for chain in chains if chain.gain < LEAST_GAIN]
    refusals = {conv.node: _refusal(conv, "this chain of Convs", chain.gain) for chain in slow for conv in chain.convs}
    fast = [chain for chain in chains if chain.gain >= LEAST_GAIN]
    total = sum(float_time(linear) for linear in find_linears(graph) if linear.node.op_type == "Conv")
    saving = sum(chain.float_time - chain.integer_time for chain in fast)
    if fast and total < LEAST_GAIN * (total - saving):
        gain = total / (total - saving)
        refusals |= {
            conv.node: _refusal(conv, "the Convs of the model", gain) for chain in fast for conv in chain.convs
        }
    return dict[ir.Node, ConvOutput | Refusal](refusals)


def _refusal(conv: Linear, convs: str, gain: float) -> Refusal:
    reason = f"int8 is estimated to run {convs} {gain:.2f} times as fast as float, less than {LEAST_GAIN} times"
    return Refusal.at(conv.node, reason)


def _checked(conv_output: ConvOutput | Refusal, engine: Target) -> ConvOutput | Refusal:
    """Return ``conv_output``, or the reason why the engine cannot write it."""
    if isinstance(conv_output, Refusal):
        return conv_output
    node, source = conv_output.conv.node, conv_output.quantized_as
    plan, stats = quantizer(source), statistics(source)
    if plan is None and (reason := no_range(stats, static=True, subject="its output")):
        return Refusal.at(node, reason)
    if plan is None and (stats is None or quantizer(conv_output.conv.weight) is not None):
        return Refusal.at(node, f"{source.name!r} has no planned quantizer")
    if plan is not None and plan.dtype not in engine.activations:
        dtype = plan.dtype.name.lower()
        return Refusal.at(node, f"an integer Conv does not write {dtype}, in which {source.name!r} is planned")
    if plan is not None and plan.bits < 8:
        return Refusal.at(node, f"an integer Conv writes 8 bits, but its output is planned with {plan.bits}")
    interval = plan.interval if plan is not None else minmax(stats) if stats is not None else None
    low, high = conv_output.bounds
    reach = _quantized_range(*interval) if interval is not None else (0.0, 0.0)
    if reach[0] < low or reach[1] > high:
        reason = f"the int8 range of {source.name!r} exceeds the bounds of the activation behind the Conv"
        return Refusal.at(node, reason)
    return conv_output


def _quantized_range(low: float, high: float) -> tuple[float, float]:
    """Return the range of the quantized values, one-sided or else symmetric, of data in [``low``, ``high``]."""
    scale = symmetric_scale(low, high)
    return (0.0, high) if low >= 0 else (-128 * scale, 127 * scale)
