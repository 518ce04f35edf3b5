"""Which linear layers are to stay in float, decided before anything is paid for them.

A layer that the user keeps stays in float on every engine. A layer that the first target runs in float is not worth
nodes or a compromise at its site either, but another target may still quantize it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from ..ir.conv_outputs import ConvOutput
from ..ir.formats import INT8, Format
from ..ir.linear import Linear, find_linears
from ..ir.names import ORIGINAL_NAME
from ..runtime.targets import Target, target
from .lowering.integer_convs import integer_convs
from .magnitudes import without_codes

KEPT = "requant.kept"
"""Key in `Node.meta` of the reason why a linear node stays in float on every target."""

SPARED = "requant.spared"
"""Key in `Node.meta` of the reason why no transform is searched for a linear node, though a target may quantize it."""

DIRECT = "requant.direct"
"""Key in `Node.meta` of a linear node that is to read what the layer before it writes as it is."""


@dataclass(frozen=True)
class SelectLayers(ir.passes.InPlacePass):
    """Note on each linear node whether it is kept in float by request, or spared because the target is.

    Attributes:
        keep: names or glob patterns of nodes that stay in float; see `named`.
        target: the engine that the search for transforms has in mind; None is any.
        formats: what data and weights may be coded in.
    """

    keep: tuple[str, ...] = ()
    target: str | None = None
    formats: tuple[Format, ...] = (INT8,)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        linears = list(find_linears(model.graph))
        kept = {linear.node for pattern in self.keep for linear in named(linears, pattern)}
        for linear in linears:
            if linear.node in kept:
                linear.node.meta[KEPT] = "kept by request"
            elif reason := without_codes(linear, self.formats):
                linear.node.meta[KEPT] = reason
            elif self.target is not None and (reason := self._excluded(linear, target(self.target))):
                linear.node.meta[SPARED] = reason
        if self.target is not None:
            self._choose_convs(model, [linear for linear in linears if is_quantized(linear)], target(self.target))
        return ir.passes.PassResult(model, modified=False)

    def _choose_convs(self, model: ir.Model, layers: list[Linear], engine: Target) -> None:
        """Note which Convs the engine leaves in float, and where else codes go straight from one layer to the next."""
        found = integer_convs(model.graph, layers, engine)
        conv_outputs = [conv_output for conv_output in found.values() if isinstance(conv_output, ConvOutput)]
        written = {value for conv_output in conv_outputs for value in (conv_output.value, conv_output.grid)}
        for linear in layers:
            conv_output = found.get(linear.node)
            if isinstance(conv_output, str):
                linear.node.meta[SPARED] = conv_output
            elif linear.data in written or (conv_output is not None and linear.data.producer() is not None):
                linear.node.meta[DIRECT] = True

    def _excluded(self, linear: Linear, engine: Target) -> str:
        """Why the engine runs ``linear`` in none of the formats, or nothing."""
        reasons = [engine.excludes(linear, chosen) for chosen in self.formats]
        return reasons[0] if all(reasons) else ""


def unmatched(model: ir.Model, keep: Iterable[str]) -> list[str]:
    """The patterns in ``keep`` that no linear layer of ``model`` answers to."""
    linears = list(find_linears(model.graph))
    return [pattern for pattern in keep if not named(linears, pattern)]


def named(linears: Iterable[Linear], pattern: str) -> list[Linear]:
    """Those of ``linears`` that are called ``pattern`` to the letter, or else those that it describes as a glob."""
    names = [(linear, {linear.name, str(linear.node.meta.get(ORIGINAL_NAME) or linear.name)}) for linear in linears]
    literal = [linear for linear, own in names if pattern in own]
    return literal or [linear for linear, own in names if any(fnmatchcase(name, pattern) for name in own)]


def is_quantized(linear: Linear) -> bool:
    """Whether the search for transforms should care about the layer."""
    return KEPT not in linear.node.meta and SPARED not in linear.node.meta


def is_direct(linear: Linear) -> bool:
    """Whether a node between the layer and the one before it would keep both from being in codes."""
    return DIRECT in linear.node.meta
