"""Select the linear layers that stay in float, before anything is paid for them.

A layer that the user keeps stays in float on every engine. A layer that the first target runs in float is not worth
nodes or a compromise at its site either, but another target may still quantize it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import onnx_ir as ir

from ..ir.formats import INT8, Format
from ..ir.linear import Linear, find_linears
from ..ir.names import ORIGINAL_NAME
from ..ir.refusal import Refusal
from ..ir.unsupported import UnsupportedLayer, find_unsupported
from ..runtime.targets import Target, target
from .annotations import DIRECT, KEPT, SKIPPED, is_quantized
from .magnitudes import signed_data, unquantizable
from .regions.candidates import find_candidates
from .regions.choose import choose_regions

_Layer: TypeAlias = Linear | UnsupportedLayer


@dataclass(frozen=True)
class SelectLayers(ir.passes.InPlacePass):
    """A pass that marks the linear layers to keep in float, and those that the target does not quantize.

    Writes the annotations `KEPT`, `SKIPPED` and `DIRECT`; reads statistics where there are any.

    Attributes:
        keep: names or glob patterns of nodes that stay in float; see `named`.
        target: the engine that the search for transforms has in mind, a name or a row of `requant.runtime.TARGETS`;
            None is any.
        formats: the formats of data and weights to choose from.
        noisy: also weigh the noise of rounding, where it was measured, and not time alone.
    """

    keep: tuple[str, ...] = ()
    target: str | Target | None = None
    formats: tuple[Format, ...] = (INT8,)
    noisy: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        linears = list(find_linears(model.graph))
        others = list(find_unsupported(model.graph))
        layers: list[_Layer] = [*linears, *others]
        requests = {layer.node for pattern in self.keep for layer in named(layers, pattern)}
        for layer in others:
            if layer.node in requests:
                KEPT.set(layer.node, Refusal.at(layer.node, "kept by request"))
        for linear in linears:
            if linear.node in requests:
                KEPT.set(linear.node, Refusal.at(linear.node, "kept by request"))
            elif refusal := unquantizable(linear, self.formats):
                KEPT.set(linear.node, refusal)
            elif self.target is not None and (refusal := self._excluded(linear, target(self.target))):
                SKIPPED.set(linear.node, refusal)
        if self.target is not None:
            self._select_convs(model, [linear for linear in linears if is_quantized(linear)], target(self.target))
        return ir.passes.PassResult(model, modified=False)

    def _select_convs(self, model: ir.Model, layers: list[Linear], engine: Target) -> None:
        """Mark the Convs that the engine leaves in float, and the layers that read integers."""
        if not engine.integer_outputs:
            return
        convs = [linear for linear in layers if linear.node.op_type in engine.integer_outputs]
        regions = choose_regions(model.graph, find_candidates(model.graph, engine), convs, noisy=self.noisy)
        written = {value for kernel in regions.kernels for value in kernel.outputs}
        for linear in layers:
            if (refusal := regions.refusals.get(linear.node)) is not None:
                SKIPPED.set(linear.node, refusal)
            elif linear.data in written:
                DIRECT.set(linear.node, content=True)

    def _excluded(self, linear: Linear, engine: Target) -> Refusal | None:
        """Refuse ``linear`` where the engine runs it in none of the formats."""
        refusals = [engine.excludes(linear, candidate) or signed_data(linear, engine) for candidate in self.formats]
        return refusals[0] if all(refusals) else None


def unmatched(model: ir.Model, keep: Iterable[str]) -> list[str]:
    """Return the patterns in ``keep`` that match no linear layer of ``model``."""
    layers: list[_Layer] = [*find_linears(model.graph), *find_unsupported(model.graph)]
    return [pattern for pattern in keep if not named(layers, pattern)]


def named(layers: Iterable[_Layer], pattern: str) -> list[_Layer]:
    """Return those of ``layers`` whose name is ``pattern``, or else those that it matches as a glob."""
    names = [(layer, {layer.name, str(layer.node.meta.get(ORIGINAL_NAME) or layer.name)}) for layer in layers]
    literal = [layer for layer, aliases in names if pattern in aliases]
    return literal or [layer for layer, aliases in names if any(fnmatchcase(name, pattern) for name in aliases)]
