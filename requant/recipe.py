"""Recipes: which passes, in which order, with which options."""

from dataclasses import dataclass, field

import onnx_ir as ir

from .errors import RequantError
from .passes.rebase_sites import RebaseSites


@dataclass(frozen=True)
class Recipe:
    """What `optimize` does between calibration and lowering.

    Attributes:
        name: what the report calls it.
        rewrites: exact passes, run and verified in order.
        ranges: how activation ranges are estimated: "minmax", "percentile" or "mse".
        bits: width of the codes.
    """

    name: str = "int8"
    rewrites: tuple[ir.passes.InPlacePass, ...] = field(default_factory=lambda: (RebaseSites(),))
    ranges: str = "minmax"
    bits: int = 8


RECIPES = {
    "int8": Recipe(),
    "int8-plain": Recipe("int8-plain", rewrites=()),
}
"""Recipes by name: "int8" searches a basis for every site; "int8-plain" quantizes the graph as it is."""


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
