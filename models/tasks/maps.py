"""Maps of probabilities, such as that of text in an image: the pixels that two networks both call text."""

from collections.abc import Sequence

import numpy as np

from models.subject import Array

THRESHOLD = 0.3


def agreement(expected: Sequence[Sequence[Array]], actual: Sequence[Sequence[Array]]) -> dict[str, float]:
    """Compare two networks' maps at a threshold: the pixels that agree, and the IoU of what is above, over all maps."""
    first, second = (
        np.concatenate([np.asarray(outputs[0], np.float32).ravel() > THRESHOLD for outputs in side])
        for side in (expected, actual)
    )
    either = int((first | second).sum())
    return {
        "pixels": float((first == second).mean()),
        "map IoU": int((first & second).sum()) / either if either else 1.0,
    }
