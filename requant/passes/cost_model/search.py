"""The search at one site: the solver whose transform has the least loss, with a penalty for its nodes.

(d, t) = argmin over the candidates of  L(d, t) · p(d, t)        p = 1 + 0.3 n for n nodes added at inference,
                                                                 1 + n where d alone would add none
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ...ir.formats import Format
from ...ir.transform.transform import ChannelTransform
from ..parallel import side_by_side
from ..solvers import Identity, OffsetCopies, ScaleOnly, Shift, SmoothQuant, Solver, WithMargin
from .loss import Assessment, assess
from .normalize_scale import normalize_scale
from .observation import Observation

CANDIDATES: tuple[Solver, ...] = (Identity(), Shift(), SmoothQuant(0.7, shift=True), SmoothQuant(0.8, shift=True))
"""The solvers that the default recipe tries at each site.

More strengths find transforms that are better on the calibration data and worse on all other: see docs/method.md.
"""

MARGIN_SHARE, INSERTED_MARGIN_SHARE = 0.1, 0.5
"""The noise that may be added for a margin in silent channels, as a share (`requant.passes.solvers.WithMargin`).

The output of element-wise functions like GELU is silent most of the time, so calibration says least about it.
"""

NODE_PENALTY, SHIFT_PENALTY = 0.3, 1.0
"""Share of its loss that a candidate is charged for each node that it adds at inference; and for each that a shift adds
where the scale is free: there a graph without any node is within reach, so that a node has to save half of the loss.
"""


class Choice(NamedTuple):
    """A solver, its assessment, and its loss times the penalty."""

    solver: Solver
    assessment: Assessment
    penalized_loss: float


def search(
    observation: Observation,
    candidates: Iterable[Solver],
    penalty: Callable[[ChannelTransform], float],
    formats: Sequence[Format],
    margin_share: float,
    fit: Callable[[ChannelTransform], ChannelTransform] = lambda transform: transform,
) -> Choice:
    """Return the candidate of least loss times ``penalty``.

    Where activations are quantized, candidates that scale get a margin in silent channels for ``margin_share`` of
    noise, and values keep their reach. Where channels have copies, each candidate is also tried with offset copies;
    where the scale is free but the shift is not, without the shift. ``fit`` has the last word on each transform.
    """
    quantizes_data = any(fmt.activations is not None for fmt in formats)
    solvers: list[Solver] = [
        solver if isinstance(solver, Identity | Shift) or not quantizes_data else WithMargin(solver, margin_share)
        for solver in candidates
    ]
    if observation.order is not None:
        solvers += [OffsetCopies(solver) for solver in solvers]

    def choice_of(solver: Solver) -> Choice:
        normalized = (lambda data: normalize_scale(solver(data), data)) if quantizes_data else solver
        assessment = assess(observation, lambda data: fit(normalized(data)), formats)
        return Choice(solver, assessment, assessment.loss * penalty(assessment.transform))

    observation.prepare()
    choices = side_by_side(choice_of, solvers)
    scale_only = [
        ScaleOnly(choice.solver) for choice in choices if _only_shift_costs(choice.assessment.transform, penalty)
    ]
    choices += side_by_side(choice_of, scale_only)
    return min(choices, key=lambda choice: choice.penalized_loss)


def _only_shift_costs(transform: ChannelTransform, penalty: Callable[[ChannelTransform], float]) -> bool:
    return penalty(transform) > 1 == penalty(transform.unshifted)
