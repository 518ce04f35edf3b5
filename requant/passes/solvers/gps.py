"""GPS: d⁴ = ‖X‖² ‖ΔW‖² / (‖ΔX‖² ‖W‖²): what rounding the data costs equals what rounding the weights costs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from ..cost_model.part import Part
from .scale import centred, filled


@dataclass(frozen=True)
class Gps:
    """d_c = (‖x_c‖² ‖Δw_c‖² / (‖Δx_c‖² ‖w_c‖²))^¼, and 1 for the channel of largest range, which sets the step of Δx.

    It minimizes d² ‖Δx‖² ‖w‖² + ‖x‖² ‖Δw‖² / d², where the steps of the value and of the weights' columns stay what
    they are. t_c is the channel's centre if ``shift``. The paper multiplies all channels by one more factor, which
    changes no quantized value, and smooths d over batches, which one set of statistics makes unnecessary.

    Source: gain-projected scaling of PTQ4ARVG (Liu et al., 2026).
    """

    shift: bool = True
    bits: int = 8

    def __str__(self) -> str:
        return "GPS + shift" if self.shift else "GPS"

    def __call__(self, observation: Observation) -> ChannelTransform:
        shift = observation.centre if self.shift else np.zeros(observation.channels)
        translation, reach = ChannelTransform(np.ones(observation.channels), shift), observation.reach(shift)
        largest = 2 ** (self.bits - 1) - 1

        def data_cost(part: Part) -> NDArray[np.float64]:
            errors = _rounding_error(part.statistics.rows - translation.at(part.channels).shift, reach.max() / largest)
            return _energy(errors, 0) * _energy(part.matrix, 1)

        def weight_cost(part: Part) -> NDArray[np.float64]:
            rows = part.statistics.rows - translation.at(part.channels).shift
            return _energy(rows, 0) * _energy(
                _rounding_error(part.matrix, np.abs(part.matrix).max(axis=0) / largest), 1
            )

        data, weights = (observation.merged(0.0, np.add, cost) for cost in (data_cost, weight_cost))
        scale = np.divide(weights, data, out=np.ones_like(data), where=data > 0) ** 0.25
        scale[reach.argmax()] = 1.0
        return ChannelTransform(centred(filled(scale)), shift)


def _rounding_error(values: NDArray[np.floating], step: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the error of rounding ``values`` to multiples of ``step``; 0 where ``step`` is 0."""
    unit = np.where(step > 0, step, 1.0)
    return np.where(step > 0, values - np.round(values / unit) * unit, 0.0)


def _energy(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    energy: NDArray[np.float64] = np.square(values, dtype=np.float64).sum(axis=axis)
    return energy
