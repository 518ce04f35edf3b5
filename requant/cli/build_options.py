"""The options of what engines are built for."""

from typing import Annotated

import typer

from ..check_build import BuildOptions
from ..runtime.profiles import Profiles
from ..runtime.tally import CAPABILITY
from ..runtime.trt.roofline import GPUS

Build = Annotated[
    bool,
    typer.Option(
        "--build",
        help="Count the kernels too, and their traffic: build the TensorRT engine, or run the model on the CPU.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        help="With --build, the shape of a dynamic input, such as x=8x128, or its smallest, usual and largest, "
        "x=1x128:8x128:32x128; repeat it.",
    ),
]
Capability = Annotated[
    str,
    typer.Option(
        help="With --build on TensorRT-RTX, the compute capability.  "
        f"[default: of --gpu, of the GPU here, or {CAPABILITY}]"
    ),
]
Gpu = Annotated[str, typer.Option(help=f"With --build on TensorRT, the GPU to estimate times for: {', '.join(GPUS)}.")]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        help="With --build on a CPU, threads of a session.  [default: as many as ONNX Runtime chooses]",
        min=0,
        show_default=False,
    ),
]


def build_options(
    build: bool, shapes: list[str] | None, capability: str, gpu: str, threads: int
) -> BuildOptions | None:
    """Gather the options; None without --build.

    Raises:
        BadParameter: there is one of the others without it, or a shape is malformed.
    """
    if not build:
        if shapes or capability or gpu or threads:
            raise typer.BadParameter("--shape, --capability, --gpu and --threads need --build")
        return None
    return BuildOptions(capability, _profiles(shapes or []), gpu, threads)


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
