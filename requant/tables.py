"""Rich tables of inspections, comparisons and latencies."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .api import Inspection
from .printable import printable
from .runtime.benchmark import Latency
from .runtime.compare import Comparison
from .runtime.distance import Distance

DISTANCE = ("SQNR", "worst feed", "cosine", "largest error")
"""Columns of a `Distance`."""


def inspection(found: Inspection) -> RenderableType:
    """Make tables of sites, and of refusals with the linear layers that they leave outside."""
    sites = [
        (
            site.name,
            site.kind,
            str(site.channels),
            ", ".join(consumer.linear.name for consumer in site.consumers),
            ", ".join(edge.slot[0].name or edge.slot[0].op_type for edge in site.inverse_edges),
            site.shift_blocked or "",
        )
        for site in found.sites
    ]
    refused = [(item.name, item.kind, ", ".join(item.layers), item.reason) for item in found.refused]
    return Group(
        table("Sites", ("value", "kind", "channels", "absorbed by", "restored for", "no shift because"), sites),
        table("Refused", ("value", "kind", "read by", "reason"), refused),
    )


def comparison(found: Comparison) -> RenderableType:
    """Make tables of distances, or of the reason for none and what can be said without."""
    return Group(
        *([line(found.message, style="yellow"), _agreements(found)] if found.message else ()),
        table(f"Outputs ({found.samples} feeds)", ("output", *DISTANCE), distances(found.outputs)),
        table("Layers", ("layer", *DISTANCE), distances(found.layers)),
        unmeasured(found.unmeasured),
    )


def _agreements(found: Comparison) -> RenderableType:
    rows = [
        (name, str(item.shape), "yes" if item.finite else "no", "yes" if item.equal else "no")
        for name, item in found.agreements.items()
    ]
    return table(f"Compared ({found.samples} random feeds)", ("value", "shape", "finite", "equal"), rows)


def latencies(found: Sequence[Latency]) -> RenderableType:
    """Make a table of milliseconds side by side."""
    rows = [
        (item.name, f"{item.median:.2f}", f"{item.minimum:.2f}", f"{item.p90:.2f}", f"{item.speedup:.2f}×")
        for item in found
    ]
    return table("Milliseconds a run", ("model", "median", "min", "p90", "speedup"), rows)


def distances(found: dict[str, Distance]) -> list[tuple[str, ...]]:
    """Make a row of name and `DISTANCE` for each."""
    return [
        (name, _sqnr(item), f"{item.worst:.1f} dB", f"{item.cosine:.6f}", f"{item.max_error:.3g}")
        for name, item in found.items()
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
    """Make a table of plain text, or nothing at all when it has no rows."""
    cells = [[Text(printable(cell), overflow="fold") for cell in row] for row in rows]
    if not cells:
        return Text("", end="")
    grid = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in cells:
        grid.add_row(*row)
    return grid
