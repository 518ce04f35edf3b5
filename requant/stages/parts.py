"""The parts of a plan that can be in int8 or in float: layers, and the regions of all Convs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.linear import find_linears
from ..passes.cost_model.program import Option, Picks
from ..passes.integer_regions import set_regions
from ..passes.layer_places import PlacedLayer, with_refusals
from ..passes.regions.choose import Alternative
from ..runtime.prices import PRODUCT
from ..runtime.targets import Target

_TOO_NOISY = "it would make too much noise"


class RegionOption(NamedTuple):
    """An alternative for all Convs, and the option that it is."""

    alternative: Alternative
    option: Option


@dataclass(frozen=True)
class Parts:
    """The parts of ``plan``, whose options are in the order of `options`.

    ``layers`` are in int8 or in float; ``regions`` are the alternatives for all Convs of an engine whose kernels write
    integers, of which the last is none; ``more`` of them, whose noise is not known, are numbered behind these. The
    noise of a layer, and of regions, is that with all others in float. Costs are nanoseconds on an engine with prices:
    ``saved`` is what int8 saves of a multiplication of a layer, and ``fixed_time`` what the model takes but for the
    options. Weights in float have ``float_bytes``.
    """

    plan: ir.Model
    layers: Sequence[PlacedLayer]
    noise: Sequence[NDArray[np.float64]]
    saved: float
    regions: Sequence[RegionOption] = ()
    fixed_time: float = 0.0
    float_bytes: int = 4
    more: list[RegionOption] = field(default_factory=list)

    @cached_property
    def options(self) -> list[list[Option]]:
        """The options of each part: int8, then float; then those of the regions."""
        layers = [
            [
                Option(0.0, noise),
                Option(self.saved * layer.multiplications, np.zeros_like(noise), self.more_bytes(layer)),
            ]
            for layer, noise in zip(self.layers, self.noise, strict=True)
        ]
        return [*layers, [one.option for one in self.regions]] if self.regions else layers

    @property
    def can_be_quantized(self) -> bool:
        """True where a part has another option than float."""
        return any(len(part) > 1 for part in self.options)

    @property
    def fastest(self) -> Picks:
        """The options that cost least."""
        return tuple(min(range(len(part)), key=lambda pick: part[pick].cost) for part in self.options)

    @property
    def smallest(self) -> Picks:
        """The options of the fewest bytes."""
        return tuple(min(range(len(part)), key=lambda pick: part[pick].size) for part in self.options)

    @property
    def in_float(self) -> Picks:
        """The options that leave everything in float."""
        return tuple(len(part) - 1 for part in self.options)

    def time(self, picks: Picks) -> float:
        """Return the nanoseconds that the model is estimated to take with ``picks``, on an engine with prices."""
        return self.fixed_time + self.cost(picks)

    def cost(self, picks: Picks) -> float:
        """Return the cost of ``picks``, which may be of ``more`` regions."""
        return sum(option.cost for option in self._chosen(picks))

    def size(self, picks: Picks) -> float:
        """Return by how many bytes the artifact of ``picks`` is estimated to be larger than that of the plan."""
        return sum(option.size for option in self._chosen(picks))

    def _chosen(self, picks: Picks) -> list[Option]:
        layers = [self.options[part][picks[part]] for part in range(len(self.layers))]
        return [*layers, self.region(picks[-1]).option] if self.regions else layers

    def region(self, pick: int) -> RegionOption:
        """Return the alternative of that number, also of ``more``."""
        return self.regions[pick] if pick < len(self.regions) else self.more[pick - len(self.regions)]

    def with_more(self, regions: RegionOption) -> int:
        """Keep one of ``more`` alternatives; returns its number."""
        self.more.append(regions)
        return len(self.regions) + len(self.more) - 1

    def more_bytes(self, layer: PlacedLayer) -> float:
        """Return by how many bytes the weight of ``layer`` is larger in float than in the plan."""
        return layer.bytes_saved - (4 - self.float_bytes) * layer.weights

    def layers_in_float(self, picks: Sequence[int]) -> list[int]:
        """Return the numbers of the `layers` that ``picks`` leave in float."""
        return [number for number, pick in enumerate(picks[: len(self.layers)]) if pick]

    def names_in_float(self, picks: Sequence[int]) -> list[str]:
        """Return the names of the layers that ``picks`` leave in float, and the cheapest choice does not."""
        names = [self.layers[number].name for number in self.layers_in_float(picks)]
        if not self.regions:
            return names
        fastest, taken = (self.region(pick).alternative.regions.refusals for pick in (0, picks[-1]))
        convs = [
            linear.name for linear in find_linears(self.plan.graph) if linear.node in taken.keys() - fastest.keys()
        ]
        return [*names, *convs]

    def is_float(self, picks: Sequence[int]) -> bool:
        """Tell whether ``picks`` leave everything in float."""
        return tuple(picks) == self.in_float

    def applied(self, picks: Sequence[int], reasons: Mapping[int, str]) -> ir.Model:
        """Return the plan with the options that ``picks`` say, and ``reasons`` for layers in float by their place."""
        if self.regions:
            every = [one.alternative.regions for one in (*self.regions, *self.more)]
            set_regions(self.plan.graph, every[picks[-1]], {value: None for one in every for value in one.quantizers})
        places = [self.layers[number].place for number in self.layers_in_float(picks)]
        return with_refusals(self.plan, {place: reasons.get(place, _TOO_NOISY) for place in places})


def saved_time(engine: Target) -> float | None:
    """Return the nanoseconds that int8 saves of a multiplication in a product; None on an engine without prices."""
    if engine.prices is None:
        return None
    rates = engine.prices.kernels[PRODUCT]
    return rates.in_float.multiplication - rates.in_integers.multiplication
