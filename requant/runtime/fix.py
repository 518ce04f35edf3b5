"""Mend what the checker finds, where that needs no data and no decision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from .check import Finding, found, rules
from .fixes.fix import Mend
from .fixes.table import MENDS
from .rules.qdq_graph import View, look, view
from .rules.rule import Rule
from .targets import Target
from .targets import target as row


@dataclass(frozen=True)
class Mended:
    """What was done about a finding.

    ``exact`` promises the same numbers up to float rounding. Otherwise they change: where a Q/DQ pair is gone, by the
    rounding that it did; where a bias is in int32 codes now, by half a step of the product.
    """

    rule: str
    node: str
    done: str
    exact: bool


class Fixed(NamedTuple):
    """What `fix` gives: the new model, what was mended, what is left."""

    model: ir.Model
    mended: list[Mended]
    left: list[Finding]


def fix(model: ir.Model, target: str) -> Fixed:
    """A copy of ``model`` that ``target`` runs as intended, as far as that needs no data and no decision.

    Codes are written in another type where the numbers stay the same, constants in float, and Q/DQ pairs that
    only cost are removed. What would change the numbers in another way (new scales, new zero points) is left. In the
    copy functions are inlined, shapes are inferred and nodes that nothing reads are gone. ``model`` is not modified.

    Raises:
        TargetError, SourceError: as `requant.check`.
    """
    engine = row(target)
    asked = rules(engine)
    copy, mended = view(model, engine).model, list[Mended]()
    while done := list(_round(copy, engine, asked)):
        mended += done
    RemoveUnusedNodesPass()(copy)
    return Fixed(copy, mended, found(look(copy, engine), asked))


def _round(model: ir.Model, engine: Target, asked: Sequence[Rule]) -> Iterator[Mended]:
    """Try every mend once."""
    seen = look(model, engine)
    for broken, mends in MENDS[engine.name].items():
        for rule, mend in product([rule for rule in asked if rule.name == broken], mends):
            if done := _apply(seen, rule, mend):
                RemoveUnusedNodesPass()(model)
                seen = look(model, engine)
                yield from done


def _apply(seen: View, rule: Rule, mend: Mend) -> list[Mended]:
    nodes = list(dict.fromkeys(node for node, _ in rule.find(seen)))
    mended = mend.apply(seen, nodes) if nodes else ()
    return [Mended(rule.name, seen.label(node), mend.done, mend.exact) for node in mended]
