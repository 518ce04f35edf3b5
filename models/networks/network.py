"""A network from a package as a subject: its file, and what draws one feed of its data from a split's sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from models import documents, fetch, photographs
from models.subject import Array, Feed, Predict, Subject, predictor


@dataclass(frozen=True)
class Split:
    """A set of sources; the two splits share no photograph, no document, no face and no random seed."""

    seed: int
    photographs: tuple[tuple[str, str], ...]
    first: int
    """The first of its hundred documents; also where its half of the faces begins, in halves."""
    portrait: tuple[str, str]
    """A photograph of a person, by wheel and path."""

    def words(self) -> list[str]:
        """The words of its documents, in order."""
        return " ".join(documents.lee_background()[self.first : self.first + 100]).split()


CALIBRATION = Split(0, photographs.CALIBRATION, 0, ("scikit-image", "skimage/data/astronaut.png"))
EVALUATION = Split(1, photographs.EVALUATION, 100, ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"))

Draw = Callable[[Split, np.random.Generator, int], Feed]
"""Draws the sample of a number from a split's sources."""

Agreement = Callable[[Sequence[list[Array]], Sequence[list[Array]]], dict[str, float]]
"""Compares the outputs of two networks for the same feeds: of the float one, then of another. Higher is better."""


def network(
    name: str,
    wheel: str,
    path: str,
    draw: Draw,
    calibration: int = 32,
    evaluation: int = 24,
    agreement: Agreement | None = None,
) -> Subject:
    """Describe the network in the file at ``path`` of ``wheel``, with so many samples of either split.

    Without labels, its score is the ``agreement`` with its float self.
    """

    @cache
    def feeds(split: Split, count: int) -> list[Feed]:
        return [draw(split, np.random.default_rng([split.seed, index]), index) for index in range(count)]

    @cache
    def float_outputs() -> list[list[Array]]:
        predict = predictor(fetch.member(wheel, path))
        return [predict(feed) for feed in feeds(EVALUATION, evaluation)]

    def score(predict: Predict) -> dict[str, float]:
        if agreement is None:
            return {}
        return agreement(float_outputs(), [predict(feed) for feed in feeds(EVALUATION, evaluation)])

    return Subject(
        name=name,
        model=lambda: fetch.member(wheel, path),
        calibration=lambda: feeds(CALIBRATION, calibration),
        evaluation=lambda: feeds(EVALUATION, evaluation),
        score=score,
    )
