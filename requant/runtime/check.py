"""Does an engine run a quantized graph as it was meant? Any Q/DQ graph, whoever wrote it."""

from dataclasses import dataclass

import onnx_ir as ir

from ..errors import SourceError
from .rules import cpu, every, tensorrt
from .rules.view import view
from .targets import target as row

RULES = {"cpu": every.RULES + cpu.RULES, "tensorrt": every.RULES + tensorrt.RULES}
"""What is asked of a graph, by target."""


@dataclass(frozen=True)
class Finding:
    """One place where the engine departs from the graph.

    ``consequence`` begins with what the engine does: "refused", "runs in float", "slower" or "other numbers".
    ``node`` is a node's name, its first output's when it has none, or the graph's.
    """

    rule: str
    node: str
    consequence: str
    mend: str

    def __str__(self) -> str:
        return " ".join(f"{self.node}: {self.rule}: {self.consequence}; mend: {self.mend}".split())


def check(model: ir.Model, target: str) -> list[Finding]:
    """What ``target`` would not run as intended, ordered by rule and then by node; empty when all is well.

    Takes time linear in the size of the graph. Reads scales and zero points, never weights. The model is not
    modified.

    Raises:
        TargetError: there is no such target.
        SourceError: an attribute has the wrong type, or a function calls itself.
    """
    engine = row(target)
    try:
        seen = view(model, engine)
        return [
            Finding(rule.name, node, rule.consequence.format(what=what), rule.mend)
            for rule in RULES[engine.name]
            for node, what in rule.find(seen)
        ]
    except (TypeError, ir.passes.PassError) as error:
        raise SourceError(f"damaged model: {' '.join(str(error).split())}") from error
