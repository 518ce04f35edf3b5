"""What `requant check` prints for people: findings and mends, a row for each rule."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ..runtime.check import Finding
from ..runtime.fix import Fixed, Mended
from ..tables import table

_NAMED = 3
"""How many nodes a row names; the others are counted."""


def findings(found: Sequence[Finding], target: str) -> RenderableType:
    """What an engine will not like, or that there is nothing."""
    if not found:
        return Text(f"{target} will run it as intended", style="green")
    columns = ("rule", "nodes", "what happens", "what to do")
    return table(f"Findings for {target}: {len(found)}", columns, _findings(found))


def fixed(result: Fixed, target: str) -> RenderableType:
    """What was mended, and what is left."""
    columns = ("rule", "nodes", "what was done", "numbers")
    return Group(table(f"Mended: {len(result.mended)}", columns, _mended(result.mended)), findings(result.left, target))


def plain(result: Fixed) -> dict[str, list[dict[str, Any]]]:  # JSON: values of any plain type
    """What was mended and what is left, as plain dictionaries."""
    return {"mended": [vars(item) for item in result.mended], "left": [vars(item) for item in result.left]}


def _findings(found: Iterable[Finding]) -> Iterator[tuple[str, ...]]:
    for (rule, mend), group in groupby(sorted(found, key=_by_rule), key=_by_rule):
        same = list(group)
        consequences = list(dict.fromkeys(item.consequence for item in same))
        more = f" (and {len(consequences) - 1} like it)" if len(consequences) > 1 else ""
        yield rule, _names([item.node for item in same]), consequences[0] + more, mend


def _mended(mended: Iterable[Mended]) -> Iterator[tuple[str, ...]]:
    for (rule, done, exact), group in groupby(sorted(mended, key=_by_deed), key=_by_deed):
        yield rule, _names([item.node for item in group]), done, "the same" if exact else "change"


def _by_rule(finding: Finding) -> tuple[str, str]:
    return finding.rule, finding.mend


def _by_deed(mended: Mended) -> tuple[str, str, bool]:
    return mended.rule, mended.done, mended.exact


def _names(nodes: Sequence[str]) -> str:
    first, rest = ", ".join(nodes[:_NAMED]), len(nodes) - _NAMED
    return f"{first} and {rest} more" if rest > 0 else first
