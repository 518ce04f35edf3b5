"""Recipes: which passes, in which order, with which options."""

from dataclasses import dataclass, field, replace
from typing import Literal

import onnx_ir as ir

from .calib.ranges import RANGES
from .choices import require_choice
from .errors import RequantError
from .ir.formats import (
    FP8,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT,
    SUPPORTED,
    Format,
    int4_weight,
    require_supported,
)
from .passes.search_transforms import SearchTransforms
from .passes.solvers import AwqSearch, Keep
from .passes.split_channels import SplitChannels

_ROUNDINGS = ("nearest", "compensated")


@dataclass(frozen=True)
class Recipe:
    """What `optimize` does between calibration and lowering.

    Attributes:
        name: what the report calls it.
        rewrites: exact passes, run and verified in order.
        formats: what data and weights are coded in; of several, each value takes the one of least loss.
        ranges: how activation ranges are estimated: "minmax", "percentile" or "mse".
        rounding: codes of weights: "nearest", or "compensated", where each makes up for the others.
    """

    name: str = "int8"
    rewrites: tuple[ir.passes.InPlacePass, ...] = field(default_factory=lambda: (SplitChannels(), SearchTransforms()))
    formats: tuple[Format, ...] = (INT8,)
    ranges: str = "margin"
    rounding: Literal["nearest", "compensated"] = "compensated"

    def __post_init__(self) -> None:
        """Raise RequantError for a word that is no choice, and for formats for which no engine has a kernel."""
        require_choice("ranges", self.ranges, RANGES)
        require_choice("rounding", self.rounding, _ROUNDINGS)
        if not self.formats:
            raise RequantError(f"recipe {self.name!r} has no formats: choose one or more of {', '.join(SUPPORTED)}")
        for chosen in self.formats:
            require_supported(chosen)

    @property
    def plain(self) -> "Recipe":
        """The same formats on the graph as it is: min-max ranges, weights to nearest."""
        return replace(self, rewrites=(), ranges="minmax", rounding="nearest")

    @property
    def opset(self) -> int:
        """The lowest ONNX opset that can carry it."""
        return max(chosen.opset for chosen in self.formats)

    @property
    def calibrated(self) -> bool:
        """Whether it needs to know the ranges of the data."""
        return any(chosen.static for chosen in self.formats)


def weight_only(name: str, chosen: Format) -> Recipe:
    """Weights alone are coded; scales that AWQ would choose are folded where that adds no node."""
    fold = SearchTransforms((Keep(), AwqSearch(formats=(chosen,))), (chosen,), explicit=False, free=True)
    return Recipe(name, (fold,), (chosen,))


_RECIPES = (
    Recipe(),
    Recipe("int8-plain", rewrites=(), ranges="minmax", rounding="nearest"),
    Recipe("int8-dynamic", (SearchTransforms(explicit=False, free=True),), (INT8_DYNAMIC,)),
    Recipe("fp8", (), (FP8,)),
    Recipe("mixed8", (SearchTransforms(formats=(INT8, FP8), explicit=False, free=True),), (INT8, FP8)),
    weight_only("int4-weight", int4_weight()),
    weight_only("int8-weight", INT8_WEIGHT),
)

RECIPES = {recipe.name: recipe for recipe in _RECIPES}
"""Recipes by name.

"int8" splits, transforms and rounds; "int8-plain" quantizes the graph as it is. "int8-dynamic" takes the scales of the
data at run time. "fp8" is e4m3 for both, "mixed8" takes int8 or e4m3 for each value. "int4-weight" and "int8-weight"
leave the data in float. Without calibration, those that need no ranges do without rewrites as well.
"""


def find_recipe(name: str | Recipe) -> Recipe:
    """The recipe called ``name``, or the one given.

    Raises:
        RequantError: there is none of that name.
    """
    if isinstance(name, Recipe):
        return name
    require_choice("recipe", name, RECIPES)
    return RECIPES[name]
