"""Options and arguments that several commands take."""

from pathlib import Path
from typing import Annotated, cast

import typer
from typer.models import OptionInfo

from ..recipe import RECIPES
from ..runtime.targets import TARGETS


def parsed_path(text: str) -> Path:
    """Parse a path from the command line; `Path("")` would be the current folder."""
    if not text:
        raise typer.BadParameter("a path cannot be empty")
    return Path(text)


def file_option(*names: str, help: str) -> OptionInfo:
    """Make an option that takes a path and has no default."""
    return cast(OptionInfo, typer.Option(*names, help=help, show_default=False, parser=parsed_path))


Model = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False, parser=parsed_path)]
Target = Annotated[str, typer.Option("--target", "-t", help=f"The engine that will run it: {', '.join(TARGETS)}.")]
Recipe = Annotated[str, typer.Option(help=f"Quantization recipe: {', '.join(RECIPES)}, or module:object of your own.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]
OptionalData = Annotated[Path | None, file_option("--data", "-d", help="An .npz, an .npy, or a folder of them.")]
Calibration = Annotated[
    Path | None, file_option("--calibration", "-c", help="Calibration data: an .npz, an .npy, or a folder of them.")
]
ChartFile = Annotated[
    Path | None, file_option("--chart", help="Draw the curve of loss over cost into a file: .svg, .png or .pdf.")
]
Keep = Annotated[list[str] | None, typer.Option(help="Name or glob pattern of nodes to leave in float; repeat it.")]


def beside(model: Path, word: str) -> Path:
    """Return the default output path beside ``model``."""
    if not model.name:
        raise typer.BadParameter(f"{model} is no file")
    return model.with_name(f"{model.stem}.{word}.onnx")
