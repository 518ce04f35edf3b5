"""The interface of a model: the names and types of its inputs and outputs, in order."""

from collections.abc import Iterable
from typing import TypeAlias

import onnx_ir as ir

from ..errors import VerificationError

Port: TypeAlias = tuple[str | None, ir.TypeProtocol | None]
"""The name of an input or output, and its type if that is declared."""


def require_interface(original: ir.Model, model: ir.Model, *, narrowed: bool = False) -> None:
    """Check that ``model`` takes and returns what ``original`` does.

    Inputs that have a default in the model do not count. A type that either does not declare counts as any, and with
    ``narrowed`` so does a floating-point type.

    Raises:
        VerificationError: lists the actual and the expected inputs or outputs.
    """
    ports = [(_ports(graph.inputs), _ports(graph.outputs)) for graph in (original.graph, model.graph)]
    for kind, before, after in zip(("inputs", "outputs"), *ports, strict=True):
        if len(before) != len(after) or not all(_agree(*pair, narrowed) for pair in zip(before, after, strict=True)):
            raise VerificationError(
                f"the {kind} of the result would be {_text(after)}, those of the model are {_text(before)}; "
                "nothing was written"
            )


def _ports(values: Iterable[ir.Value]) -> list[Port]:
    return [(value.name, value.type) for value in values if not (value.is_graph_input() and value.is_initializer())]


def _agree(before: Port, after: Port, narrowed: bool) -> bool:
    (name, expected), (new_name, actual) = before, after
    if name != new_name or expected is None or actual is None or expected == actual:
        return name == new_name
    return narrowed and expected.dtype.is_floating_point() and actual.dtype.is_floating_point()


def _text(ports: Iterable[Port]) -> str:
    return "(" + ", ".join(f"{name}: {kind or 'any type'}" for name, kind in ports) + ")"
