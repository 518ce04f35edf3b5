"""Select the format of a value: the one with which its consumers' outputs are closest to the float ones.

    f = argmin over the formats of  L_f        L: requant.passes.cost_model.loss

int8 is finer where the channels reach equally far; e4m3 does not mind the few that reach ten times as far.
"""

from collections.abc import Sequence

from ..ir.formats import Format
from ..ir.linear import Linear
from ..ir.quantizer import quantizer
from .annotations import is_kept
from .cost_model.loss import part_loss
from .cost_model.part import part_of


def select_format(consumers: Sequence[Linear], formats: Sequence[Format]) -> Format:
    """Return the format of one value, which all its ``consumers`` share.

    A weight that another value's consumers have in one of the formats already decides for it.
    """
    if len(formats) == 1:
        return formats[0]
    weight_types = {plan.dtype for linear in consumers if (plan := quantizer(linear.weight))}
    candidates = [candidate for candidate in formats if candidate.weights in weight_types] or formats
    part = part_of([linear for linear in consumers if not is_kept(linear)])
    return candidates[0] if part is None else min(candidates, key=lambda candidate: part_loss(part, candidate)[0])
