"""Recipes: which passes, in which order, with which options."""

from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from .errors import RequantError
from .passes.rebase_sites import RebaseSites
from .passes.split_channels import SplitChannels


@dataclass(frozen=True)
class Recipe:
    """What `optimize` does between calibration and lowering.

    Attributes:
        name: what the report calls it.
        rewrites: exact passes, run and verified in order.
        ranges: how activation ranges are estimated: "minmax", "percentile" or "mse".
        bits: width of the codes; fewer than 8 are simulated by a Clip before each quantizer.
        rounding: codes of weights: "nearest", or "compensated", where each makes up for the others.
    """

    name: str = "int8"
    rewrites: tuple[ir.passes.InPlacePass, ...] = field(default_factory=lambda: (SplitChannels(), RebaseSites()))
    ranges: str = "minmax"
    bits: int = 8
    rounding: Literal["nearest", "compensated"] = "compensated"


RECIPES = {
    "int8": Recipe(),
    "int8-plain": Recipe("int8-plain", rewrites=(), rounding="nearest"),
}
"""Recipes by name: "int8" splits, re-bases and rounds; "int8-plain" quantizes the graph as it is."""


def find_recipe(name: str | Recipe) -> Recipe:
    """The recipe called ``name``, or the one given.

    Raises:
        RequantError: there is none of that name.
    """
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise RequantError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
