"""Fix what the checker finds, where that needs no calibration data and no decision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..deprecation import deprecated
from .check import Finding, findings, rules
from .fixes.safe_fix import SafeFix
from .rules.qdq_graph import QdqGraph, qdq_graph, scan
from .rules.rule import Rule
from .targets import Target
from .targets import target as find_target


@dataclass(frozen=True)
class AppliedFix:
    """A safe fix that was applied to a finding.

    Attributes:
        rule: the name of the rule.
        node: the node, as findings name it.
        action: what was done.
        exact: promises the same numbers up to float rounding. Otherwise they change: where a Q/DQ pair is gone, by
            its rounding error; where a bias is in int32 now, by half a step of the product.
    """

    rule: str
    node: str
    action: str
    exact: bool

    @property
    def done(self) -> str:
        """The old name of `action`."""
        deprecated("AppliedFix.done", "AppliedFix.action")
        return self.action


class FixResult(NamedTuple):
    """The result of `fix`: the new model, the fixes that were applied, the findings that remain."""

    model: ir.Model
    fixes: list[AppliedFix]
    findings: list[Finding]

    @property
    def mended(self) -> list[AppliedFix]:
        """The old name of `fixes`."""
        deprecated("FixResult.mended", "FixResult.fixes")
        return self.fixes

    @property
    def left(self) -> list[Finding]:
        """The old name of `findings`."""
        deprecated("FixResult.left", "FixResult.findings")
        return self.findings


def fix(model: ir.Model, target: str) -> FixResult:
    """Return a copy of ``model`` with all safe fixes for ``target`` applied.

    Quantized values are stored in another type where the real numbers stay the same, constants in float, and Q/DQ
    pairs that only add work are removed. Findings whose fix would change the numbers in another way (new scales, new
    zero points) remain. In the copy functions are inlined, shapes are inferred and unused nodes are gone. ``model`` is
    not modified.

    Raises:
        TargetError, SourceError: as `requant.check`.
    """
    engine = find_target(target)
    active = rules(engine)
    copy, fixes = qdq_graph(model, engine).model, list[AppliedFix]()
    while batch := list(_round(copy, engine, active)):
        fixes += batch
    RemoveUnusedNodesPass()(copy)
    return FixResult(copy, fixes, findings(scan(copy, engine), active))


def _round(model: ir.Model, engine: Target, active: Sequence[Rule]) -> Iterator[AppliedFix]:
    """Try every fix once."""
    graph = scan(model, engine)
    for name, fixes in engine.fixes.items():
        for rule, safe_fix in product([rule for rule in active if rule.name == name], fixes):
            if batch := _apply(graph, rule, safe_fix):
                RemoveUnusedNodesPass()(model)
                graph = scan(model, engine)
                yield from batch


def _apply(graph: QdqGraph, rule: Rule, safe_fix: SafeFix) -> list[AppliedFix]:
    nodes = list(dict.fromkeys(node for node, _ in rule.find(graph)))
    changed = safe_fix.apply(graph, nodes) if nodes else ()
    return [AppliedFix(rule.name, graph.label(node), safe_fix.action, safe_fix.exact) for node in changed]
