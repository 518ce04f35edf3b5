"""Where the nodes of a session run: a provider that falls back gives right numbers slowly, and says nothing."""

import warnings
from collections import defaultdict
from typing import TYPE_CHECKING

from ..errors import TargetError
from .providers import CPU, Provider

if TYPE_CHECKING:
    import onnxruntime

RECORD = {"session.record_ep_graph_assignment_info": "1"}
"""Session entries that make ONNX Runtime, since 1.24, remember which node went to which provider."""

SHOWN = 3
"""Names of nodes in a message, for each kind."""

_MAKES, _MOVES, _COUNTS = (
    {"Constant", "ConstantOfShape", "Range", "Shape", "Size"},
    {"Cast", "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Where"},
    {"Add", "Div", "Equal", "Less", "Mod", "Mul", "ReduceProd", "Sub"},
)
SHAPE_OPS = _MAKES | _MOVES | _COUNTS
"""What computes shapes. ONNX Runtime keeps that on the CPU on purpose, whatever the provider."""


class FallbackError(TargetError):
    """The engine is installed, but it did not load or took no node."""


class FallbackWarning(UserWarning):
    """Nodes run on another provider than the one of their target; the text says which."""


def require_placement(live: "onnxruntime.InferenceSession", chosen: Provider) -> None:
    """Make sure that a session runs where it should; warns of nodes that do not.

    Raises:
        FallbackError: the provider was not loaded, or no node runs on it.
        TargetError: ONNX Runtime is too old to tell.
    """
    if chosen.name == CPU:
        return
    if chosen.name not in live.get_providers():
        raise FallbackError(f"{chosen.name} was not loaded, ONNX Runtime's log says why; it needs: {chosen.install}")
    if not hasattr(live, "get_provider_graph_assignment_info"):
        raise TargetError("onnxruntime cannot tell where nodes run: install onnxruntime 1.24 or newer")
    placed = placement(live)
    elsewhere = {name: strays(nodes, name) for name, nodes in placed.items() if name != chosen.name}
    if placed and chosen.name not in placed:
        raise FallbackError(f"{chosen.name} took no node of the model: all run on {', '.join(sorted(placed))}")
    if any(elsewhere.values()):
        warnings.warn(f"not on {chosen.name}: {_listing(elsewhere)}", FallbackWarning, stacklevel=3)


def placement(live: "onnxruntime.InferenceSession") -> dict[str, list[tuple[str, str]]]:
    """By provider: the operator and the name of each node that it took, before it fused any."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for part in live.get_provider_graph_assignment_info():
        found[part.ep_name].extend((node.op_type, node.name) for node in part.get_nodes())
    return dict(found)


def strays(nodes: list[tuple[str, str]], name: str) -> dict[str, list[str]]:
    """By operator: the names of nodes that have no reason to be on the provider called ``name``."""
    found: dict[str, list[str]] = defaultdict(list)
    for op_type, node in nodes:
        if name != CPU or op_type not in SHAPE_OPS:
            found[op_type].append(node)
    return dict(found)


def _listing(elsewhere: dict[str, dict[str, list[str]]]) -> str:
    return "; ".join(
        f"{name} has " + ", ".join(_kind(*kind) for kind in sorted(kinds.items()))
        for name, kinds in sorted(elsewhere.items())
        if kinds
    )


def _kind(op_type: str, nodes: list[str]) -> str:
    names = [name for name in nodes if name][:SHOWN]
    shown = f" ({', '.join(names)}{', ...' if len(names) < len(nodes) else ''})" if names else ""
    return f"{len(nodes)} {op_type}{shown}"
