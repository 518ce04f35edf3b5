"""The checker: what an engine would not run as intended in a quantized graph, whatever tool made it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from ..deprecation import deprecated
from .rules.qdq_graph import QdqGraph, qdq_graph
from .rules.rule import Rule
from .targets import Target
from .targets import target as find_target
from .versions import number


@dataclass(frozen=True)
class Finding:
    """A place where the engine departs from the graph.

    Attributes:
        rule: the name of the rule.
        node: a node's name, its first output's when it has none, or the graph's.
        consequence: what happens; begins with "refused", "runs in float", "slower" or "other numbers".
        fix: what to do about it.
    """

    rule: str
    node: str
    consequence: str
    fix: str

    @property
    def mend(self) -> str:
        """The old name of `fix`."""
        deprecated("Finding.mend", "Finding.fix")
        return self.fix

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return a plain dictionary; "mend" is the old name of "fix"."""
        return {**vars(self), "mend": self.fix}

    def __str__(self) -> str:
        return " ".join(f"{self.node}: {self.rule}: {self.consequence}; fix: {self.fix}".split())


def check(model: ir.Model, target: str, *, version: str | None = None) -> list[Finding]:
    """List what ``target`` would not run as intended, ordered by rule and then by node; empty when all is well.

    Takes time linear in the size of the graph. Reads scales and zero points, never weights. The model is not
    modified.

    Args:
        model: a Q/DQ graph, or one with operators on integers.
        target: a name in `requant.runtime.TARGETS`.
        version: of the engine, such as "1.32"; None is the installed one, or else the newest known.

    Raises:
        TargetError: there is no such target, or ``version`` is malformed.
        SourceError: a node is not what its operator takes, or a function calls itself.
    """
    engine = find_target(target, version)
    return findings(qdq_graph(model, engine), rules(engine, version))


def rules(engine: Target, version: str | None = None) -> tuple[Rule, ...]:
    """List the rules that hold for ``engine`` in ``version``, or else in the installed one, or else in the newest.

    Raises:
        TargetError: ``version`` is malformed.
    """
    release = number(engine.distributions, version)
    dated = (rule.at(release, engine.engine) for rule in engine.rules)
    return tuple(rule for rule in dated if rule is not None)


def findings(graph: QdqGraph, rules: Iterable[Rule]) -> list[Finding]:
    """List the violations of ``rules`` in ``graph``."""
    return [
        Finding(rule.name, graph.label(node), rule.message(what), rule.fix)
        for rule in rules
        for node, what in rule.find(graph)
    ]
