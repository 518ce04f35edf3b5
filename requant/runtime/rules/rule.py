"""A rule of an engine: what to look for in a graph, what the engine does about it, and what to do instead."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from ..versions import Timeline, Version, at
from .qdq_graph import QdqGraph

Violation = tuple[ir.Node | None, str]
"""The node that breaks a rule, or None for the model as a whole, and the detail for the message."""

Find = Callable[[QdqGraph], Iterator[Violation]]


@dataclass(frozen=True)
class Rule:
    """A rule that an engine has for quantized graphs.

    Rules of one name ask for the same thing; there is one for each different consequence.

    Attributes:
        name: the same for all engines that have the rule.
        find: yields the nodes that break it, each with the text that ``{what}`` in the consequence stands for.
        consequence: what the engine does; a timeline where that depends on the engine's version.
        fix: what to do about it.
    """

    name: str
    find: Find
    consequence: str | Timeline
    fix: str

    def at(self, version: Version | None, engine: str) -> "Rule | None":
        """Return the rule as ``engine`` has it in ``version``, None being the newest; None where it does not hold."""
        if isinstance(self.consequence, str):
            return self
        consequence = at(self.consequence, version, engine)
        return replace(self, consequence=consequence) if consequence else None

    def message(self, what: str) -> str:
        """Format the consequence for one violation."""
        assert isinstance(self.consequence, str), "a rule of some version: see `at`"
        return self.consequence.format(what=what)
