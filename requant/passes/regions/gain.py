"""The gain of regions, kernels that hand each other integers, and of the whole model: time in float over time there."""

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from ...ir.kernels import Kernel
from ...ir.refusal import Refusal
from ...runtime.prices import LEAST_REGION_GAIN
from .problem import Problem

LEAST_GAIN = 1.15
"""The gain of the whole model below which it is not worth its rounding."""

Refusals = dict[ir.Node, Refusal]


def gaining(problem: Problem, integers: set[ir.Value]) -> tuple[set[ir.Value], Refusals]:
    """Return ``integers`` without the regions that gain too little, and the reasons of the Convs in these."""
    kept, refusals = set(integers), Refusals()
    for region in _regions(problem, integers):
        values = dict.fromkeys(value for kernel in region for value in kernel.values)
        in_float = sum(problem.prices[id(kernel)].in_float for kernel in region)
        in_integers = sum(problem.prices[id(kernel)].in_integers for kernel in region)
        gain = in_float / (in_integers + problem.border_time(values, integers))
        if gain < LEAST_REGION_GAIN:
            kept -= values.keys()
            refusals |= too_slow(region, "the kernels around it", gain, LEAST_REGION_GAIN)
    return kept, refusals


def too_slow(kernels: Sequence[Kernel], subject: str, gain: float, least: float) -> Refusals:
    """Refuse the Convs among ``kernels`` because int8 gains too little."""
    reason = f"int8 is estimated to run {subject} {gain:.2f} times as fast as float, less than {least} times"
    convs = [kernel.linear.node for kernel in kernels if kernel.linear is not None]
    return {node: Refusal.at(node, reason) for node in convs}


def _regions(problem: Problem, integers: set[ir.Value]) -> Iterator[list[Kernel]]:
    """Yield the kernels on integers that hand each other integers, region by region."""
    kernels = {id(kernel): kernel for kernel in problem.kernels if problem.is_integer(kernel, integers)}
    while kernels:
        region = [kernels.pop(next(iter(kernels)))]
        for kernel in region:
            neighbours = [problem.producers.get(value) for value in kernel.inputs]
            neighbours += [consumer for value in kernel.outputs for consumer in problem.consumers.get(value, ())]
            region += [kernels.pop(id(one)) for one in neighbours if one is not None and id(one) in kernels]
        yield region
