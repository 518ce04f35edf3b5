"""The chart of the curve of loss over cost, drawn by matplotlib; ``pip install 'requant[charts]'`` has it."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from .advice import Advice, CurvePoint
from .errors import OutputError, RequantError
from .ir.destination import appearing, require_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (7.0, 4.5)
"""Width and height in inches."""

UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""By format, the metadata with which two files of the same curve are the same bytes."""


def require_chart(path: Path) -> None:
    """Check that a chart can be drawn and written to ``path``, before any work is done for it.

    Raises:
        OutputError: nothing can be written there, or its suffix names no format of an image.
        RequantError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RequantError("matplotlib is not installed: pip install 'requant[charts]'")
    if _format(path) not in UNDATED:
        raise OutputError(f"{path}: a chart is one of {', '.join(UNDATED)}, by the suffix of its file")
    require_writable(path)


def save_curve(advice: Advice, path: Path) -> None:
    """Draw the curve of ``advice`` into ``path``, in the format of its suffix.

    Raises:
        OutputError: nothing can be written there, or its suffix names no format of an image.
        RequantError: matplotlib is not installed.
    """
    require_chart(path)
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "requant", "svg.fonttype": "none"}), appearing(path) as temporary:
        curve(advice).savefig(temporary, format=_format(path), metadata=UNDATED[_format(path)])


def curve(advice: Advice) -> "Figure":
    """Draw the SQNR of each plan over what it costs: estimated time where the engine has prices, else multiplications.

    The number at each is that of its layers in float.
    """
    from matplotlib.figure import Figure

    priced = all(point.milliseconds is not None for point in advice.curve)
    figure = Figure(SIZE, layout="constrained")
    axes = figure.add_subplot()
    costs = [_cost(point, priced) for point in advice.curve]
    axes.plot(costs, [point.sqnr for point in advice.curve], marker="o", drawstyle="steps-post")
    for cost, point in zip(costs, advice.curve, strict=True):
        axes.annotate(f" {len(point.in_float)}", (cost, point.sqnr), va="top", fontsize="small")
    axes.set_title(f"{Path(advice.model).name}: {advice.recipe} on {advice.target}, layers in float at each plan")
    axes.set_xlabel("estimated ms more than the fastest plan" if priced else "share of multiplications in float, %")
    axes.set_ylabel("SQNR of the worst output, dB")
    axes.grid(alpha=0.3)
    return figure


def _cost(point: CurvePoint, priced: bool) -> float:
    return (point.milliseconds or 0.0) if priced else 100 * point.multiplications


def _format(path: Path) -> str:
    return path.suffix[1:].lower()
