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
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from typer.exceptions import TyperException

from .. import inspection, mending, tables
from ..errors import (
    CalibrationWarning,
    RequantError,
    SyntheticCalibrationWarning,
    TargetWarning,
    VerificationError,
)
from ..optimize import optimize
from ..progress import STAGES
from ..recipe import RECIPES
from ..result import Precision
from ..runtime.ort.placement import FallbackWarning
from ..runtime.targets import TARGETS
from . import verdict
from .terminal import err, prepare, say, show

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _path(text: str) -> Path:
    """A path from the command line; `Path("")` would be the current folder."""
    if not text:
        raise typer.BadParameter("a path cannot be empty")
    return Path(text)


Model = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False, parser=_path)]
Target = Annotated[str, typer.Option("--target", "-t", help=f"The engine that will run it: {', '.join(TARGETS)}.")]
Recipe = Annotated[str, typer.Option(help=f"What to do: {', '.join(RECIPES)}.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]
OptionalData = Annotated[
    Path | None,
    typer.Option("--data", "-d", help="An .npz, an .npy, or a folder of them.", show_default=False, parser=_path),
]


@app.callback()
def requant() -> None:
    """Quantize ONNX models so that they stay as accurate as the float ones and run faster on their engine."""


@app.command("optimize")
def optimize_command(
    model: Model,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            "-c",
            help="An .npz, an .npy, or a folder of them: real samples.",
            show_default=False,
            parser=_path,
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluate",
            help="Data to measure the result on, instead of held-out samples.",
            show_default=False,
            parser=_path,
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
        Path | None,
        typer.Option("--output", "-o", help="Where to write it.  [default: MODEL.TARGET.onnx]", parser=_path),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where to write the report, .html or .json.", parser=_path)
    ] = None,
    as_json: Json = False,
) -> None:
    """Quantize MODEL for an engine and write the result."""
    destination = output or _beside(model, target)
    with _progress() as progress:
        result = optimize(
            model, calibration, recipe, target, tuple(keep or ()), destination,
            precision=precision, zero_points=zero_points, keep_io=not half_io, evaluation=evaluation,
            report_file=report, progress=progress,
        )  # fmt: skip
    say(f"wrote {destination}")
    show(result.report.to_dict(), result.report.render, as_json)
    if not any(layer.quantized for layer in result.report.layers):
        raise typer.Exit(_failed(f"{model}: {result.report.message}", 3))


@app.command("inspect")
def inspect_command(model: Model, as_json: Json = False) -> None:
    """Show the sites of MODEL: where channels can be transformed, where not, and why."""
    found = inspection.inspect(model)
    show(found.to_dict(), lambda: tables.inspection(found), as_json)


@app.command("compare")
def compare_command(
    reference: Annotated[Path, typer.Argument(help="The float model.", show_default=False)],
    candidate: Annotated[Path, typer.Argument(help="The quantized model.", show_default=False)],
    data: OptionalData = None,
    as_json: Json = False,
) -> None:
    """Measure how far CANDIDATE is from REFERENCE, per output and per layer."""
    found = inspection.compare(reference, candidate, data)
    show(found.to_dict(), lambda: tables.comparison(found), as_json)


@app.command("check")
def check_command(
    model: Model,
    target: Target = "tensorrt",
    fix: Annotated[
        bool, typer.Option("--fix", help="Write a copy with all safe fixes applied (no calibration data needed).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where --fix writes it.  [default: MODEL.fixed.onnx]", parser=_path),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what the engine would refuse or run slowly in MODEL; exits with 1 if problems remain."""
    if not fix:
        if output is not None:
            raise typer.BadParameter("--output needs --fix")
        found = inspection.check(model, target)
        show([finding.to_dict() for finding in found], lambda: verdict.findings(found, target), as_json)
    else:
        destination = output or _beside(model, "fixed")
        result = mending.fix(model, target, destination)
        found = result.findings
        say(f"wrote {destination}")
        show(verdict.plain(result), lambda: verdict.fixed(result, target), as_json)
    if found:
        raise typer.Exit(1)


@app.command("bench")
def bench_command(
    models: Annotated[
        list[Path], typer.Argument(help="ONNX files; the first is what others are compared with.", parser=_path)
    ],
    data: OptionalData = None,
    target: Target = "cpu",
    runs: Annotated[int, typer.Option(help="Timed runs of each.", min=1)] = 30,
    threads: Annotated[int, typer.Option(help="Threads of each session.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Time MODELS side by side."""
    found = inspection.benchmark(models, data, target, runs=runs, threads=threads)
    show([latency.to_dict() for latency in found], lambda: tables.latencies(found), as_json)


def main() -> None:
    """Entry point: run the command and turn what went wrong into one line and an exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    prepare()
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
    except BrokenPipeError:
        return 0  # the consumer of --help has seen enough
    except OSError as error:
        return _failed(f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except MemoryError:
        return _failed("this takes more memory than there is", 2)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", 130)
    return code if isinstance(code, int) else 0


def _beside(model: Path, word: str) -> Path:
    """Where a command writes to unless it is told."""
    if not model.name:
        raise typer.BadParameter(f"{model} is no file")
    return model.with_name(f"{model.stem}.{word}.onnx")


def _failed(error: Exception | str, code: int) -> int:
    say(f"requant: {error}", style="red")
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    say(f"warning: {message}", style="bold yellow")


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """A bar over the stages on a terminal; nothing in a pipe."""
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("starting", total=len(STAGES))

        def show(stage: str, count: int) -> None:
            bar.update(task, completed=STAGES.index(stage), description=f"{stage} {count}" if count else stage)

        yield show
