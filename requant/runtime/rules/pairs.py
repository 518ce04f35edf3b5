"""What the rules look for in Q/DQ pairs on activations: whether anybody gains from the codes."""

from collections.abc import Iterator

import onnx_ir as ir

from .norms import written_out
from .parts import Step
from .qdq_graph import View
from .rule import Find, Violation
from .traverse import MOVERS, PAIR, consumers, maker

_AFTER_CONV = MOVERS | PAIR | {"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "BatchNormalization"}
"""Ops that hand on what the kernel of a Conv writes."""


def no_integer_kernel(op_types: frozenset[str], *, behind: frozenset[str]) -> Find:
    """What finds a pair that only ``op_types`` and the nodes of norms read.

    Pairs straight ``behind`` these linear layers are left out: whether they pay is for the layer to say.
    """

    def find(view: View) -> Iterator[Violation]:
        norms = written_out(view)
        for step, ends in _pairs(view, behind):
            if all(_in_float(end, op_types, norms, view) for end in ends):
                yield step.node, ", ".join(sorted({end.op_type for end in ends}))

    return find


def quantized_residual(op_types: frozenset[str], *, behind: frozenset[str]) -> Find:
    """What finds a pair that only residual Adds read, beside what `no_integer_kernel` allows."""

    def find(view: View) -> Iterator[Violation]:
        norms = written_out(view)
        for step, ends in _pairs(view, behind):
            others = [end for end in ends if not _is_residual(end, view)]
            if len(others) < len(ends) and all(_in_float(end, op_types, norms, view) for end in others):
                yield step.node, ", ".join(sorted({end.op_type for end in ends}))

    return find


def several_scales(view: View) -> Iterator[Violation]:
    """A value that linear layers read in different codes."""
    found: dict[ir.Value | None, list[Step]] = {}
    for step in view.steps.values():
        if step.quantizes and not step.fixed and any(end in view.layers for end in _ends(step)):
            found.setdefault(step.node.inputs[0], []).append(step)
    for steps in found.values():
        scales = {scale.tobytes() for step in steps if (scale := step.scale) is not None}
        if len(scales) > 1:
            yield steps[0].node, f"{len(scales)} scales"


def _pairs(view: View, behind: frozenset[str]) -> Iterator[tuple[Step, list[ir.Node]]]:
    """Every DQ of an activation with its consumers, unless an output of the graph is among them."""
    for node, step in view.steps.items():
        if step.quantizes or step.fixed:
            continue
        before = maker(node.inputs[0], PAIR | {"Relu", "Clip"})
        ends = [end for end in consumers(node.outputs[0]) if end is not None]
        whole = len(ends) == sum(1 for _ in consumers(node.outputs[0]))
        if ends and whole and not (before in view.layers and before is not None and before.op_type in behind):
            yield step, ends


def _ends(step: Step) -> list[ir.Node]:
    return [end for end in consumers(step.node.outputs[0], MOVERS | PAIR) if end is not None]


def _in_float(node: ir.Node, op_types: frozenset[str], norms: dict[ir.Node, str], view: View) -> bool:
    joined = node.op_type in ("Add", "Mul") and not any(map(view.known, node.inputs))
    apart = not joined or (node.op_type == "Mul" and not _joins_conv(node))
    return node in norms or (node.op_type in op_types and apart)


def _is_residual(node: ir.Node, view: View) -> bool:
    return node.op_type == "Add" and not any(map(view.known, node.inputs)) and not _joins_conv(node)


def _joins_conv(node: ir.Node) -> bool:
    """Whether ``node`` works on what a Conv writes, so that one kernel may do both."""
    makers = (maker(value, _AFTER_CONV) for value in node.inputs)
    return any(node is not None and node.op_type in ("Conv", "ConvTranspose") for node in makers)
