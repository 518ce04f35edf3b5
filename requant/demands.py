"""What a call of `requant.optimize` demands of the plan beside its recipe: limits, a metric, and how far to search."""

from collections.abc import Sequence
from dataclasses import dataclass

from .attention import Attention, require_attention
from .calib.labels import read_labels
from .calib.sources import Data
from .choices import layers_to_keep, require_choice
from .effort import EFFORTS, Effort, EffortName
from .errors import RequantError
from .ir.formats import Format
from .limits import Limits
from .lowering import Lowering
from .metrics import WITH_DROP, Function, Metric, find_metric

_NEEDS_DATA = "needs calibration data: the noise of layers is measured on them"


@dataclass(frozen=True)
class Demands:
    """Which layers to keep in float by name, how many of the costliest, the limits, the metric and the effort.

    ``labels`` are where those of the metric come from. ``attention`` is the format of its products, None for float, and
    ``attention_open`` is whether a recipe may choose it.
    """

    keep: tuple[str, ...]
    keep_count: int
    limits: Limits
    metric: Metric | None
    labels: object
    effort: Effort
    attention: Format | None
    attention_open: bool


def find_demands(
    calibration: Data | None,
    lowering: Lowering,
    keep: Sequence[str] | int,
    limits: Limits,
    metric: str | Function,
    labels: object,
    effort: EffortName,
    attention: Attention | None,
) -> Demands:
    """Return what a call demands, if a plan can be found by it; the parameters are those of `requant.optimize`.

    Raises:
        RequantError: one of them is none of its choices, or needs another one.
        TargetError: the engine has no attention in that format.
        DataError: the labels cannot be read.
    """
    names, count = layers_to_keep(keep)
    require_choice("effort", effort, EFFORTS)
    judge = find_metric(metric, read_labels(labels))
    require_limits(limits, judge, lowering, calibration)
    if count and calibration is None:
        raise RequantError(f"keep={count} {_NEEDS_DATA}")
    asked = require_attention(attention, lowering.engine, calibrated=calibration is not None)
    return Demands(names, count, limits, judge, labels, EFFORTS[effort], asked, attention is None)


def require_limits(limits: Limits, metric: Metric | None, lowering: Lowering, calibration: Data | None) -> None:
    """Raise RequantError for a drop of no metric, a latency without prices, or no data to judge on."""
    if limits.max_drop is not None and metric is None:
        raise RequantError(f"{limits.words['max_drop']} needs a metric: {WITH_DROP}")
    if limits.of_latency and lowering.engine.prices is None:
        raise RequantError(
            f"{limits.words['max_latency']} needs prices of kernels, and there are none for {lowering.target}: "
            "only for targets that run in ONNX Runtime on a CPU"
        )
    if calibration is None and (limits or metric is not None):
        asked = str(limits) or f"metric {metric.name if metric is not None else ''}"
        raise RequantError(f"{asked} {_NEEDS_DATA}")
