"""Transform every site by the solver whose consumers' quantized outputs are closest to the float ones.

(d, t) = argmin over the candidates of  L(d, t) · p(d, t)        p: what the nodes that it adds cost, as a factor
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ..ir.channels.find import Refusal, Site, find_sites
from ..ir.channels.inserted import find_inserted
from ..ir.formats import INT8, Format
from ..ir.transform.cost import added_nodes
from ..ir.transform.transform import ChannelTransform
from .channel_pass import ChannelPass, Solved
from .cost_model.loss import Assessment
from .cost_model.observation import Observation
from .cost_model.prune_inserted import prune_inserted
from .cost_model.search import CANDIDATES, EXPLICIT_ROOM, NODE_PRICE, ROOM, SHIFT_PRICE, search
from .select_layers import is_direct
from .solvers import Solver


@dataclass(frozen=True)
class SearchTransforms(ChannelPass):
    """Every site takes the candidate of least loss.

    Attributes:
        candidates: the solvers to choose from.
        formats: what the loss imagines data and weights to be coded in; of several, each value takes the best.
        explicit: also transform what no norm feeds, by a Mul and an Add of its own where they pay.
        free: take no transform that adds a node at inference.
    """

    candidates: tuple[Solver, ...] = CANDIDATES
    formats: tuple[Format, ...] = (INT8,)
    explicit: bool = True
    free: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Treat the sites that somebody upstream pays for; then, in the graph that these have left, all others."""
        found = find_sites(model)
        sites = [site for site in found if isinstance(site, Site)]
        done = [self.applied(self.solved(site)) for site in sites]
        if self.explicit:
            rest = [self.solved(_unless_direct(place)) for place in find_inserted(model, sites)]
        else:
            rest = [self.solved(site) for site in found if isinstance(site, Refusal)]
        return self.recorded(model, [*done, *map(self.applied, self._heeded(model, rest))])

    def _heeded(self, model: ir.Model, solved: Sequence[Solved]) -> Iterator[Solved]:
        """Those of ``solved`` that the outputs of the model notice; the others are left as they are.

        The less a site's consumers notice, the more likely is it that the outputs do not.
        """
        order = sorted(solved, key=lambda item: (item.record.error_before or 0.0) - (item.record.error_after or 0.0))
        pairs = [(item.site, item.transform) for item in order if item.site is not None and item.transform is not None]
        spared = prune_inserted(model, pairs, self.formats[0])
        for item in solved:
            yield item.left("the outputs of the model would hardly notice") if item.record.name in spared else item

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """The candidate of least loss, counting what its nodes cost."""
        room = ROOM if site.producers else EXPLICIT_ROOM
        choice = search(observation, self.candidates, self._price(site), self.formats, room)
        return choice.solver, choice.given

    def _price(self, site: Site) -> Callable[[ChannelTransform], float]:
        """What a transform costs for the nodes that it adds, as a factor."""
        free = self.free or any(is_direct(consumer.linear) for consumer in site.consumers)

        def price(transform: ChannelTransform) -> float:
            nodes = added_nodes(site, transform)
            scale_is_free = not added_nodes(site, transform.unshifted)
            charge = SHIFT_PRICE if scale_is_free else NODE_PRICE
            return math.inf if free and nodes else 1 + charge * nodes

        return price


def _unless_direct(place: Site | Refusal) -> Site | Refusal:
    """The explicit site, unless its nodes would come between two layers that hand codes on."""
    direct = (
        [consumer.linear.name for consumer in place.consumers if is_direct(consumer.linear)]
        if isinstance(place, Site)
        else ()
    )
    if not direct:
        return place
    return Refusal(place.kind, place.name, f"{direct[0]!r} is to read the codes that the layer before it writes")
