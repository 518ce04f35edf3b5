"""The command that checks how an engine will run a model, by its rules or by what its builder makes of it."""

from pathlib import Path
from typing import Annotated

import typer

from .. import api, finding_tables
from ..check_build import check_build
from . import render
from .build_options import Build, Capability, Gpu, Shapes, Threads, build_options
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
    build: Build = False,
    shapes: Shapes = None,
    capability: Capability = "",
    gpu: Gpu = "",
    threads: Threads = 0,
    against: Annotated[
        Path | None,
        file_option(
            "--against", help="With --build, the float model to compare with.  [default: MODEL without its quantizers]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check how an engine will run MODEL; exits with 1 if problems remain."""
    if output is not None and not fix:
        raise typer.BadParameter("--output needs --fix")
    options = build_options(build, shapes, capability, gpu, threads)
    if options is None and against is not None:
        raise typer.BadParameter("--against needs --build")
    if options is not None:
        if fix:
            raise typer.BadParameter("--fix and --build do not go together: fix first, then build the copy")
        result = check_build(model, target, options, against=against)
        findings = result.findings
        show(result.to_dict(), lambda: render.build(result), as_json)
    elif not fix:
        findings = api.check(model, target)
        show([finding.to_dict() for finding in findings], lambda: finding_tables.findings(findings, target), as_json)
    else:
        destination = output or beside(model, "fixed")
        fixed = api.fix(model, target, destination)
        findings = fixed.findings
        say(f"wrote {destination}")
        show(render.fix_entries(fixed), lambda: render.fix_result(fixed, target), as_json)
    if findings:
        raise typer.Exit(1)
