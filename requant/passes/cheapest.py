"""The search at one place: the solver whose basis loses least, counting what its nodes cost.

(d, t) = argmin over the candidates of  L(d, t) · (1 + 0.3 n)        n nodes added at inference
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..ir.rewrite.basis import Basis
from .loss import loss
from .observation import Observation
from .solvers import Keep, Roomy, Shift, SmoothQuant, Solver, Staggered

CANDIDATES: tuple[Solver, ...] = (Keep(), Shift(), SmoothQuant(0.7, shift=True), SmoothQuant(0.8, shift=True))
"""What the default recipe tries at each site.

More strengths find bases that are better on the calibration data and worse on all other: see docs/method.md.
"""

ROOM, EXPLICIT_ROOM = 0.1, 0.5
"""How much noise is paid for room in silent channels (`requant.passes.solvers.Roomy`).

What element-wise functions like GELU write is silent most of the time, so calibration says least about it.
"""

NODE_PRICE = 0.3
"""Share of its loss that a candidate is charged for each node that it adds at inference."""


class Choice(NamedTuple):
    """A solver, what it gave, and its price."""

    solver: Solver
    basis: Basis
    price: float


def cheapest(
    observation: Observation, candidates: Iterable[Solver], nodes: Callable[[Basis], int], bits: int, room: float
) -> Choice:
    """The candidate of least price, where ``nodes`` says how many nodes a basis adds.

    Candidates that scale leave ``room`` in silent channels. Where channels have copies, each is also tried with its
    copies staggered.
    """
    tried: list[Solver] = [s if isinstance(s, Keep | Shift) else Roomy(s, room) for s in candidates]
    if observation.order is not None:
        tried += [Staggered(solver) for solver in tried]

    def priced(solver: Solver) -> Choice:
        basis = solver(observation)
        return Choice(solver, basis, loss(observation, basis, bits) * (1 + NODE_PRICE * nodes(basis)))

    return min((priced(solver) for solver in tried), key=lambda choice: choice.price)
