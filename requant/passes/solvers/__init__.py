"""Solvers: each paper's formula for (d, t), from the statistics and the weights of a site.

A solver is a frozen dataclass of its options that maps an `Observation` to a `ChannelTransform`. It touches no graph.
Its ``str`` is its name in reports.
"""

from ...deprecation import renamed
from .aliases import LLM_FP4, OUTLIER_TUNE, QSM, REPQ_VIT
from .awq import Awq, AwqSearch
from .cross_layer_equalization import CrossLayerEqualization
from .gps import Gps
from .offset_copies import OffsetCopies
from .outlier_suppression import OutlierSuppressionPlus
from .power_of_two import PowerOfTwo
from .repq import RepQ
from .scale_only import ScaleOnly
from .shift import Identity, ScalarShift, Shift
from .smoothquant import SmoothQuant
from .solver import Solver
from .with_margin import WithMargin

__all__ = [
    "LLM_FP4",
    "OUTLIER_TUNE",
    "QSM",
    "REPQ_VIT",
    "Awq",
    "AwqSearch",
    "CrossLayerEqualization",
    "Gps",
    "Identity",
    "OffsetCopies",
    "OutlierSuppressionPlus",
    "PowerOfTwo",
    "RepQ",
    "ScalarShift",
    "ScaleOnly",
    "Shift",
    "SmoothQuant",
    "Solver",
    "WithMargin",
]

__getattr__ = renamed(globals(), {"Roomy": "WithMargin", "Staggered": "OffsetCopies", "Unshifted": "ScaleOnly"})
