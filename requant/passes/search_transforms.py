"""Transform every site by the solver whose consumers' quantized outputs are closest to the float ones.

(d, t) = argmin over the candidates of  L(d, t) · p(d, t)        p: the penalty for the nodes that it adds, as a factor
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from ..ir.channels.find import Refusal, Site, find_sites
from ..ir.channels.inserted import find_inserted
from ..ir.formats import INT8, Format
from ..ir.transform.cost import added_nodes
from ..ir.transform.transform import ChannelTransform
from .annotations import is_direct
from .channel_pass import ChannelPass, SiteTransform
from .cost_model.gates import free_nodes, gates, in_uint8
from .cost_model.loss import Assessment
from .cost_model.observation import Observation
from .cost_model.prune_inserted import prune_inserted
from .cost_model.search import (
    CANDIDATES,
    INSERTED_MARGIN_SHARE,
    MARGIN_SHARE,
    NODE_PENALTY,
    SHIFT_PENALTY,
    search,
)
from .solvers import Solver
from .split_hard_swish import join_hard_swishes


@dataclass(frozen=True)
class SearchTransforms(ChannelPass):
    """A pass that transforms each site by the candidate of least loss.

    Reads the annotation `DIRECT` besides those of `ChannelPass`.

    Attributes:
        candidates: the solvers to choose from.
        formats: the formats of data and weights for which the loss is computed; of several, each value takes the best.
        insert: also transform values that no norm feeds, by an inserted Mul and Add where they pay.
        free: take no transform that adds a node at inference.
    """

    candidates: tuple[Solver, ...] = CANDIDATES
    formats: tuple[Format, ...] = (INT8,)
    insert: bool = True
    free: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Transform the sites whose producers take the transform; then, in the resulting graph, all other sites."""
        places = find_sites(model)
        sites = [place for place in places if isinstance(place, Site)]
        records = [self.apply(self.choose(site)) for site in sites]
        join_hard_swishes(model.graph)
        if self.insert:
            choices = [self.choose(_unless_direct(place)) for place in find_inserted(model, sites)]
        else:
            choices = [self.choose(place) for place in places if isinstance(place, Refusal)]
        return self.result(model, [*records, *map(self.apply, self._pruned(model, choices))])

    def _pruned(self, model: ir.Model, choices: Sequence[SiteTransform]) -> Iterator[SiteTransform]:
        """Yield ``choices``, without the transforms that the model's outputs do not depend on measurably.

        The less a transform gains at its site's consumers, the more likely it is to be one of these.
        """
        order = sorted(choices, key=lambda item: (item.record.error_before or 0.0) - (item.record.error_after or 0.0))
        pairs = [(item.site, item.transform) for item in order if item.site is not None and item.transform is not None]
        immaterial = prune_inserted(model, pairs, self.formats[0])
        reason = "skipped: it would not change the model's output measurably"
        for item in choices:
            yield item.skipped(reason) if item.record.name in immaterial else item

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """Return the candidate of least loss, with the penalty for its nodes."""
        share = MARGIN_SHARE if site.producers else INSERTED_MARGIN_SHARE
        fit = partial(in_uint8, gates(site))
        choice = search(observation, self.candidates, self._penalty(site), self.formats, share, fit)
        return choice.solver, choice.assessment

    def _penalty(self, site: Site) -> Callable[[ChannelTransform], float]:
        """Return the factor by which the nodes that a transform adds raise its loss, as a function of the transform."""
        is_between_integers = any(is_direct(consumer.linear) for consumer in site.consumers)
        must_be_free = self.free or is_between_integers
        adds_numbers = is_between_integers and bool(site.added_constants)  # which are integers, and vectors are not
        edges = gates(site)

        def nodes_of(transform: ChannelTransform) -> int:
            return added_nodes(site, transform) - free_nodes(edges, transform)

        def penalty(transform: ChannelTransform) -> float:
            nodes, scale_is_free = nodes_of(transform), not nodes_of(transform.unshifted)
            rate = SHIFT_PENALTY if scale_is_free else NODE_PENALTY
            is_dear = (must_be_free and nodes) or (adds_numbers and not transform.is_identity)
            return math.inf if is_dear else 1 + rate * nodes

        return penalty


def _unless_direct(place: Site | Refusal) -> Site | Refusal:
    """Return the inserted site, or a refusal where its nodes would come between two layers that are in int8."""
    if isinstance(place, Refusal):
        return place
    direct = [consumer.linear.name for consumer in place.consumers if is_direct(consumer.linear)]
    if not direct:
        return place
    return Refusal(place.kind, place.name, f"{direct[0]!r} reads the integers that the layer before it writes")
