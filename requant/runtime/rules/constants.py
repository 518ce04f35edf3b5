"""What the rules look for in constants that come in codes, but are no weights of a product."""

from collections.abc import Callable, Iterator

import onnx_ir as ir

from .norms import PARAMETERS, written_out
from .parts import Step
from .qdq_graph import View
from .rule import Find, Violation
from .traverse import MOVERS

Consumer = tuple[ir.Node, int]
"""A node, and which of its inputs."""


def quantized_norm(view: View) -> Iterator[Violation]:
    """A parameter of a norm."""
    written = written_out(view)
    for step, uses in _constants(view):
        roles = {role for consumer, position in uses if (role := _role(consumer, position, written))}
        if roles:
            yield step.node, " and ".join(sorted(roles))


def quantized_constant(pays: Callable[[ir.Node, View], bool]) -> Find:
    """What finds a constant of another float op, unless in codes it ``pays``."""

    def find(view: View) -> Iterator[Violation]:
        written = written_out(view)
        for step, uses in _constants(view):
            ops = {
                consumer.op_type
                for consumer, position in uses
                if not _role(consumer, position, written) and not pays(consumer, view)
            }
            if ops and step.codes != ir.DataType.INT32:
                yield step.node, " and ".join(sorted(ops))

    return find


def never(node: ir.Node, view: View) -> bool:
    """No op computes with a constant's codes."""
    return False


def between_codes(node: ir.Node, view: View) -> bool:
    """Whether ``node`` is an Add or Mul with Q/DQ all around, which ONNX Runtime runs in integers."""
    behind = [use.node for use in node.outputs[0].uses()]
    after = view.steps.get(behind[0]) if len(behind) == 1 else None
    quantized = after is not None and after.quantizes
    return node.op_type in ("Add", "Mul") and quantized and all(map(view.step_of, node.inputs))


def _constants(view: View) -> Iterator[tuple[Step, list[Consumer]]]:
    """Every DQ of a constant of more than one number, with those who compute with it but do not multiply by it."""
    for step in view.steps.values():
        codes = step.node.inputs[0]
        single = codes is not None and codes.const_value is not None and codes.const_value.size == 1
        if step.fixed and not step.quantizes and not single and (uses := list(_uses(step.node.outputs[0], view))):
            yield step, uses


def _uses(value: ir.Value, view: View) -> Iterator[Consumer]:
    waiting = [value]
    while waiting:
        for node, position in waiting.pop().uses():
            if node.op_type in MOVERS and view.fixed.issuperset(node.outputs):
                waiting.extend(node.outputs)
            elif node.op_type not in MOVERS and node not in view.steps and not (node in view.layers and position < 2):
                yield node, position


def _role(consumer: ir.Node, position: int, written: dict[ir.Node, str]) -> str:
    """What a norm calls the constant; nothing when ``consumer`` is no norm."""
    role = written.get(consumer) or PARAMETERS.get(consumer.op_type, {}).get(position)
    return f"{role} of a norm" if role else ""
