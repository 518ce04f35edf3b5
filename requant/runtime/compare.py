"""Comparison of two models' values: SQNR, cosine and largest error, per output and per layer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import onnx_ir as ir

from ..errors import DataError, VerificationError
from ..ir.linear import find_linears
from ..ir.traverse import nodes_within
from .distance import Distance, Sums, pooled, sums
from .feeds import Feed, fitted
from .outputs import Layout, layout
from .session import runner


@dataclass(frozen=True)
class Agreement:
    """The agreement of a value in both models, which random data show too.

    Attributes:
        shape: in the last feed.
        finite: whether it is finite in the candidate wherever it is in the reference.
        equal: whether both are equal.
    """

    shape: Layout
    finite: bool
    equal: bool


@dataclass(frozen=True)
class Comparison:
    """The distances by name: of the graph's outputs, and of the linear layers that both models have.

    ``unmeasured`` has the reasons why the other outputs and layers cannot be compared. ``agreements`` are of all that
    were compared; on random inputs there are no distances, and ``message`` says why.
    """

    outputs: dict[str, Distance] = field(default_factory=dict)
    layers: dict[str, Distance] = field(default_factory=dict)
    samples: int = 0
    unmeasured: dict[str, str] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    message: str = ""

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries and numbers."""
        return asdict(self)


def compare(
    reference: ir.Model,
    candidate: ir.Model,
    feeds: Iterable[Feed],
    *,
    layers: bool = True,
    optimized: bool = False,
) -> Comparison:
    """Run both models on the same feeds and measure every output, and every linear layer present in both.

    Args:
        reference: usually the float model.
        candidate: usually the quantized one.
        feeds: the data, of the reference's types.
        layers: also measure layers, by the names of their output values.
        optimized: let ONNX Runtime optimize both graphs, which it does not by default.

    An output or a layer whose shape differs between the models, because it depends on the data, is not measured.

    Raises:
        DataError: the outputs differ in name, or there are no feeds.
    """
    names = [value.name or "" for value in reference.graph.outputs]
    if sorted(names) != sorted(value.name or "" for value in candidate.graph.outputs):
        raise DataError(f"the models have different outputs: {names} and {[v.name for v in candidate.graph.outputs]}")
    taps = common_layers(reference, candidate) if layers else []
    columns = [name for name in taps if name not in names]
    expected, actual = (runner(model, columns, optimized=optimized) for model in (reference, candidate))
    order = [value.name or "" for value in candidate.graph.outputs]
    measured: dict[str, list[Sums]] = {name: [] for name in [*names, *columns]}
    unmeasured: dict[str, str] = {}
    shapes: dict[str, Layout] = {}
    samples = 0
    for feed in feeds:
        reference_values = dict(zip([*names, *columns], expected(feed), strict=True))
        for name, value in zip([*order, *columns], actual(fitted(feed, candidate)), strict=True):
            try:
                measured[name].append(sums(reference_values[name], value, name))
                shapes[name] = layout(value)
            except DataError as error:
                unmeasured.setdefault(name, str(error))
        samples += 1
    if not samples:
        raise DataError("evaluation data: holds no samples")
    total = {name: pooled(feeds) for name, feeds in measured.items() if name not in unmeasured}
    return Comparison(
        {name: total[name] for name in names if name in total},
        {name: total[name] for name in taps if name in total},
        samples,
        unmeasured,
        {name: Agreement(shapes[name], not one.nonfinite, one.equal) for name, one in total.items()},
    )


def require_finite(comparison: Comparison, where: str = "") -> None:
    """Raise VerificationError when an output is NaN or infinite in the candidate and not the same in the reference.

    ``where`` says, for the message, how the models were run.
    """
    for name, measured in comparison.outputs.items():
        if measured.nonfinite:
            raise VerificationError(
                f"the quantized model computes NaN or infinity at {measured.nonfinite} elements of output {name!r} "
                f"where the float model does not{where}; nothing was written: keep layers before it in float"
            )


def common_layers(reference: ir.Model, candidate: ir.Model) -> list[str]:
    """List the names of the outputs of the reference's linear nodes that the candidate computes too, in graph order.

    Those in bodies count where both models have one value of that name.
    """
    counts = [Counter(_computed(model.graph)) for model in (reference, candidate)]
    outputs = (linear.output.name or "" for linear in find_linears(reference.graph))
    return [name for name in outputs if all(count[name] == 1 for count in counts)]


def _computed(graph: ir.Graph) -> Iterator[str]:
    return (value.name or "" for node in nodes_within(graph) for value in node.outputs)
