"""What a rule is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .view import View

Offence = tuple[ir.Node | None, str]
"""The node that breaks a rule, or None for the model as a whole, and what about it does."""

Find = Callable[[View], Iterator[Offence]]


@dataclass(frozen=True)
class Rule:
    """``find`` yields the nodes that break the rule, each with what ``{what}`` in the consequence stands for.

    Rules of one name ask for the same thing; there is one for each different consequence.
    """

    name: str
    find: Find
    consequence: str
    mend: str
