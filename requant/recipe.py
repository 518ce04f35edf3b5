"""Recipes: the passes in their order, with their options."""

from dataclasses import dataclass, field, replace
from typing import Literal

import onnx_ir as ir

from .calib.ranges import RANGES
from .choices import require_choice
from .deprecation import deprecated
from .errors import RequantError
from .imported import imported
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
from .ir.load import reason
from .passes.cost_model.search import CANDIDATES
from .passes.search_transforms import SearchTransforms
from .passes.solvers import AwqSearch, Identity, SmoothQuant
from .passes.split_channels import SplitChannels

_ROUNDINGS = ("nearest", "gptq")


@dataclass(frozen=True)
class Recipe:
    """The passes that `optimize` runs between calibration and lowering, and the formats.

    Attributes:
        name: its name in the report.
        rewrites: exact passes, run and verified in order.
        formats: the formats of data and weights; of several, each value takes the one of least loss.
        ranges: the estimator of activation ranges: "margin", "minmax", "percentile" or "mse".
        rounding: the rounding of weights: "nearest" or "gptq". "compensated" is a deprecated word for "gptq".
        baselines: recipes, the preferred first, one of whose plans is taken unless that of this recipe is
            significantly better on held-out samples.
        attention: formats, the preferred first, for the products of attention where they lose 0.3 dB at most.
    """

    name: str = "int8"
    rewrites: tuple[ir.passes.InPlacePass, ...] = field(default_factory=lambda: (SplitChannels(), SearchTransforms()))
    formats: tuple[Format, ...] = (INT8,)
    ranges: str = "margin"
    rounding: Literal["nearest", "gptq", "compensated"] = "gptq"
    baselines: tuple["Recipe", ...] = ()
    attention: tuple[Format, ...] = ()

    def __post_init__(self) -> None:
        """Raise RequantError for a word that is no choice, and for formats for which no engine has a kernel."""
        if self.rounding == "compensated":
            deprecated('rounding="compensated"', '"gptq"', stacklevel=4)
            object.__setattr__(self, "rounding", "gptq")
        require_choice("ranges", self.ranges, RANGES)
        require_choice("rounding", self.rounding, _ROUNDINGS)
        if not self.formats:
            raise RequantError(f"recipe {self.name!r} has no formats: choose one or more of {', '.join(SUPPORTED)}")
        for fmt in self.formats:
            require_supported(fmt)

    @property
    def plain(self) -> "Recipe":
        """The same formats on the graph as it is: min-max ranges, weights to nearest."""
        return replace(self, rewrites=(), ranges="minmax", rounding="nearest", baselines=())

    @property
    def opset(self) -> int:
        """The lowest ONNX opset that can carry it."""
        return max(fmt.opset for fmt in (*self.formats, *self.attention))

    @property
    def calibrated(self) -> bool:
        """True if it needs the ranges of the data."""
        return any(fmt.static for fmt in self.formats)


def weight_only(name: str, fmt: Format) -> Recipe:
    """Return a weight-only recipe, with AWQ's scales folded where that adds no node."""
    fold = SearchTransforms((Identity(), AwqSearch(formats=(fmt,))), (fmt,), insert=False, free=True)
    return Recipe(name, (fold,), (fmt,))


_INT8 = Recipe()
_FP8 = Recipe("fp8", (SearchTransforms(formats=(FP8,), insert=False, free=True),), (FP8,))
_MIXED8 = SearchTransforms(formats=(INT8, FP8), insert=False, free=True)
_SMOOTHQUANT = Recipe("int8 with SmoothQuant alone", (SearchTransforms((SmoothQuant(0.8, shift=True),)),))

_RECIPES = (
    _INT8,
    Recipe("int8-plain", rewrites=(), ranges="minmax", rounding="nearest"),
    Recipe("int8-dynamic", (SearchTransforms(insert=False, free=True),), (INT8_DYNAMIC,)),
    _FP8,
    Recipe("mixed8", (_MIXED8,), (INT8, FP8), attention=(FP8,), baselines=(_INT8, _FP8)),
    Recipe("auto", (_MIXED8,), (INT8, FP8), baselines=(_INT8, _SMOOTHQUANT, _FP8)),
    weight_only("int4-weight", int4_weight()),
    weight_only("int8-weight", INT8_WEIGHT),
)

RECIPES = {recipe.name: recipe for recipe in _RECIPES}
"""Recipes by name.

"int8" splits channels, transforms them and rounds weights by GPTQ; "int8-plain" quantizes the graph as it is.
"int8-dynamic" computes the scales of the data at run time. "fp8" is e4m3 for both, with transforms that add no node:
its relative error is the same for all magnitudes but the smallest, so that these matter less than for integers.
"mixed8" is int8 or e4m3 by value, where that is better than either for all. "auto" is the best of "int8", int8 with
SmoothQuant at every site, "fp8" and mixed formats, as far as the engine has them, on held-out samples.
"int4-weight" and "int8-weight" are weight-only. Without calibration, those that need no ranges omit rewrites too.
"""


def find_recipe(name: str | Recipe) -> Recipe:
    """Return the recipe called ``name``, or ``name`` itself where it is one.

    Args:
        name: a key of `RECIPES`; or ``module:object`` for a `Recipe` or a solver that a Python module of the caller
            holds, found as Python finds modules or in the current folder. A solver is a candidate beside those of
            "int8".

    Raises:
        RequantError: there is none of that name.
    """
    if isinstance(name, Recipe):
        return name
    if isinstance(name, str) and ":" in name:
        return _imported(name)
    require_choice("recipe", name, RECIPES)
    return RECIPES[name]


def _imported(name: str) -> Recipe:
    """Return the recipe ``module:object``, or one that searches with the solver of that name too."""
    own = imported("recipe", name)
    try:
        solver = own() if isinstance(own, type) else own
    except Exception as error:  # the caller's code raises whatever it likes
        raise RequantError(f"recipe {name!r}: cannot be imported ({type(error).__name__}: {reason(error)})") from error
    if isinstance(solver, Recipe):
        return solver
    if not callable(solver):
        raise RequantError(f"recipe {name!r}: is {type(solver).__name__}, neither a Recipe nor a solver")
    return Recipe(name, (SplitChannels(), SearchTransforms((*CANDIDATES, solver))))
