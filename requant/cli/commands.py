"""The command line: optimize, advise, inspect, compare, check, bench, prices.

Results go to stdout, everything else to stderr.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from .. import api
from ..advice import advise
from ..charts import require_chart, save_curve
from ..pricing.measure_prices import measure_prices
from ..runtime.prices_file import to_dict
from . import render
from .check_command import check_command
from .optimize_command import optimize_command
from .options import Calibration, ChartFile, Json, Keep, Model, OptionalData, Recipe, Target, file_option, parsed_path
from .terminal import failed, progress, say, show, telling

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def requant() -> None:
    """Quantize ONNX models so that they stay as accurate as the float ones and run faster on their engine."""


app.command("optimize")(optimize_command)


@app.command("advise")
def advise_command(
    model: Model,
    calibration: Calibration = None,
    target: Target = "cpu",
    recipe: Recipe = "int8",
    keep: Keep = None,
    chart: ChartFile = None,
    as_json: Json = False,
) -> None:
    """Rank the layers of MODEL by what they cost its outputs in int8, and say what some in float would buy."""
    if chart is not None:
        require_chart(chart)
    with progress() as callback:
        advice = advise(model, calibration, recipe, target, tuple(keep or ()), progress=callback)
    if chart is not None and advice.curve:
        save_curve(advice, chart)
    show(advice.to_dict(), lambda: render.advice(advice), as_json)
    if not advice.layers:
        raise typer.Exit(failed(f"{model}: {advice.message}", 3))


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


app.command("check")(check_command)


@app.command("bench")
def bench_command(
    models: Annotated[
        list[Path], typer.Argument(help="ONNX files; speedups are relative to the first.", parser=parsed_path)
    ],
    data: OptionalData = None,
    target: Target = "cpu",
    runs: Annotated[int, typer.Option(help="Timed runs of each.", min=1)] = 30,
    threads: Annotated[int, typer.Option(help="Threads of each session.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Measure the latency of MODELS side by side."""
    latencies = api.benchmark(models, data, target, runs=runs, threads=threads)
    show([latency.to_dict() for latency in latencies], lambda: render.latencies(latencies), as_json)


@app.command("prices")
def prices_command(
    output: Annotated[
        Path | None, file_option("--output", "-o", help="File to write, for --prices of optimize.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure what kernels take on this machine, by which optimize decides what runs in int8 on the CPU."""
    say("measuring kernels, about a minute")
    prices = measure_prices(output)
    if output is not None:
        say(f"wrote {output}")
    show(to_dict(prices), lambda: render.prices(prices), as_json)
