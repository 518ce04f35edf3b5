"""AWQ: d = (mean|X|)^r, so that weights that multiply large data are scaled up before they are rounded."""

from dataclasses import dataclass

import numpy as np

from ...ir.formats import INT8, Format
from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .scale import centred, filled
from .search import least


@dataclass(frozen=True)
class Awq:
    """d_c = (mean|x_c|)^r, normalized by the root of its largest times its smallest.

    Source: AWQ (Lin et al., 2024), section 3.2.
    """

    power: float = 0.5

    def __str__(self) -> str:
        return f"AWQ r={self.power:g}"

    def __call__(self, observation: Observation) -> ChannelTransform:
        return ChannelTransform(
            centred(filled(observation.mean_magnitude) ** self.power), np.zeros(observation.channels)
        )


@dataclass(frozen=True)
class AwqSearch:
    """`Awq` with r = argmin over {0, 1/n, …, (n-1)/n} of the loss of the consumers.

    The paper measures its loss behind the whole block and rounds weights only; here it is the loss of all candidates,
    with the data rounded as well where ``formats`` say so. Source: AWQ (Lin et al., 2024), section 3.2.
    """

    steps: int = 20
    formats: tuple[Format, ...] = (INT8,)

    def __str__(self) -> str:
        return "AWQ"

    def __call__(self, observation: Observation) -> ChannelTransform:
        transforms = (Awq(step / self.steps)(observation) for step in range(self.steps))
        return least(observation, transforms, self.formats)
