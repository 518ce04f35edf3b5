"""What arrives at the products of queries and keys, and which channels are of one head.

A head is a row of the product's operand: [1, H, 1, hd] for the queries, [1, H, hd, 1] for the keys. Its channels are
tied; so are those that a rotation mixes, and those of a key head that several query heads share.
"""

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..linear import Linear, as_linear
from ..sites.channels import ImmovableError, is_mover, last_axis, move
from ..sites.ledger import Variables
from ..sites.passage import passage, passes
from ..sites.regroup import NOBODY
from ..sites.site import Operand, Site
from ..sites.track import StoppedError, Track, Tracks, Walk, given

WHOLE = ("Attention", "MultiHeadAttention")
"""Ops that are a whole attention."""


@dataclass(frozen=True)
class Arrivals:
    """The ``tracks`` of the inputs of each product, with a variable for each output channel of a weight (``tables``).

    ``label`` is the number of a variable's head. ``owner`` is the index of its site, which has ``users``, the products
    that see it, and ``operands``, with maps into the variables. Both have a last entry of -1, for NOBODY.
    """

    tracks: dict[ir.Node, Tracks]
    tables: dict[ir.Value, Variables]
    label: Variables
    owner: Variables
    users: dict[int, list[ir.Node]]
    operands: dict[int, list[Operand]]


def arrivals(graph: ir.Graph, sites: list[Site], absorbing: set[ir.Value]) -> Arrivals:
    """Follow the channels of ``sites`` from the linear layers that write them."""
    walk = Walk(absorbing)
    tables, owner = _variables(walk, sites)
    tracks, found = _written(sites, tables), dict[ir.Node, Tracks]()
    for node in graph:
        arriving = [tracks.get(value) if value is not None else None for value in node.inputs]
        if not any(arriving) or as_linear(node) is not None:
            continue
        if node.op_type in WHOLE or (node.op_type == "MatMul" and all(arriving)):
            found[node] = arriving
        else:
            tracks.update(_passed(node, arriving, walk))
    for node, arriving in found.items():
        if node.op_type == "MatMul":
            _tie(arriving, walk)
    users, operands = defaultdict[int, list[ir.Node]](list), defaultdict[int, list[Operand]](list)
    for node, arriving in found.items():
        for index in np.unique(np.concatenate([owner[track.channels].ravel() for track in arriving if track])):
            users[int(index)].append(node)
    for slot, channels in walk.operands:
        for index in np.unique(owner[channels]):
            operands[int(index)].append(Operand(slot, channels))
    return Arrivals(found, tables, walk.ledger.settle().site, owner, users, operands)


def _variables(walk: Walk, sites: list[Site]) -> tuple[dict[ir.Value, Variables], Variables]:
    """Variables for what each weight writes, and the site that each belongs to."""
    tables: dict[ir.Value, Variables] = {}
    claims = []
    for index, site in enumerate(sites):
        for linear, channels in _linears(site):
            if linear.weight not in tables:
                tables[linear.weight] = walk.ledger.allocate(linear.outputs)
            claims.append((tables[linear.weight][channels >= 0], index))
    owner = np.full(walk.ledger.size + 1, NOBODY)
    for variables, index in claims:
        owner[variables] = index
    return tables, owner


def _written(sites: list[Site], tables: dict[ir.Value, Variables]) -> dict[ir.Value, Track]:
    """The tracks to begin with."""
    tracks = {}
    for linear in (linear for site in sites for linear, _ in _linears(site)):
        variables, shape = tables[linear.weight], linear.output.shape
        assert shape is not None
        channels = variables[last_axis(len(variables), len(shape))]
        tracks[linear.output] = Track(np.moveaxis(channels, -1, linear.data_axis))
    return tracks


def _linears(site: Site) -> list[tuple[Linear, Variables]]:
    return [(writer.source, writer.channels) for writer in site.writers if isinstance(writer.source, Linear)]


def _passed(node: ir.Node, arriving: Tracks, walk: Walk) -> dict[ir.Value, Track]:
    """The tracks of the outputs, if ``node`` moves or passes what arrives; others are none of the products'."""
    with suppress(ImmovableError, StoppedError):
        if is_mover(node):
            moved = move(node, [track.channels if track else None for track in arriving])
            return {value: Track(channels) for value, channels in zip(node.outputs, moved, strict=False)}
        if any(passes(node, position) for position in range(len(arriving))):
            track = passage(node, arriving, walk)
            return {node.outputs[0]: track} if track is not None else {}
    return {}


def _tie(arriving: Tracks, walk: Walk) -> None:
    """Make the channels of each row one."""
    for track, axis in zip(arriving, (-1, -2), strict=True):
        channels = given(track).channels
        walk.ledger.tie(channels, channels.take([0], axis), "a part of the head has no basis")
