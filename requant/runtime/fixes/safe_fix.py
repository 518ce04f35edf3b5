"""Safe fixes: what can be done about a violation without calibration data and without a decision of the user."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ..rules.qdq_graph import QdqGraph

Apply = Callable[[QdqGraph, Sequence[ir.Node | None]], Iterator[ir.Node | None]]


@dataclass(frozen=True)
class SafeFix:
    """An edit that removes violations of a rule.

    Attributes:
        apply: edits the graph's model at the nodes that break the rule, and yields those that it could fix.
        action: says what was done, for the report.
        exact: promises the same numbers up to float rounding.
    """

    apply: Apply
    action: str
    exact: bool = True


FixTable = Mapping[str, tuple[SafeFix, ...]]
"""By the name of a rule: the fixes to try, in order. Rules are fixed in the order of the table."""


def each(apply: Callable[[QdqGraph, ir.Node], bool]) -> Apply:
    """Return a fix of many nodes, made of one that edits a single node and tells whether it could."""

    def apply_all(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
        yield from (node for node in nodes if node is not None and apply(graph, node))

    return apply_all
