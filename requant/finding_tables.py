"""Tables of findings, a row for all of one rule and fix."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from .runtime.check import Finding
from .tables import table

_NAMED = 3
"""How many nodes a row names; the others are counted."""


def findings(items: Sequence[Finding], target: str) -> RenderableType:
    """List what the engine would not run as intended, or say that it will run all of it."""
    if not items:
        return Text(f"{target} will run it as intended", style="green")
    columns = ("rule", "nodes", "what happens", "fix")
    return table(f"Findings for {target}: {len(items)}", columns, _findings(items))


def node_names(nodes: Sequence[str]) -> str:
    """Name the first of ``nodes``, and count the others."""
    first, more = ", ".join(nodes[:_NAMED]), len(nodes) - _NAMED
    return f"{first} and {more} more" if more > 0 else first


def _findings(items: Iterable[Finding]) -> Iterator[tuple[str, ...]]:
    for (rule, fix), group in groupby(sorted(items, key=_rule_and_fix), key=_rule_and_fix):
        members = list(group)
        consequences = list(dict.fromkeys(item.consequence for item in members))
        more = f" (and {len(consequences) - 1} like it)" if len(consequences) > 1 else ""
        yield rule, node_names([item.node for item in members]), consequences[0] + more, fix


def _rule_and_fix(finding: Finding) -> tuple[str, str]:
    return finding.rule, finding.fix
