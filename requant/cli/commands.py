"""The command line: optimize, inspect, compare, check, bench.

Results go to stdout, everything else to stderr.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, cast

import typer
from typer.models import OptionInfo

from .. import api
from ..optimize import optimize
from ..recipe import RECIPES
from ..result import Precision
from ..runtime.targets import TARGETS
from . import render
from .terminal import failed, progress, say, show, telling

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _path(text: str) -> Path:
    """Parse a path from the command line; `Path("")` would be the current folder."""
    if not text:
        raise typer.BadParameter("a path cannot be empty")
    return Path(text)


def _file(*names: str, help: str) -> OptionInfo:
    """Make an option that takes a path and has no default."""
    return cast(OptionInfo, typer.Option(*names, help=help, show_default=False, parser=_path))


Model = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False, parser=_path)]
Target = Annotated[str, typer.Option("--target", "-t", help=f"The engine that will run it: {', '.join(TARGETS)}.")]
Recipe = Annotated[str, typer.Option(help=f"Quantization recipe: {', '.join(RECIPES)}, or module:object of your own.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]
OptionalData = Annotated[Path | None, _file("--data", "-d", help="An .npz, an .npy, or a folder of them.")]


@app.callback()
def requant() -> None:
    """Quantize ONNX models so that they stay as accurate as the float ones and run faster on their engine."""


@app.command("optimize")
def optimize_command(
    model: Model,
    calibration: Annotated[
        Path | None, _file("--calibration", "-c", help="Calibration data: an .npz, an .npy, or a folder of them.")
    ] = None,
    evaluation: Annotated[
        Path | None,
        _file("--evaluate", help="Data to measure accuracy on, instead of held-out calibration samples."),
    ] = None,
    target: Target = "cpu",
    recipe: Recipe = "int8",
    keep: Annotated[
        list[str] | None, typer.Option(help="Name or glob pattern of nodes to leave in float; repeat it.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Floating-point type of the layers that are not quantized: float32, float16 or bfloat16.  "
            "[default: that of a half precision file where the engine computes in it; else float16 on TensorRT, "
            "float32 elsewhere]",
            show_default=False,
        ),
    ] = None,
    zero_points: Annotated[
        bool,
        typer.Option(
            "--zero-points",
            help="Asymmetric quantization of non-negative activations, where the engine takes zero points.",
        ),
    ] = False,
    half_io: Annotated[
        bool, typer.Option("--half-io", help="Convert inputs and outputs to half precision too.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Quantize the rest of a model that is quantized in part.")
    ] = False,
    output: Annotated[Path | None, _file("--output", "-o", help="Output file.  [default: MODEL.TARGET.onnx]")] = None,
    report: Annotated[Path | None, _file("--report", help="Report file, .html or .json.")] = None,
    as_json: Json = False,
) -> None:
    """Quantize MODEL for an engine and write the result."""
    destination = output or _beside(model, target)
    with progress() as callback:
        result = optimize(
            model, calibration, recipe, target, tuple(keep or ()), destination,
            precision=precision, zero_points=zero_points, keep_io=not half_io, finish=finish,
            evaluation=evaluation, report_file=report, progress=callback,
        )  # fmt: skip
    say(f"wrote {destination}")
    show(result.report.to_dict(), result.report.render, as_json)
    if not any(layer.planned for layer in result.report.layers):
        raise typer.Exit(failed(f"{model}: {result.report.message}", 3))


@app.command("inspect")
def inspect_command(
    model: Model,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also say on stderr why each near match of a pattern is left as it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the sites of MODEL: where activation channels can be rescaled and shifted exactly, where not, and why."""
    with telling("requant.ir") if verbose else nullcontext():
        inspection = api.inspect(model)
    show(inspection.to_dict(), lambda: render.inspection(inspection), as_json)


@app.command("compare")
def compare_command(
    reference: Annotated[Path, typer.Argument(help="The float model.", show_default=False)],
    candidate: Annotated[Path, typer.Argument(help="The quantized model.", show_default=False)],
    data: OptionalData = None,
    as_json: Json = False,
) -> None:
    """Measure how far CANDIDATE is from REFERENCE, per output and per layer."""
    comparison = api.compare(reference, candidate, data)
    show(comparison.to_dict(), lambda: render.comparison(comparison), as_json)


@app.command("check")
def check_command(
    model: Model,
    target: Target = "tensorrt",
    fix: Annotated[
        bool, typer.Option("--fix", help="Write a copy with all safe fixes applied (no calibration data needed).")
    ] = False,
    output: Annotated[
        Path | None, _file("--output", "-o", help="Output file of --fix.  [default: MODEL.fixed.onnx]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check how an engine will run MODEL; exits with 1 if problems remain."""
    if not fix:
        if output is not None:
            raise typer.BadParameter("--output needs --fix")
        findings = api.check(model, target)
        show([finding.to_dict() for finding in findings], lambda: render.findings(findings, target), as_json)
    else:
        destination = output or _beside(model, "fixed")
        result = api.fix(model, target, destination)
        findings = result.findings
        say(f"wrote {destination}")
        show(render.fix_entries(result), lambda: render.fix_result(result, target), as_json)
    if findings:
        raise typer.Exit(1)


@app.command("bench")
def bench_command(
    models: Annotated[list[Path], typer.Argument(help="ONNX files; speedups are relative to the first.", parser=_path)],
    data: OptionalData = None,
    target: Target = "cpu",
    runs: Annotated[int, typer.Option(help="Timed runs of each.", min=1)] = 30,
    threads: Annotated[int, typer.Option(help="Threads of each session.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Measure the latency of MODELS side by side."""
    latencies = api.benchmark(models, data, target, runs=runs, threads=threads)
    show([latency.to_dict() for latency in latencies], lambda: render.latencies(latencies), as_json)


def _beside(model: Path, word: str) -> Path:
    """Return the default output path beside ``model``."""
    if not model.name:
        raise typer.BadParameter(f"{model} is no file")
    return model.with_name(f"{model.stem}.{word}.onnx")
