"""Options for what a plan may lose and cost, and for the metric that judges it."""

from pathlib import Path
from typing import Annotated

import typer

from ..effort import EFFORTS, EffortName
from ..metrics import METRICS
from .options import file_option

MinSqnr = Annotated[
    float | None, typer.Option(help="Least SQNR of each output in dB; layers stay in float for it.", show_default=False)
]
MaxDrop = Annotated[
    float | None,
    typer.Option(help="Most by which --metric may be below that of the float model.", show_default=False),
]
MaxLatency = Annotated[
    str | None,
    typer.Option(
        help="Most milliseconds by the prices of kernels, an estimate, or a share of the float model's such as 60%.",
        show_default=False,
    ),
]
MaxBytes = Annotated[
    str | None, typer.Option(help="Most bytes of the weights as written, or a size such as 50MB.", show_default=False)
]
MetricName = Annotated[
    str,
    typer.Option(
        "--metric",
        help=f"Figure of the outputs, larger is better: {', '.join(METRICS)}, or module:function of your own, called "
        "with the outputs by name and the labels.",
    ),
]
LabelsFile = Annotated[
    Path | None,
    file_option(
        "--labels",
        help="Labels of the calibration samples for --metric: an .npy, an .npz, or text with one a line.  "
        "[default: the float model's outputs]",
    ),
]
EffortOption = Annotated[
    EffortName, typer.Option("--effort", help=f"How many plans are tried for limits: {', '.join(EFFORTS)}.")
]
