"""What a rule is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from ..versions import Timeline, Version, at
from .qdq_graph import View

Violation = tuple[ir.Node | None, str]
"""The node that breaks a rule, or None for the model as a whole, and what about it does."""

Find = Callable[[View], Iterator[Violation]]


@dataclass(frozen=True)
class Rule:
    """``find`` yields the nodes that break the rule, each with what ``{what}`` in the consequence stands for.

    Rules of one name ask for the same thing; there is one for each different consequence. A consequence that depends
    on the engine's version is a timeline.
    """

    name: str
    find: Find
    consequence: str | Timeline
    mend: str

    def at(self, version: Version | None, engine: str) -> "Rule | None":
        """The rule as ``engine`` has it in ``version``, None being the newest; None if it has not got it there."""
        if isinstance(self.consequence, str):
            return self
        consequence = at(self.consequence, version, engine)
        return replace(self, consequence=consequence) if consequence else None

    def says(self, what: str) -> str:
        """The consequence of ``what``."""
        assert isinstance(self.consequence, str), "a rule of some version: see `at`"
        return self.consequence.format(what=what)
