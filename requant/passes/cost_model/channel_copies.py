"""The number of copies of each channel: the hardest ones get them.

    n = argmin max_c D_c / n_c      over n ≥ 1 with Σ_c n_c = C + extra

Sources: QLLM (Liu et al., 2024), section 4.1, where n_c = ⌈max|x_c| / θ⌉ for a threshold θ: this is the smallest θ that
``extra`` pays for; outlier channel splitting (Zhao et al., 2019), which splits the largest one at a time.
"""

import heapq

import numpy as np
from numpy.typing import NDArray


def copies(difficulty: NDArray[np.float64], extra: int) -> NDArray[np.intp]:
    """Return the number of copies n of each of the C channels, [C]: n ≥ 1, and C + ``extra`` together.

    Each further copy goes to the channel of largest ``difficulty[c] / n[c]``, the first of several. ``difficulty`` [C]
    is divided among the copies, such as max|x_c|: not negative, finite. Takes O(C + extra log C) steps.
    """
    counts = np.ones(len(difficulty), np.intp)
    heap = [(-float(share), channel) for channel, share in enumerate(difficulty)]
    heapq.heapify(heap)
    for _ in range(extra):
        _, channel = heap[0]
        counts[channel] += 1
        heapq.heapreplace(heap, (-float(difficulty[channel] / counts[channel]), channel))
    return counts
