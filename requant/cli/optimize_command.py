"""The command that quantizes a model for an engine."""

from pathlib import Path
from typing import Annotated

import typer

from ..attention import Attention
from ..lowering import Precision
from ..optimize import optimize
from .build_options import Build, Capability, Gpu, Shapes, Threads, build_options
from .limit_options import EffortOption, LabelsFile, MaxBytes, MaxDrop, MaxLatency, MetricName, MinSqnr
from .options import Calibration, Json, Keep, Model, Recipe, Target, beside, file_option
from .terminal import failed, progress, say, show

Evaluation = Annotated[
    Path | None, file_option("--evaluate", help="Data to measure accuracy on, instead of held-out calibration samples.")
]
KeepCostliest = Annotated[
    int, typer.Option(help="Number of layers to leave in float: those that cost the outputs most.", min=0)
]
AttentionFormat = Annotated[
    Attention | None,
    typer.Option(
        "--attention",
        help="Format of attention, where the engine makes one kernel of it: fp8, int8 or float.  "
        "[default: float; fp8 by mixed8 where it loses at most 0.3 dB]",
        show_default=False,
    ),
]
FloatType = Annotated[
    Precision | None,
    typer.Option(
        help="Floating-point type of the layers that are not quantized: float32, float16 or bfloat16.  "
        "[default: that of a half precision file where the engine computes in it; else float16 on TensorRT, "
        "float32 elsewhere]",
        show_default=False,
    ),
]
ZeroPoints = Annotated[
    bool,
    typer.Option(
        "--zero-points", help="Asymmetric quantization of non-negative activations, where the engine takes zero points."
    ),
]
HalfIO = Annotated[bool, typer.Option("--half-io", help="Convert inputs and outputs to half precision too.")]
PricesFile = Annotated[
    Path | None,
    file_option("--prices", help="What kernels take on the machine that will run it: a file of `requant prices`."),
]
Finish = Annotated[bool, typer.Option("--finish", help="Quantize the rest of a model that is quantized in part.")]
Output = Annotated[Path | None, file_option("--output", "-o", help="Output file.  [default: MODEL.TARGET.onnx]")]
ReportFile = Annotated[Path | None, file_option("--report", help="Report file, .html or .json.")]


def optimize_command(
    model: Model,
    calibration: Calibration = None,
    evaluation: Evaluation = None,
    target: Target = "cpu",
    recipe: Recipe = "int8",
    keep: Keep = None,
    keep_costliest: KeepCostliest = 0,
    min_sqnr: MinSqnr = None,
    attention: AttentionFormat = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_bytes: MaxBytes = None,
    metric: MetricName = "sqnr",
    labels: LabelsFile = None,
    effort: EffortOption = "normal",
    precision: FloatType = None,
    zero_points: ZeroPoints = False,
    half_io: HalfIO = False,
    prices: PricesFile = None,
    finish: Finish = False,
    output: Output = None,
    report: ReportFile = None,
    build: Build = False,
    shapes: Shapes = None,
    capability: Capability = "",
    gpu: Gpu = "",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Quantize MODEL for an engine and write the result."""
    if keep and keep_costliest:
        raise typer.BadParameter("--keep-costliest takes no --keep")
    destination, options = output or beside(model, target), build_options(build, shapes, capability, gpu, threads)
    with progress() as callback:
        result = optimize(
            model, calibration, recipe, target, keep_costliest or tuple(keep or ()), destination,
            min_sqnr=min_sqnr, max_drop=max_drop, max_latency=max_latency, max_bytes=max_bytes, metric=metric,
            labels=labels, effort=effort, attention=attention, precision=precision, zero_points=zero_points,
            keep_io=not half_io, finish=finish, evaluation=evaluation, prices=prices, report_file=report,
            build=options, progress=callback,
        )  # fmt: skip
    say(f"wrote {destination}")
    show(result.report.to_dict(), result.report.render, as_json)
    if not any(layer.planned for layer in result.report.layers):
        raise typer.Exit(failed(f"{model}: {result.report.message}", 3))
    if min_sqnr is not None and any(distance.sqnr < min_sqnr for distance in result.report.outputs.values()):
        raise typer.Exit(failed(f"{model}: less than {min_sqnr:g} dB on {result.report.measured_on}", 1))
