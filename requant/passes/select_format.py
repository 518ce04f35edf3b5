"""Which of several formats a value takes: the one with which its consumers' outputs are closest to the float ones.

    f = argmin over the formats of  L_f        L: requant.passes.cost_model.loss

int8 is finer where the channels reach equally far; e4m3 does not mind the few that reach ten times as far.
"""

from collections.abc import Sequence

from ..ir.formats import Format
from ..ir.linear import Linear
from ..ir.quantizer import quantizer
from .cost_model.loss import part_loss
from .cost_model.observation import part_of
from .select_layers import KEPT


def select_format(consumers: Sequence[Linear], formats: Sequence[Format]) -> Format:
    """The format of one value, which all its ``consumers`` share.

    A weight that another value's consumers have in one of the formats already decides for it.
    """
    if len(formats) == 1:
        return formats[0]
    planned = {found.dtype for linear in consumers if (found := quantizer(linear.weight))}
    open_to = [choice for choice in formats if choice.weights in planned] or formats
    part = part_of([linear for linear in consumers if KEPT not in linear.node.meta])
    return open_to[0] if part is None else min(open_to, key=lambda choice: part_loss(part, choice)[0])
