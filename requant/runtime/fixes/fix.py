"""What a mend is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ..rules.qdq_graph import View

Apply = Callable[[View, Sequence[ir.Node | None]], Iterator[ir.Node | None]]


@dataclass(frozen=True)
class Mend:
    """``apply`` changes the view's model at the nodes that break a rule, and yields those that it could mend.

    ``done`` says what it did. ``exact`` promises the same numbers up to float rounding.
    """

    apply: Apply
    done: str
    exact: bool = True


def each(apply: Callable[[View, ir.Node], bool]) -> Apply:
    """A mend that looks at one node at a time, and says whether it could."""

    def apply_all(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
        yield from (node for node in nodes if node is not None and apply(view, node))

    return apply_all
