"""Does an engine run a quantized graph as it was meant? Any Q/DQ graph, whoever wrote it."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from .rules import common, cpu, cuda, openvino, tensorrt
from .rules.qdq_graph import View, view
from .rules.rule import Rule
from .targets import TARGETS, Target
from .targets import target as row
from .versions import number

RULES: dict[str, tuple[Rule, ...]] = dict.fromkeys(TARGETS, common.RULES)
RULES |= dict.fromkeys(("cpu", "cpu-avx2"), common.RULES + cpu.RULES)
RULES["cpu-arm"] = common.RULES + tuple(rule for rule in cpu.RULES if rule.name != "int8-activation")
RULES |= dict.fromkeys(("tensorrt", "tensorrt-rtx"), common.RULES + tensorrt.RULES)
RULES["openvino"] = common.RULES + openvino.RULES
RULES["cuda"] = common.RULES + cuda.RULES
"""What is asked of a graph, by target, whatever the engine's version."""


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


def check(model: ir.Model, target: str, *, version: str | None = None) -> list[Finding]:
    """What ``target`` would not run as intended, ordered by rule and then by node; empty when all is well.

    Takes time linear in the size of the graph. Reads scales and zero points, never weights. The model is not
    modified.

    Args:
        model: a Q/DQ graph, or one with operators on integers.
        target: a name in `requant.runtime.TARGETS`.
        version: of the engine, such as "1.32"; None is the one that is installed, or the newest that is known.

    Raises:
        TargetError: there is no such target, or ``version`` is none.
        SourceError: a node is not what its operator takes, or a function calls itself.
    """
    engine = row(target, version)
    return found(view(model, engine), rules(engine, version))


def rules(engine: Target, version: str | None = None) -> tuple[Rule, ...]:
    """The rules that hold for ``engine`` in ``version``, or else in the one that is installed, or else in the newest.

    Raises:
        TargetError: ``version`` is none.
    """
    wanted = number(engine.engine, version)
    held = (rule.at(wanted, engine.engine) for rule in RULES[engine.name])
    return tuple(rule for rule in held if rule is not None)


def found(seen: View, asked: Iterable[Rule]) -> list[Finding]:
    """The findings of the rules ``asked`` in a model as they see it."""
    return [
        Finding(rule.name, seen.label(node), rule.says(what), rule.mend)
        for rule in asked
        for node, what in rule.find(seen)
    ]
