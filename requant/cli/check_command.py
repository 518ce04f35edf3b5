"""The command that checks how an engine will run a model, by its rules or by what its builder makes of it."""

from pathlib import Path
from typing import Annotated

import typer

from .. import api
from ..check_build import check_build
from ..runtime.profiles import Profiles
from ..runtime.tally import CAPABILITY
from . import render
from .options import Json, Model, Target, beside, file_option
from .terminal import say, show


def check_command(
    model: Model,
    target: Target = "tensorrt",
    fix: Annotated[
        bool, typer.Option("--fix", help="Write a copy with all safe fixes applied (no calibration data needed).")
    ] = False,
    output: Annotated[
        Path | None, file_option("--output", "-o", help="Output file of --fix.  [default: MODEL.fixed.onnx]")
    ] = None,
    build: Annotated[
        bool, typer.Option("--build", help="Build the engine too, and count its kernels and their traffic.")
    ] = False,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            help="With --build, the shape of a dynamic input, such as x=8x128, or its smallest, usual and largest, "
            "x=1x128:8x128:32x128; repeat it.",
        ),
    ] = None,
    capability: Annotated[
        str,
        typer.Option(help=f"With --build, the compute capability.  [default: that of the GPU, or {CAPABILITY}]"),
    ] = "",
    against: Annotated[
        Path | None,
        file_option("--against", help="With --build, the model to compare with.  [default: MODEL in float16]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check how an engine will run MODEL; exits with 1 if problems remain."""
    if output is not None and not fix:
        raise typer.BadParameter("--output needs --fix")
    if build and fix:
        raise typer.BadParameter("--build and --fix are two commands")
    if build:
        result = check_build(model, target, capability=capability, profiles=_profiles(shapes or []), against=against)
        findings = result.findings
        show(result.to_dict(), lambda: render.build(result), as_json)
    elif not fix:
        findings = api.check(model, target)
        show([finding.to_dict() for finding in findings], lambda: render.findings(findings, target), as_json)
    else:
        destination = output or beside(model, "fixed")
        fixed = api.fix(model, target, destination)
        findings = fixed.findings
        say(f"wrote {destination}")
        show(render.fix_entries(fixed), lambda: render.fix_result(fixed, target), as_json)
    if findings:
        raise typer.Exit(1)


def _profiles(shapes: list[str]) -> Profiles:
    """Parse the shapes of inputs, one or three of each."""
    profiles = {}
    for text in shapes:
        name, _, dims = text.rpartition("=")
        try:
            parsed = [tuple(int(dim) for dim in shape.split("x")) for shape in dims.split(":")]
        except ValueError:
            parsed = []
        if not name or len(parsed) not in (1, 3):
            raise typer.BadParameter(f"--shape {text}: not one shape, such as x=8x128, nor three between colons")
        profiles[name] = (parsed[0], parsed[len(parsed) // 2], parsed[-1])
    return profiles
