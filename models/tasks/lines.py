"""Read lines of text: the characters of a CTC network's output, and how many of them two networks agree on."""

from collections.abc import Sequence

import numpy as np

from models.subject import Array

BLANK = 0


def decoded(outputs: Sequence[Array]) -> list[int]:
    """Return the characters' numbers by greedy CTC decoding: the best of each step, repetitions merged, no blanks.

    The output is (1, steps, characters).
    """
    best = outputs[0][0].argmax(-1)
    new = np.append(True, best[1:] != best[:-1])
    characters: list[int] = best[new & (best != BLANK)].tolist()
    return characters


def edit_distance(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the insertions, deletions and substitutions that turn one into the other (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for index, mine in enumerate(first, 1):
        previous, row = row, [index]
        for column, theirs in enumerate(second):
            substituted = previous[column] + (mine != theirs)
            row.append(min(substituted, previous[column + 1] + 1, row[column] + 1))
    return row[-1]


def agreement(expected: Sequence[Sequence[Array]], actual: Sequence[Sequence[Array]]) -> dict[str, float]:
    """Compare what two networks read: 1 - edit distance / characters of the first, over all lines."""
    pairs = [(decoded(first), decoded(second)) for first, second in zip(expected, actual, strict=True)]
    length = max(sum(len(first) for first, _ in pairs), 1)
    return {"characters": 1 - sum(edit_distance(first, second) for first, second in pairs) / length}
