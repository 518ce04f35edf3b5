"""Does an engine run a quantized graph as it was meant? Any Q/DQ graph, whoever wrote it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir

from ..errors import SourceError
from .rules import cpu, cuda, every, openvino, tensorrt
from .rules.rule import Rule
from .rules.view import View, view
from .targets import TARGETS
from .targets import target as row

RULES: dict[str, tuple[Rule, ...]] = dict.fromkeys(TARGETS, every.RULES)
RULES |= dict.fromkeys(("cpu", "cpu-avx2"), every.RULES + cpu.RULES)
RULES["cpu-arm"] = every.RULES + tuple(rule for rule in cpu.RULES if rule.name != "int8-activation")
RULES |= dict.fromkeys(("tensorrt", "tensorrt-rtx"), every.RULES + tensorrt.RULES)
RULES["openvino"] = every.RULES + openvino.RULES
RULES["cuda"] = every.RULES + cuda.RULES
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
    with damage_named():
        return found(view(model, engine))


@contextmanager
def damage_named() -> Iterator[None]:
    """Raise what a damaged model raises as SourceError."""
    try:
        yield
    except (TypeError, IndexError, ir.passes.PassError) as error:
        raise SourceError(f"damaged model: {' '.join(str(error).split())}") from error


def found(seen: View) -> list[Finding]:
    """What `check` finds in a model as the rules see it."""
    return [
        Finding(rule.name, seen.label(node), rule.consequence.format(what=what), rule.mend)
        for rule in RULES[seen.engine.name]
        for node, what in rule.find(seen)
    ]
