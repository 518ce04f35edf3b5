"""The tables of the commands: sites, distances, latencies, builds, and the fixes of each rule."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType

from ..advice import Advice
from ..api import Inspection
from ..build_tables import build_tables
from ..check_build import BuildCheck
from ..finding_tables import findings, node_names
from ..runtime.benchmark import Latency
from ..runtime.compare import Comparison
from ..runtime.fix import AppliedFix, FixResult
from ..runtime.prices import Prices
from ..tables import DISTANCE, distances, line, table, unmeasured


def inspection(result: Inspection) -> RenderableType:
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
        for site in result.sites
    ]
    refusals = [(item.name, item.kind, ", ".join(item.layers), item.reason) for item in result.refused]
    return Group(
        table("Sites", ("value", "kind", "channels", "absorbed by", "restored for", "no shift because"), sites),
        table("Refused", ("value", "kind", "read by", "reason"), refusals),
    )


def comparison(result: Comparison) -> RenderableType:
    """Make tables of distances, or of the reason for none and what can be said without."""
    return Group(
        *([line(result.message, style="yellow"), _agreements(result)] if result.message else ()),
        table(f"Outputs ({result.samples} feeds)", ("output", *DISTANCE), distances(result.outputs)),
        table("Layers", ("layer", *DISTANCE), distances(result.layers)),
        unmeasured(result.unmeasured),
    )


def advice(result: Advice) -> RenderableType:
    """Make tables of what layers cost and of the curve, or give the reason for none."""
    if not result.layers:
        return line(result.message, style="yellow")
    ranking = [
        (
            str(rank),
            layer.name,
            layer.op_type,
            f"{layer.sqnr:.1f} dB",
            f"{layer.share:.1%}",
            f"{layer.multiplications:.1%}",
            f"{layer.bytes / 1e3:.1f} kB",
            _milliseconds(layer.milliseconds),
        )
        for rank, layer in enumerate(result.layers, 1)
    ]
    curve = [
        (
            f"{point.sqnr:.1f} dB",
            str(len(point.in_float)),
            f"{point.multiplications:.1%}",
            f"{point.bytes / 1e3:.1f} kB",
            _milliseconds(point.milliseconds),
            node_names(point.in_float),
        )
        for point in result.curve
    ]
    costs = ("of MACs", "bytes more", "ms more")
    causes = [line(f"{layer.name}: {layer.cause}") for layer in result.layers if layer.cause]
    return Group(
        line(f"{result.model} → {result.target} ({result.recipe}), measured on {result.samples}", style="bold"),
        table("Layers by what they cost", ("", "layer", "op", "alone", "of the noise", *costs), ranking),
        *causes,
        table("Plans", ("SQNR", "in float", *costs, "layers"), curve),
    )


def _milliseconds(estimate: float | None) -> str:
    return "" if estimate is None else f"≈ {estimate:.3g}"


def latencies(items: Sequence[Latency]) -> RenderableType:
    """Make a table of milliseconds side by side."""
    rows = [
        (item.name, f"{item.median:.2f}", f"{item.minimum:.2f}", f"{item.p90:.2f}", f"{item.speedup:.2f}×")
        for item in items
    ]
    return table("Milliseconds a run", ("model", "median", "min", "p90", "speedup"), rows)


def build(result: BuildCheck) -> RenderableType:
    """Make tables of an engine's kernels, and list what is not as planned."""
    return Group(build_tables(result), findings(result.findings, result.tally.target))


def prices(result: Prices) -> RenderableType:
    """Make a table of nanoseconds, of each kernel in float and on integers."""
    rates = [
        (f"{name}, {form}", rate)
        for name, both in result.kernels.items()
        for form, rate in (("float", both.in_float), ("int8", both.in_integers))
    ]
    rows = [(name, *(f"{number:g}" for number in astuple(rate))) for name, rate in (*rates, ("border", result.border))]
    return table(f"Nanoseconds, {result.source}", ("kernel", "multiplication", "element", "tap", "call"), rows)


def fix_result(result: FixResult, target: str) -> RenderableType:
    """List the fixes that were applied, and the findings that remain."""
    columns = ("rule", "nodes", "what was done", "numbers")
    return Group(table(f"Fixed: {len(result.fixes)}", columns, _fixes(result.fixes)), findings(result.findings, target))


def fix_entries(result: FixResult) -> dict[str, list[dict[str, Any]]]:  # JSON: values of any plain type
    """Return fixes and findings as plain dictionaries; "mended" and "left" are the old names of the two."""
    fixes, remaining = [vars(item) for item in result.fixes], [item.to_dict() for item in result.findings]
    old = [{"rule": item.rule, "node": item.node, "done": item.action, "exact": item.exact} for item in result.fixes]
    return {"fixes": fixes, "findings": remaining, "mended": old, "left": remaining}


def _agreements(result: Comparison) -> RenderableType:
    rows = [
        (name, str(item.shape), "yes" if item.finite else "no", "yes" if item.equal else "no")
        for name, item in result.agreements.items()
    ]
    return table(f"Compared ({result.samples} random feeds)", ("value", "shape", "finite", "equal"), rows)


def _fixes(items: Iterable[AppliedFix]) -> Iterator[tuple[str, ...]]:
    for (rule, action, is_exact), group in groupby(sorted(items, key=_rule_and_action), key=_rule_and_action):
        yield rule, node_names([item.node for item in group]), action, "the same" if is_exact else "change"


def _rule_and_action(applied: AppliedFix) -> tuple[str, str, bool]:
    return applied.rule, applied.action, applied.exact
