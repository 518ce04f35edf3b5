"""The placement of a session's nodes: a provider that falls back computes right numbers slowly, without a warning."""

import warnings
from collections import defaultdict
from typing import TYPE_CHECKING

from ...errors import TargetError
from ...ir.ops import ARITHMETIC, CONVERSIONS, GENERATORS, JOINING, POINT_GATHERS, SELECTION, SHAPED, SIZES, UNIT_AXES
from .provider import CPU, Provider

if TYPE_CHECKING:
    import onnxruntime

RECORD = {"session.record_ep_graph_assignment_info": "1"}
"""Session entries that make ONNX Runtime, since 1.24, record the provider of each node."""

SHOWN = 3
"""Names of nodes in a message, for each kind."""

SHAPE_OPS = (
    SIZES | GENERATORS | CONVERSIONS | UNIT_AXES | SHAPED | JOINING | ARITHMETIC
    | (SELECTION - POINT_GATHERS - {"Split"})
    | {"Equal", "Less", "Mod", "ReduceProd", "Where"}  # what exporters write, so no trait
)  # fmt: skip
"""Ops that compute shapes. ONNX Runtime keeps them on the CPU on purpose, whatever the provider."""


class FallbackError(TargetError):
    """An error of an engine that is installed, but did not load or took no node."""


class FallbackWarning(UserWarning):
    """A warning of nodes that run on another provider than that of their target; the text lists them."""


def require_placement(ort_session: "onnxruntime.InferenceSession", provider: Provider) -> None:
    """Require that a session runs on its provider, and warn of nodes that do not.

    Raises:
        FallbackError: the provider was not loaded, or no node runs on it.
        TargetError: ONNX Runtime is too old to tell.
    """
    if provider.name == CPU:
        return
    if provider.name not in ort_session.get_providers():
        raise FallbackError(
            f"{provider.name} was not loaded, ONNX Runtime's log says why; it needs: {provider.install}"
        )
    if not hasattr(ort_session, "get_provider_graph_assignment_info"):
        raise TargetError("onnxruntime cannot tell where nodes run: install onnxruntime 1.24 or newer")
    nodes = placement(ort_session)
    elsewhere = {name: misplaced(part, name) for name, part in nodes.items() if name != provider.name}
    if nodes and provider.name not in nodes:
        raise FallbackError(f"{provider.name} took no node of the model: all run on {', '.join(sorted(nodes))}")
    if any(elsewhere.values()):
        warnings.warn(f"not on {provider.name}: {_listing(elsewhere)}", FallbackWarning, stacklevel=3)


def placement(ort_session: "onnxruntime.InferenceSession") -> dict[str, list[tuple[str, str]]]:
    """Map each provider to the operator and the name of the nodes that it took, before it fused any."""
    nodes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for part in ort_session.get_provider_graph_assignment_info():
        nodes[part.ep_name].extend((node.op_type, node.name) for node in part.get_nodes())
    return dict(nodes)


def misplaced(nodes: list[tuple[str, str]], name: str) -> dict[str, list[str]]:
    """Map operators to the names of nodes that are on the provider called ``name`` without a reason."""
    names: dict[str, list[str]] = defaultdict(list)
    for op_type, node in nodes:
        if name != CPU or op_type not in SHAPE_OPS:
            names[op_type].append(node)
    return dict(names)


def _listing(elsewhere: dict[str, dict[str, list[str]]]) -> str:
    return "; ".join(
        f"{name} has " + ", ".join(_kind(*kind) for kind in sorted(kinds.items()))
        for name, kinds in sorted(elsewhere.items())
        if kinds
    )


def _kind(op_type: str, nodes: list[str]) -> str:
    names = [name for name in nodes if name][:SHOWN]
    listing = f" ({', '.join(names)}{', ...' if len(names) < len(nodes) else ''})" if names else ""
    return f"{len(nodes)} {op_type}{listing}"
