"""The problem of a plan: what kernels take in float and on integers, and the noise of what is rounded.

T = Σ kernels + Σ borders          a kernel runs on integers where all that it reads and writes is in S
N = Σ rounded values + Σ weights that are rounded
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ...ir.kernels import Kernel, moved_together, readers
from ...runtime.prices import Amounts, Prices
from .prices import Price, price, size
from .rounding_noise import Noise

PER_DECIBEL = 0.03
"""The share of the time that is worth a decibel."""

FLOOR = 1e-3
"""The noise below which less is worth little: 30 dB."""


@dataclass(frozen=True)
class Plan:
    """The values that go as integers, and the estimated time and noise of the model with them."""

    integers: frozenset[ir.Value]
    time: float
    noise: Noise

    @property
    def merit(self) -> float:
        """The logarithm of what is to be small: time, and noise by `PER_DECIBEL`."""
        return float(np.log(self.time) + PER_DECIBEL * 10 * np.log10(self.noise.mean() + FLOOR))


@dataclass(frozen=True)
class RoundingNoise:
    """The noise of rounding each of the values that are computed, and of rounding the weight of each Conv."""

    values: Mapping[ir.Value, Noise]
    weights: Mapping[ir.Node, Noise]


NO_NOISE = RoundingNoise({}, {})
"""What is known of noise before it is measured: time alone decides."""


@dataclass
class Problem:
    """The kernels of a graph with what integers may cost and gain, by the ``table`` of a processor.

    ``others`` counts the consumers of each value that are no kernels, graph outputs among them; ``rest`` is the time of
    nodes that no plan changes.
    """

    kernels: Sequence[Kernel]
    table: Prices
    allowed: frozenset[ir.Value]
    floats: frozenset[ir.Node]
    noise: RoundingNoise
    others: Mapping[ir.Value, int]
    rest: float = 0.0
    producers: dict[ir.Value, Kernel] = field(init=False, default_factory=dict)
    consumers: Mapping[ir.Value, Sequence[Kernel]] = field(init=False)
    moved: Mapping[ir.Value, Sequence[ir.Value]] = field(init=False)
    prices: dict[int, Price] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the kernels by value."""
        self.moved, self.consumers = moved_together(self.kernels), readers(self.kernels)
        for kernel in self.kernels:
            self.prices[id(kernel)] = price(kernel, self.table)
            for value in kernel.outputs:
                self.producers[value] = kernel

    @property
    def allowed_in_order(self) -> list[ir.Value]:
        """The values that may go as integers, in the order of the graph."""
        values = dict.fromkeys(value for kernel in self.kernels for value in kernel.values)
        return [value for value in values if value in self.allowed]

    def is_integer(self, kernel: Kernel, integers: set[ir.Value]) -> bool:
        """Tell whether ``kernel`` runs on integers."""
        return integers.issuperset(kernel.inputs) and integers.issuperset(kernel.outputs) and not self.is_float(kernel)

    def is_float(self, kernel: Kernel) -> bool:
        """Tell whether ``kernel`` runs in float whatever the plan is."""
        return kernel.linear is not None and kernel.linear.node in self.floats

    def time(self, integers: set[ir.Value]) -> float:
        """Return T in nanoseconds."""
        values = {**self.producers, **self.consumers}
        return self.rest + self._kernel_time(self.kernels, integers) + self.border_time(values, integers)

    def total_noise(self, integers: set[ir.Value]) -> Noise:
        """Return N in each piece of the outputs."""
        return np.asarray(sum(self._noises(self.kernels, {**self.producers, **self.consumers}, integers), np.zeros(1)))

    def plan(self, integers: set[ir.Value]) -> Plan:
        """Return the plan of these ``integers``."""
        return Plan(frozenset(integers), self.time(integers), self.total_noise(integers))

    def change(self, flipped: Sequence[ir.Value], integers: set[ir.Value], trade: Noise) -> float:
        """Return the change of T + trade · N that flipping values makes."""
        kernels = {
            id(kernel): kernel
            for value in flipped
            for kernel in (self.producers.get(value), *self.consumers.get(value, ()))
            if kernel is not None
        }
        values = dict.fromkeys(value for kernel in kernels.values() for value in kernel.values)
        moved = dict.fromkeys(value for one in flipped for value in self.moved[one])
        after = integers.symmetric_difference(flipped)
        before, behind = (
            self._kernel_time(kernels.values(), one)
            + self.border_time(values, one)
            + sum(float(trade @ noise) for noise in self._noises(kernels.values(), moved, one))
            for one in (integers, after)
        )
        return behind - before

    def _kernel_time(self, kernels: Iterable[Kernel], integers: set[ir.Value]) -> float:
        return sum(self.prices[id(kernel)].of(self.is_integer(kernel, integers)) for kernel in kernels)

    def border_time(self, values: Iterable[ir.Value], integers: set[ir.Value]) -> float:
        """Sum the Q of values that float nodes write, and the DQ of those that float nodes read."""
        total = 0.0
        for value in values:
            if value not in integers:
                continue
            producer = self.producers.get(value)
            count = 1
            if producer is not None and self.is_integer(producer, integers):
                readers = self.consumers.get(value, ())
                count = self.others.get(value, 0) + sum(not self.is_integer(kernel, integers) for kernel in readers)
            total += count * self.table.border.time(Amounts(elements=size(value)))
        return total

    def _noises(
        self, kernels: Iterable[Kernel], values: Iterable[ir.Value], integers: set[ir.Value]
    ) -> Iterator[Noise]:
        rounded = (source for value in values if value in integers for source in self._rounded(value, integers))
        yield from (self.noise.values[source] for source in dict.fromkeys(rounded))
        for kernel in kernels:
            weight = None if kernel.linear is None else self.noise.weights.get(kernel.linear.node)
            if weight is not None and self.is_integer(kernel, integers):
                yield weight

    def _rounded(self, value: ir.Value, integers: set[ir.Value]) -> Iterator[ir.Value]:
        """Yield the computed values whose rounding ``value`` adds: itself, or what is moved into it and is a float."""
        producer = self.producers.get(value)
        if producer is None or not producer.moves:
            if value in self.noise.values:
                yield value
            return
        for source in producer.inputs:
            if source not in integers:
                yield from self._rounded(source, integers)
