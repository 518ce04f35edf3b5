"""Tables of an engine's kernels beside those of the float16 model."""

from collections.abc import Iterator
from math import isfinite, isnan

from rich.console import Group, RenderableType

from .check_build import BuildCheck
from .runtime.tally import Tally
from .runtime.trt.roofline import GPUS
from .tables import line, table

_LARGEST = 12
"""How many rows of other kernels are shown; the rest are summed up."""


def build_tables(check: BuildCheck) -> RenderableType:
    """Make tables of both engines: totals, products by type, and the other kernels of the quantized one."""
    engine = f"{check.tally.target} {check.tally.version}"
    device = f", compute capability {check.tally.capability}" if check.tally.capability else ""
    title = f"Kernels of {engine}{device}"
    return Group(
        table(title, ("", "model", check.reference), _rows(check)),
        table("Kernels beside products", ("ops", "kernels", "MB"), _others(check.tally)),
        line(_verdict(check), style="bold" if check.traffic <= 1 else "yellow"),
        *([line(check.loss, style="yellow")] if check.loss else []),
    )


def _rows(check: BuildCheck) -> Iterator[tuple[str, ...]]:
    sides = check.tally, check.baseline
    yield "kernels", *(str(len(side.kernels)) for side in sides)
    yield "MB moved", *(_number(side.megabytes) for side in sides)
    if check.gpu:
        yield f"µs on {GPUS[check.gpu].title}, an estimate", *(_number(time, 0) for time in check.microseconds)
    for title in dict.fromkeys(title for side in sides for title in side.types):
        yield title, *(str(side.types[title]) for side in sides)
    for fmt, (count, exact) in check.tally.formats.items():
        yield f"layers planned in {fmt} that are", f"{exact} of {count}", ""
    counts = [sum(map(bool, side.attentions.values())) for side in sides]  # others are sums in kernels of other ops
    if any(counts):
        fused = (len(side.fused_attentions) for side in sides)
        yield "attentions in one kernel", *(f"{one} of {count}" for one, count in zip(fused, counts, strict=True))
    yield "layers in a product with others", *(str(sum(map(len, side.merged_layers))) for side in sides)


def _others(tally: Tally) -> Iterator[tuple[str, ...]]:
    sizes = {ops: sum(kernel.layer.nbytes for kernel in kernels) / 1e6 for ops, kernels in tally.other_kernels.items()}
    ordered = sorted(tally.other_kernels.items(), key=lambda item: -sizes[item[0]])
    for ops, kernels in ordered[:_LARGEST]:
        yield ops, str(len(kernels)), _number(sizes[ops])
    if rest := ordered[_LARGEST:]:
        count, size = sum(len(kernels) for _, kernels in rest), sum(sizes[ops] for ops, _ in rest)
        yield f"{len(rest)} more", str(count), _number(size)


def _number(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isfinite(value) else "unknown"


def _verdict(check: BuildCheck) -> str:
    if isnan(check.traffic):
        return "traffic is known where each input has one shape only"
    return f"the kernels move {check.traffic:.2f} times the bytes of those of {check.reference}"
