"""Choose the kernels of a graph that run on integers, and say of the other Convs why they do not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ...ir.kernels import Kernel
from ...ir.linear import Linear, find_linears
from ...ir.quantizer import Quantizer
from ...ir.refusal import Refusal
from .candidates import Candidates, problem
from .gain import LEAST_GAIN, Refusals, gaining, too_slow
from .planner import descend, plans, trades
from .problem import Plan, Problem

NOT_MEASURED = "the values around it were not measured: run requant.calib.activations.measure_activations first"

_BEYOND = 1e3
"""The factor beyond the largest λ up to which a plan between it and float is sought."""

_TOLD = 5e-4
"""The share of the time from which on one decimal of a per cent says it."""

_OUTER_DATA = "its input is from the graph around its body, and engines fuse the kernels of one graph"

_NOT_WEIGHED = "int8 there was not weighed: its values are no faster as integers, or no measured sample reaches them"

_NO_RANGE = "an integer Conv writes int8, and no range of its output suits all that reads it"


@dataclass(frozen=True)
class IntegerRegions:
    """The ``kernels`` that run on integers, the quantizers of what they read and write, and why other Convs do not."""

    kernels: Sequence[Kernel] = ()
    quantizers: Mapping[ir.Value, Quantizer] = field(default_factory=dict)
    refusals: Mapping[ir.Node, Refusal] = field(default_factory=dict)


def fastest(graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear]) -> tuple[set[ir.Value], float]:
    """Return the values that are worth it as integers by time alone, and the time of the model in float."""
    quiet = problem(graph, candidates, convs, noisy=False)
    return descend(quiet, set(quiet.allowed), np.zeros(1)), quiet.time(set())


def choose_regions(
    graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear], *, noisy: bool = True
) -> IntegerRegions:
    """Choose the regions in which the quantized ``convs`` run on integers, by time and by noise as far as measured.

    If they are not to be ``noisy``, time alone decides.
    """
    quantized = {conv.node: conv for conv in convs}
    if not candidates.kernels:
        return IntegerRegions(refusals={node: Refusal.at(node, NOT_MEASURED) for node in quantized})
    choice = problem(graph, candidates, quantized.values(), noisy=noisy)
    return _regions(graph, choice, candidates, *_best(choice))


class Alternative(NamedTuple):
    """Regions for all Convs, the estimated time of the model with them, and the last λ that they are the plan of."""

    regions: IntegerRegions
    time: float
    trade: float = np.inf


def alternatives(
    graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear], tried: Sequence[float] | None = None
) -> list[Alternative]:
    """Return the regions of each plan that gains enough, then none at all.

    The fastest come first. They trade time for noise, and leave it to the caller what to take. ``tried`` are the λ of
    `requant.passes.regions.planner`, the least first.
    """
    choice = problem(graph, candidates, convs)
    tried = trades() if tried is None else tried
    chosen = {
        plan.integers: (plan, refusals, trade)
        for trade, (plan, refusals, gain) in zip(tried, _gaining_plans(choice, tried), strict=True)
        if gain >= LEAST_GAIN
    }
    in_float = choice.plan(set())
    chosen.setdefault(in_float.integers, (in_float, Refusals(), np.inf))
    in_order = sorted(chosen.values(), key=lambda one: one[0].time)
    return [
        Alternative(_regions(graph, choice, candidates, plan, refusals), plan.time, trade)
        for plan, refusals, trade in in_order
    ]


def alternatives_between(
    graph: ir.Graph,
    candidates: Candidates,
    convs: Iterable[Linear],
    tried: Sequence[float],
    ends: tuple[Alternative, Alternative],
    count: int,
) -> list[Alternative]:
    """Return alternatives whose times are between those of two ``ends``, which `alternatives` of ``tried`` returned.

    They are of ``count`` λ beyond the last one that gave the faster end, up to the next that was tried.
    """
    fast, slow = ends
    before = [trade for trade in tried if trade <= fast.trade]
    most = next((trade for trade in tried if trade > fast.trade), fast.trade * _BEYOND)
    finer = np.geomspace(fast.trade, most, count + 2)[1:-1]
    found = alternatives(graph, candidates, convs, [*before, *map(float, finer)])
    return [one for one in found if fast.time < one.time < slow.time]


def _regions(
    graph: ir.Graph, choice: Problem, candidates: Candidates, plan: Plan, refusals: Refusals
) -> IntegerRegions:
    """Return the regions of ``plan``, with a reason for each Conv outside of them."""
    kernels = [kernel for kernel in choice.kernels if choice.is_integer(kernel, set(plan.integers))]
    used = dict.fromkeys(value for kernel in kernels for value in kernel.values)
    inside = {node for kernel in kernels for node in kernel.nodes}
    missing = [
        linear for linear in find_linears(graph) if linear.node not in choice.floats and linear.node not in inside
    ]
    reasons = {linear.node: refusals.get(linear.node) or _refusal(linear, choice, plan) for linear in missing}
    return IntegerRegions(kernels, {value: candidates.quantizers[value] for value in used}, reasons)


def _best(choice: Problem) -> tuple[Plan, Refusals]:
    """Return the plan of most merit among those that gain enough, or that of no integers, and what it leaves out."""
    in_float = choice.plan(set())
    best, refusals = in_float, Refusals()
    slow: tuple[float, Refusals] = 0.0, Refusals()
    for plan, left_out, gain in _gaining_plans(choice):
        if gain < LEAST_GAIN:
            kernels = [kernel for kernel in choice.kernels if choice.is_integer(kernel, set(plan.integers))]
            slow = max(
                slow, (gain, left_out | too_slow(kernels, "the model", gain, LEAST_GAIN)), key=lambda one: one[0]
            )
        elif plan.merit < best.merit:
            best, refusals = plan, left_out
    return (best, refusals) if best is not in_float else (best, slow[1])


def _gaining_plans(choice: Problem, tried: Sequence[float] | None = None) -> Iterator[tuple[Plan, Refusals, float]]:
    """Yield each plan without the regions that gain too little, what it leaves out, and the gain of the model."""
    in_float = choice.plan(set()).time
    for candidate in plans(choice, tried):
        integers, left_out = gaining(choice, set(candidate.integers))
        plan = choice.plan(integers)
        yield plan, left_out, in_float / plan.time


def _refusal(conv: Linear, choice: Problem, plan: Plan) -> Refusal:
    """Say why ``conv`` is in float: by the time or the noise that it would add to the ``plan`` alone."""
    kernel = next((one for one in choice.kernels if one.linear is not None and one.linear.node is conv.node), None)
    if kernel is None:
        return Refusal.at(conv.node, _NO_RANGE if conv.data.graph is conv.node.graph else _OUTER_DATA)
    added = choice.plan({*plan.integers, *kernel.values})
    slower = added.time / plan.time - 1
    if slower > 0:
        words = f"slower by {slower:.1%}" if slower >= _TOLD else "no faster"
        return Refusal.at(conv.node, f"int8 is estimated to make the model {words} there, Q and DQ included")
    if not choice.allowed.issuperset(kernel.values):
        return Refusal.at(conv.node, _NOT_WEIGHED)
    cost = (
        f"{10 * np.log10(added.noise.max() / plan.noise.max()):.1f} dB"
        if plan.noise.max()
        else f"an SQNR of {-10 * np.log10(added.noise.max()):.1f} dB"
    )
    reason = f"int8 there is estimated to cost the model {cost}, and to make it faster by {-slower:.1%}"
    return Refusal.at(conv.node, reason)
