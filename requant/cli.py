"""The command line: optimize, inspect, compare, check, bench.

Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 findings or a failed verification; 2 bad usage or
bad input, with one line that says what is wrong; 3 nothing was quantized.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from typer.exceptions import TyperException

from . import inspection, mending, tables, verdict
from .errors import (
    CalibrationWarning,
    OutputError,
    RequantError,
    SyntheticCalibrationWarning,
    TargetWarning,
    VerificationError,
)
from .ir.save import require_writable
from .optimize import optimize
from .plain import dumps
from .recipe import RECIPES
from .result import Precision
from .runtime.placement import FallbackWarning
from .runtime.targets import TARGETS
from .stages import STAGES

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
out = Console(soft_wrap=True)
err = Console(stderr=True)


Model = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)]
Target = Annotated[str, typer.Option("--target", "-t", help=f"The engine that will run it: {', '.join(TARGETS)}.")]
Recipe = Annotated[str, typer.Option(help=f"What to do: {', '.join(RECIPES)}.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]
OptionalData = Annotated[
    Path | None, typer.Option("--data", "-d", help="An .npz, or a folder of them.", show_default=False)
]


@app.callback()
def requant() -> None:
    """Quantize ONNX models so that they stay as accurate as the float ones and run faster on their engine."""


@app.command("optimize")
def optimize_command(
    model: Model,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", "-c", help="An .npz, or a folder of them: real samples.", show_default=False),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluate", help="Data to measure the result on, instead of held-out samples.", show_default=False
        ),
    ] = None,
    target: Target = "cpu",
    recipe: Recipe = "int8",
    keep: Annotated[
        list[str] | None, typer.Option(help="Name or glob pattern of nodes to leave in float; repeat it.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="What is computed in where there are no codes: float32, float16 or bfloat16.")
    ] = "float32",
    zero_points: Annotated[
        bool, typer.Option("--zero-points", help="Finer grids for one-sided data, where the engine takes zero points.")
    ] = False,
    half_io: Annotated[bool, typer.Option("--half-io", help="Inputs and outputs in half precision as well.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it.  [default: MODEL.TARGET.onnx]")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write the report, .html or .json.")] = None,
    as_json: Json = False,
) -> None:
    """Quantize MODEL for an engine and write the result."""
    destination = output or model.with_name(f"{model.stem}.{target}.onnx")
    if report is not None:
        require_report(report)
    with _progress() as progress:
        result = optimize(
            model, calibration, recipe, target, tuple(keep or ()), destination,
            precision=precision, zero_points=zero_points, keep_io=not half_io, evaluation=evaluation, progress=progress,
        )  # fmt: skip
    if report is not None:
        result.report.save(report)
    _print(result.report.to_dict(), result.report.render, as_json)
    err.print(f"wrote {escape(str(destination))}")
    if not any(layer.quantized for layer in result.report.layers):
        _failed(f"{model}: {result.report.message}", 3)
        raise typer.Exit(3)


@app.command("inspect")
def inspect_command(model: Model, as_json: Json = False) -> None:
    """Show the sites of MODEL: where channels can be re-based, where not, and why."""
    found = inspection.inspect(model)
    _print(found.to_dict(), lambda: tables.inspection(found), as_json)


@app.command("compare")
def compare_command(
    reference: Annotated[Path, typer.Argument(help="The float model.", show_default=False)],
    candidate: Annotated[Path, typer.Argument(help="The quantized model.", show_default=False)],
    data: OptionalData = None,
    as_json: Json = False,
) -> None:
    """Measure how far CANDIDATE is from REFERENCE, per output and per layer."""
    found = inspection.compare(reference, candidate, data)
    _print(found.to_dict(), lambda: tables.comparison(found), as_json)


@app.command("check")
def check_command(
    model: Model,
    target: Target = "tensorrt",
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, in a copy.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where --fix writes it.  [default: MODEL.fixed.onnx]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what the engine would refuse or run slowly in MODEL; exits with 1 if there is anything, or is still."""
    if not fix:
        if output is not None:
            raise typer.BadParameter("--output needs --fix")
        found = inspection.check(model, target)
        _print([vars(finding) for finding in found], lambda: verdict.findings(found, target), as_json)
    else:
        destination = output or model.with_name(f"{model.stem}.fixed.onnx")
        result = mending.fix(model, target, destination)
        found = result.left
        _print(verdict.plain(result), lambda: verdict.fixed(result, target), as_json)
        err.print(f"wrote {escape(str(destination))}")
    if found:
        raise typer.Exit(1)


@app.command("bench")
def bench_command(
    models: Annotated[list[Path], typer.Argument(help="ONNX files; the first is what others are compared with.")],
    data: OptionalData = None,
    target: Target = "cpu",
    runs: Annotated[int, typer.Option(help="Timed runs of each.", min=1)] = 30,
    threads: Annotated[int, typer.Option(help="Threads of each session.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Time MODELS side by side."""
    found = inspection.benchmark(models, data, target, runs=runs, threads=threads)
    _print([latency.to_dict() for latency in found], lambda: tables.latencies(found), as_json)


def main() -> None:
    """Entry point: run the command and turn what went wrong into one line and an exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries' warnings are not for the user; ours is
            for ours in (CalibrationWarning, SyntheticCalibrationWarning, TargetWarning, FallbackWarning):
                warnings.simplefilter("always", ours)
            warnings.showwarning = _show_warning
            code = app(arguments, standalone_mode=False, prog_name="requant")
    except VerificationError as error:
        return _failed(error, 1)
    except RequantError as error:
        return _failed(error, 2)
    except TyperException as error:
        return _failed(f"{error.format_message()} (see requant --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", 130)
    return code if isinstance(code, int) else 0


def require_report(path: Path) -> None:
    """Raise OutputError before any work if the report could not be written at ``path``."""
    if path.suffix not in (".json", ".html"):
        raise OutputError(f"{path}: a report ends in .json or .html")
    require_writable(path)


def _failed(error: Exception | str, code: int) -> int:
    err.print(f"requant: {' '.join(str(error).split())}", style="red", markup=False, soft_wrap=True, highlight=False)
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    err.print(f"warning: {message}", style="bold yellow", markup=False, soft_wrap=True)


def _print(plain: Any, render: Callable[[], Any], as_json: bool) -> None:
    if as_json:
        print(dumps(plain))
    else:
        out.print(render())


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """A bar over the stages on a terminal; nothing in a pipe."""
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("starting", total=len(STAGES))

        def show(stage: str, count: int) -> None:
            bar.update(task, completed=STAGES.index(stage), description=f"{stage} {count}" if count else stage)

        yield show
