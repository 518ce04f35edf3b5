"""Tables of an engine's kernels beside those of the float model."""

from collections.abc import Iterator, Sequence
from math import isfinite, isnan

from rich.console import Group, RenderableType

from .check_build import BuildCheck
from .runtime.engine_kernel import Kernels
from .runtime.ort.session_kernel import SessionKernel
from .runtime.tally import EngineTally, SessionTally, Tally
from .runtime.trt.roofline import GPUS
from .tables import line, table

_LARGEST = 12
"""How many rows of other kernels are shown; the rest are summed up."""


def build_tables(check: BuildCheck) -> RenderableType:
    """Make tables of both engines: totals, products by type, and the other kernels of the quantized one."""
    others = (*("ops", "kernels", "MB"), *(("ms, profiled",) if check.milliseconds else ()))
    return Group(
        table(f"Kernels of {check.tally.title}", ("", "model", check.reference), _rows(check)),
        table("Kernels beside products", others, _others(check.tally)),
        line(_verdict(check), style="bold" if check.traffic <= 1 else "yellow"),
        *([line(check.loss, style="yellow")] if check.loss else []),
    )


def _rows(check: BuildCheck) -> Iterator[tuple[str, ...]]:
    sides = check.tally, check.baseline
    yield "kernels", *(str(len(side.kernels)) for side in sides)
    yield "MB moved", *(_number(side.megabytes) for side in sides)
    if check.gpu:
        yield f"µs on {GPUS[check.gpu].title}, an estimate", *(_number(time, 0) for time in check.microseconds)
    if check.milliseconds:
        yield "ms a run, measured here", *(_number(time, 2) for time in check.milliseconds)
    for title in dict.fromkeys(title for side in sides for title in side.types):
        yield title, *(str(side.types[title]) for side in sides)
    for fmt, (count, exact) in check.tally.formats.items():
        yield f"layers planned in {fmt} that are", f"{exact} of {count}", ""
    yield from _between([side for side in sides if isinstance(side, SessionTally)])
    yield from _attentions([side for side in sides if isinstance(side, EngineTally)])
    if any(side.merged_layers for side in sides):
        yield "layers in a product with others", *(str(sum(map(len, side.merged_layers))) for side in sides)


def _between(sides: Sequence[SessionTally]) -> Iterator[tuple[str, ...]]:
    if sides and sides[0].between:
        yield "nodes between DQ and Q on integers", f"{len(sides[0].integer_nodes)} of {len(sides[0].between)}", ""
    if any(side.quantizers for side in sides):
        yield "Q and DQ that are kernels", *(str(len(side.quantizers)) for side in sides)


def _attentions(sides: Sequence[EngineTally]) -> Iterator[tuple[str, ...]]:
    counts = [sum(map(bool, side.attentions.values())) for side in sides]  # others are sums in kernels of other ops
    if any(counts):
        fused = (len(side.fused_attentions) for side in sides)
        yield "attentions in one kernel", *(f"{one} of {count}" for one, count in zip(fused, counts, strict=True))


def _others(tally: Tally) -> Iterator[tuple[str, ...]]:
    """Make a row of each kind of other kernels, those first that take longest, or else that move most."""
    costs = {ops: _costs(kernels) for ops, kernels in tally.other_kernels.items()}
    ordered = sorted(tally.other_kernels.items(), key=lambda item: -costs[item[0]][-1])
    for ops, kernels in ordered[:_LARGEST]:
        yield ops, str(len(kernels)), *_cells(costs[ops])
    if rest := ordered[_LARGEST:]:
        sums = tuple(map(sum, zip(*(costs[ops] for ops, _ in rest), strict=True)))
        yield f"{len(rest)} more", str(sum(len(kernels) for _, kernels in rest)), *_cells(sums)


def _costs(kernels: Kernels) -> tuple[float, ...]:
    """Return the megabytes of ``kernels``, and their milliseconds where they were measured."""
    times = [kernel.microseconds for kernel in kernels if isinstance(kernel, SessionKernel)]
    return sum(kernel.nbytes for kernel in kernels) / 1e6, *((sum(times) / 1e3,) if times else ())


def _cells(costs: tuple[float, ...]) -> Iterator[str]:
    return (_number(cost, digits) for cost, digits in zip(costs, (1, 2), strict=False))


def _number(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isfinite(value) else "unknown"


def _verdict(check: BuildCheck) -> str:
    if isnan(check.traffic):
        return "traffic is known where each input has one shape only"
    times = f", and a run takes {_ratio(check.milliseconds):.2f} times as long" if check.milliseconds else ""
    return f"the kernels move {check.traffic:.2f} times the bytes of those of {check.reference}{times}"


def _ratio(sides: tuple[float, ...]) -> float:
    return sides[0] / sides[1]
