"""Seeded weights for any module, such that a rewrite that is wrong shows: no norm is trivial, no bias is zero."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_NORMS = ("original0", "weight_g")
"""The norms of normalized weights, in the two ways of PyTorch to hold them."""

OUTLIERS, GAIN = 2, 20.0
"""So many channels of every norm have a gamma so many times larger."""


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Fill the parameters of ``module`` and the statistics of its BatchNorms, in place.

    Gamma is uniform in 0.5 to 2 but for the outliers; weights are normal over 2 sqrt(inputs), so that softmax does
    not saturate; embeddings are normal; all else, biases and beta among it, is normal with deviation 0.5.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for owner in module.modules():
            for name, tensor in (*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)):
                if isinstance(tensor, nn.Parameter) or name.startswith("running_"):
                    tensor.copy_(torch.from_numpy(_draw(rng, owner, name, tuple(tensor.shape))))


def _draw(rng: np.random.Generator, owner: nn.Module, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if name == "running_var" or (name == "weight" and len(shape) == 1):
        return _positive(rng, shape[0], GAIN if name == "weight" else 1.0)
    size = 0.5
    if isinstance(owner, nn.Embedding):
        size = 1.0
    elif name in _NORMS:
        size = 2.0
    elif "weight" in name:
        size /= np.prod(shape[1:]) ** 0.5
    return np.asarray(size * rng.standard_normal(shape))


def _positive(rng: np.random.Generator, channels: int, gain: float) -> NDArray[np.float64]:
    values = rng.uniform(0.5, 2.0, channels)
    values[rng.choice(channels, OUTLIERS, replace=False)] *= gain
    return values
