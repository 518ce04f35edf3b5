"""Rich tables and paragraphs of plain text, and those of distances."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .printable import printable
from .runtime.distance import Distance

DISTANCE = ("SQNR", "worst feed", "cosine", "largest error")
"""Columns of a `Distance`."""


def distances(by_name: dict[str, Distance]) -> list[tuple[str, ...]]:
    """Make a row of name and `DISTANCE` for each."""
    return [
        (name, _sqnr(item), f"{item.worst:.1f} dB", f"{item.cosine:.6f}", f"{item.max_error:.3g}")
        for name, item in by_name.items()
    ]


def unmeasured(reasons: dict[str, str]) -> RenderableType:
    """Make a table of values that could not be compared, or nothing."""
    return table("Not compared", ("value", "reason"), list(reasons.items()))


def _sqnr(item: Distance) -> str:
    error = "" if item.error is None else f" ± {item.error:.1f}"
    return f"{item.sqnr:.1f}{error} dB" + (f" ({item.nonfinite} NaN or infinite)" if item.nonfinite else "")


def line(text: str, style: str = "") -> Text:
    """Make a paragraph of plain text."""
    return Text(printable(text), style=style)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """Make a table of plain text, without columns that are empty; nothing at all when it has no rows."""
    cells = list(zip(*rows, strict=True))
    filled = [(name, column) for name, column in zip(columns, cells, strict=False) if any(column)]
    if not filled:
        return Text("", end="")
    grid = Table(*(name for name, _ in filled), title=title, title_justify="left", title_style="bold")
    for row in zip(*(column for _, column in filled), strict=True):
        grid.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    return grid
