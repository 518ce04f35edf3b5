"""The search at one place: the solver whose transform loses least, counting what its nodes cost.

(d, t) = argmin over the candidates of  L(d, t) · p(d, t)        p = 1 + 0.3 n for n nodes added at inference,
                                                                 1 + n where d alone would add none
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ...ir.formats import Format
from ...ir.transform.transform import ChannelTransform
from ..parallel import side_by_side
from ..solvers import Keep, OffsetCopies, ScaleOnly, Shift, SmoothQuant, Solver, WithMargin
from .loss import Assessment, assess
from .normalize_scale import normalize_scale
from .observation import Observation

CANDIDATES: tuple[Solver, ...] = (Keep(), Shift(), SmoothQuant(0.7, shift=True), SmoothQuant(0.8, shift=True))
"""What the default recipe tries at each site.

More strengths find transforms that are better on the calibration data and worse on all other: see docs/method.md.
"""

ROOM, EXPLICIT_ROOM = 0.1, 0.5
"""How much noise is paid for room in silent channels (`requant.passes.solvers.WithMargin`).

What element-wise functions like GELU write is silent most of the time, so calibration says least about it.
"""

NODE_PRICE, SHIFT_PRICE = 0.3, 1.0
"""Share of its loss that a candidate is charged for each node that it adds at inference; and for each that a shift adds
where the scale is free: there a graph without any node is within reach, so that a node has to save half of the loss.
"""


class Choice(NamedTuple):
    """A solver, what it gives, and its price."""

    solver: Solver
    given: Assessment
    price: float


def search(
    observation: Observation,
    candidates: Iterable[Solver],
    price: Callable[[ChannelTransform], float],
    formats: Sequence[Format],
    room: float,
) -> Choice:
    """The candidate of least loss times ``price``.

    Where data are coded, candidates that scale leave ``room`` in silent channels, and let values reach as far as they
    did. Where channels have copies, each is also tried with its copies staggered; where the scale is free but the shift
    is not, without the shift.
    """
    coded = any(chosen.activations is not None for chosen in formats)
    tried: list[Solver] = [s if isinstance(s, Keep | Shift) or not coded else WithMargin(s, room) for s in candidates]
    if observation.order is not None:
        tried += [OffsetCopies(solver) for solver in tried]

    def priced(solver: Solver) -> Choice:
        found = assess(observation, (lambda seen: normalize_scale(solver(seen), seen)) if coded else solver, formats)
        return Choice(solver, found, found.loss * price(found.transform))

    observation.prepare()
    choices = side_by_side(priced, tried)
    unshifted = [ScaleOnly(choice.solver) for choice in choices if _shift_alone_costs(choice.given.transform, price)]
    choices += side_by_side(priced, unshifted)
    return min(choices, key=lambda choice: choice.price)


def _shift_alone_costs(transform: ChannelTransform, price: Callable[[ChannelTransform], float]) -> bool:
    return price(transform) > 1 == price(transform.unshifted)
