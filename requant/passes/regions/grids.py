"""Grids: the quantizers of the values between steps. Values of which one is moved into the other share a grid.

    Concat(a, b) = c, Slice(c) = d        one quantizer for a, b, c and d: integers are moved as they are
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from ...calib.step_values import step_value
from ...ir.quantizer import Quantizer
from ...ir.steps import Step
from .ranges import function, interval, quantizer

_GATES = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0)}
"""The ranges of outputs that are known without data, by the kind of the step."""


def grids(steps: Sequence[Step], dtype: ir.DataType) -> dict[ir.Value, Quantizer]:
    """Return the quantizer of each value that the ``steps`` read or write and that was measured."""
    groups = _groups(steps)
    consumers: dict[ir.Value, list[Step]] = {}
    producers = {value: step for step in steps for value in step.outputs}
    for step in steps:
        for value in step.inputs:
            consumers.setdefault(value, []).append(step)
    quantizers: dict[ir.Value, Quantizer] = {}
    for values in groups:
        readers = [step for value in values for step in consumers.get(value, ()) if not step.moves]
        covered = [
            _GATES[producers[value].kind]
            if value in producers and producers[value].kind in _GATES
            else interval(entry.statistics, function(readers))
            for value in values
            if (entry := step_value(value)) is not None and entry.statistics is not None
        ]
        if covered and all(step_value(value) is not None for value in values):
            plan = quantizer((min(low for low, _ in covered), max(high for _, high in covered)), dtype)
            quantizers |= dict.fromkeys(values, plan)
    return quantizers


def _groups(steps: Iterable[Step]) -> list[list[ir.Value]]:
    """Partition the values of ``steps`` into those that are moved into each other."""
    group_of: dict[ir.Value, list[ir.Value]] = {}
    for step in steps:
        values = (*step.inputs, *step.outputs)
        for value in values:
            group_of.setdefault(value, [value])
        for value in values[1:] if step.moves else ():
            _merge(group_of, values[0], value)
    return list({id(group): group for group in group_of.values()}.values())


def _merge(group_of: dict[ir.Value, list[ir.Value]], first: ir.Value, second: ir.Value) -> None:
    group, other = group_of[first], group_of[second]
    if group is not other:
        group += other
        group_of.update(dict.fromkeys(other, group))
