"""A scale for each head of queries and keys.

    Q'_h = Q_h / a_h      K'_g = K_g / b_g      c'_h = c · a_h · b_g      ⇒      c'_h (Q'_h K'_gᵀ) = c (Q_h K_gᵀ)

where query head h meets key head g. The projections write Q' and K'; c, the scalar factor of the scores, becomes a
constant of shape [1, H, 1, 1]. A scalar factor of Q or of K goes into its projection, and c' behind the product: before
it, c' would undo the very scales that it makes up for.

An engine that has one scale a tensor then computes what AdaLog, APHQ-ViT and FIMA-Q simulate with one scale a head.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import is_constant
from ..linear import Linear, as_linear
from ..norms import Slot
from ..sites.absorbing import blocker, find_absorbing
from ..sites.channels import is_mover
from ..sites.ledger import Variables
from ..sites.passage import passes
from ..sites.regroup import NOBODY, ChannelMap
from ..sites.site import Operand, Refused, Site, Writer
from ..sites.softmax import ignores_row_constants
from ..sites.track import given
from .arrivals import WHOLE, Arrivals, arrivals
from .basis import Basis
from .factor import before, behind, insert, multiply, unplug
from .rebase import rebase


@dataclass(frozen=True)
class Heads:
    """The two sides of a ``product``, a MatMul Q Kᵀ, by heads.

    There are ``count`` query heads and ``keys`` key heads, in the order in which the operands have them. ``site`` has a
    channel for each: h is query head h, ``count`` + g is key head g. ``pairs`` are the channels that meet in each head
    of the scores, as two maps that broadcast against these. ``factor`` is the constant that the scores are multiplied
    or divided by; where there is none, ``folded`` are the scalar factors of Q and of K.
    """

    product: ir.Node
    count: int
    keys: int
    site: Site
    pairs: tuple[ChannelMap, ChannelMap]
    factor: Slot | None
    folded: tuple[Slot | None, Slot | None]

    @property
    def name(self) -> str:
        """The product's name."""
        return _name(self.product)


class _RefusalError(Exception):
    """The heads cannot be scaled; the text says why."""


def find_heads(model: ir.Model, sites: Iterable[Site | Refused]) -> list[Heads | Refused]:
    """Every product of queries and keys in the main graph, in graph order, or why its heads cannot be scaled.

    ``sites`` are what `requant.ir.sites.find_sites` finds in ``model`` as it is. Takes time linear in the number of
    nodes, and of channels times heads; reads no weights.
    """
    products = [site for site in sites if isinstance(site, Site) and _of_layers(site)]
    absorbing, nodes = find_absorbing(model.graph), set(model.graph)
    known, found = arrivals(model.graph, products, absorbing), list[Heads | Refused]()
    for node in model.graph:
        try:
            if node.op_type in WHOLE:
                raise _RefusalError(f"{node.op_type} is one op: its scores have no place for a factor")
            if node in known.tracks:
                found.append(_heads(node, products, known))
            elif _is_scores(node):
                reasons = [_obstacle(value, nodes, absorbing) for value in node.inputs if value is not None]
                raise _RefusalError(next(filter(None, reasons), "its queries and keys belong to no site"))
        except _RefusalError as refusal:
            found.append(Refused("Heads", _name(node), str(refusal)))
    return found


def rescale(heads: Heads, query: NDArray[np.float64], key: NDArray[np.float64]) -> int:
    """Divide the queries by ``query`` [count] and the keys by ``key`` [keys]; the outputs stay the same.

    It uses ``heads`` up, and its Product site: to rescale again, find both again. Statistics are left as they are.

    Returns:
        How many nodes more run at inference: 0 where the scores have a factor, else 1 less those that are folded.

    Raises:
        ValueError: the scales are of another shape, not finite or not positive.
    """
    for scale, count in ((query, heads.count), (key, heads.keys)):
        if scale.shape != (count,) or not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
            raise ValueError(f"{heads.name}: {count} scales are needed that are positive and finite")
    scales = np.concatenate([query, key])
    if np.all(scales == 1):
        return 0
    lost, added = scales[heads.pairs[0]] * scales[heads.pairs[1]], 0
    if heads.factor is not None:
        multiply(heads.factor, lost)
    else:
        insert(heads.product, lost)
        added = 1
    for slot, side in zip(heads.folded, (slice(heads.count), slice(heads.count, None)), strict=True):
        if slot is not None:
            scales[side] /= unplug(slot)
            added -= 1
    return added + rebase(heads.site, Basis(scales, np.zeros_like(scales)))


def _heads(node: ir.Node, products: list[Site], known: Arrivals) -> Heads:
    left, right = (given(track).channels for track in known.tracks[node])
    index = _site(node, np.concatenate([left.ravel(), right.ravel()]), known)
    site, label = products[index], known.label
    query, key = (list(dict.fromkeys(label[side[..., 0, 0]].ravel())) for side in (left, right))
    if len(query) == 1:
        raise _RefusalError("its queries have no axis of heads")
    if set(query) & set(key):
        raise _RefusalError("its queries and keys have channels in common")
    if site.readers:
        raise _RefusalError(f"its queries or keys are also read by {site.readers[0].linear.name!r}")
    order = np.array([*query, *key])
    pairs = _place(label[left[..., :1, :1]], order), _place(label[right[..., :1, :1]], order)
    factor = behind(node, np.broadcast_shapes(pairs[0].shape, pairs[1].shape))
    if isinstance(factor, str):
        raise _RefusalError(factor)
    folded = (None, None) if factor else (before(node.inputs[0]), before(node.inputs[1]))
    return Heads(node, len(query), len(key), _by_head(site, known.operands[index], known, order), pairs, factor, folded)


def _by_head(site: Site, operands: Iterable[Operand], known: Arrivals, order: Variables) -> Site:
    """``site`` with the heads in ``order`` for channels."""
    writers = tuple(
        Writer(writer.source, _place(known.label[known.tables[writer.source.weight]], order))
        for writer in site.writers
        if isinstance(writer.source, Linear)
    )
    scaled = tuple(Operand(item.slot, _place(known.label[item.channels], order)) for item in operands)
    return Site("Heads", site.name, len(order), writers, (), operands=scaled, fixed_shift="heads have scales alone")


def _site(node: ir.Node, channels: Variables, known: Arrivals) -> int:
    """The index of the one site that all ``channels`` belong to, and that belongs to ``node`` alone."""
    found = np.unique(known.owner[channels])
    if len(found) > 1 or found[0] == NOBODY:
        raise _RefusalError("some of its channels must stay as they are")
    other = next((other for other in known.users[int(found[0])] if other is not node), None)
    if other is not None:
        raise _RefusalError(f"its queries or keys are tied to those of {_name(other)!r}")
    return int(found[0])


def _place(labels: Variables, order: Variables) -> Variables:
    """The position in ``order`` of each label, or NOBODY."""
    match = labels[..., None] == order
    return np.where(match.any(-1), match.argmax(-1), NOBODY)


def _of_layers(site: Site) -> bool:
    return site.kind == "Product" and all(isinstance(writer.source, Linear) for writer in site.writers)


def _is_scores(node: ir.Node) -> bool:
    """Whether ``node`` multiplies two computed values, and what it makes goes to a softmax."""
    product = node.op_type == "MatMul" and not any(is_constant(value) for value in node.inputs)
    return product and ignores_row_constants(node.outputs[0])


def _obstacle(value: ir.Value, nodes: Container[ir.Node], absorbing: set[ir.Value]) -> str:
    """What one side of a product is made of that keeps it from having scales; "" for nothing."""
    while (node := value.producer()) is not None:
        if (linear := as_linear(node)) is not None:
            others = [use.node for use in linear.weight.uses() if use.node is not node]
            if others:
                return f"weight {linear.weight.name!r} is also read by {_name(others[0])!r}"
            return blocker(linear.output, nodes, absorbing)
        data = next((item for item in node.inputs if item is not None and not is_constant(item)), None)
        if data is None or not (is_mover(node) or passes(node, 0)):
            return f"{node.op_type} {_name(node)!r} lets no scale through"
        value = data
    return f"{value.name!r} is an input of the graph"


def _name(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or node.op_type
