"""The tables of `requant check`: findings and applied fixes, a row for each rule."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ..runtime.check import Finding
from ..runtime.fix import AppliedFix, FixResult
from ..tables import table

_NAMED = 3
"""How many nodes a row names; the others are counted."""


def findings(items: Sequence[Finding], target: str) -> RenderableType:
    """List what the engine would not run as intended, or say that it will run all of it."""
    if not items:
        return Text(f"{target} will run it as intended", style="green")
    columns = ("rule", "nodes", "what happens", "fix")
    return table(f"Findings for {target}: {len(items)}", columns, _findings(items))


def fixed(result: FixResult, target: str) -> RenderableType:
    """List the fixes that were applied, and the findings that remain."""
    columns = ("rule", "nodes", "what was done", "numbers")
    return Group(table(f"Fixed: {len(result.fixes)}", columns, _fixes(result.fixes)), findings(result.findings, target))


def plain(result: FixResult) -> dict[str, list[dict[str, Any]]]:  # JSON: values of any plain type
    """Return fixes and findings as plain dictionaries; "mended" and "left" are the old names of the two."""
    fixes, remaining = [vars(item) for item in result.fixes], [item.to_dict() for item in result.findings]
    mended = [{"rule": item.rule, "node": item.node, "done": item.action, "exact": item.exact} for item in result.fixes]
    return {"fixes": fixes, "findings": remaining, "mended": mended, "left": remaining}


def _findings(items: Iterable[Finding]) -> Iterator[tuple[str, ...]]:
    for (rule, fix), group in groupby(sorted(items, key=_rule_and_fix), key=_rule_and_fix):
        members = list(group)
        consequences = list(dict.fromkeys(item.consequence for item in members))
        more = f" (and {len(consequences) - 1} like it)" if len(consequences) > 1 else ""
        yield rule, _names([item.node for item in members]), consequences[0] + more, fix


def _fixes(items: Iterable[AppliedFix]) -> Iterator[tuple[str, ...]]:
    for (rule, action, exact), group in groupby(sorted(items, key=_rule_and_action), key=_rule_and_action):
        yield rule, _names([item.node for item in group]), action, "the same" if exact else "change"


def _rule_and_fix(finding: Finding) -> tuple[str, str]:
    return finding.rule, finding.fix


def _rule_and_action(applied: AppliedFix) -> tuple[str, str, bool]:
    return applied.rule, applied.action, applied.exact


def _names(nodes: Sequence[str]) -> str:
    first, rest = ", ".join(nodes[:_NAMED]), len(nodes) - _NAMED
    return f"{first} and {rest} more" if rest > 0 else first
