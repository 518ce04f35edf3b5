"""Detected objects: boxes decoded from a network's outputs, and those on which two networks agree.

Two boxes agree when they have the same class and an IoU (intersection over union) of at least 0.9. Of the float
network's boxes, the share that the other network agrees on is the recall, the other way round it is the precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.subject import Array

CONFIDENCE, OVERLAP, AGREEMENT = 0.25, 0.5, 0.9
STRIDES = 8, 16, 32, 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Corners (n, 4) as left, top, right and bottom, with a class and a score for each."""

    corners: Floats
    classes: NDArray[np.intp]
    scores: Floats

    def __getitem__(self, index: NDArray[np.generic] | list[int]) -> "Boxes":
        """Return those at an index or under a mask."""
        return Boxes(self.corners[index], self.classes[index], self.scores[index])


Decode = Callable[[Sequence[Array]], Boxes]
"""Returns a box for each place of a network's outputs for one image, whatever its score."""


def yolov8(outputs: Sequence[Array]) -> Boxes:
    """Decode YOLOv8's output (1, 4 + classes, places): centre, width and height, then a score for each class."""
    rows = np.asarray(outputs[0], np.float64)[0].T
    centres, halves = rows[:, :2], rows[:, 2:4] / 2
    return _best_class(np.hstack([centres - halves, centres + halves]), rows[:, 4:])


def picodet(size: tuple[int, int]) -> Decode:
    """Return a decoder of PicoDet's outputs for an image of a height and width.

    These are scores (1, places, classes) at each stride, then distributions (1, places, 4 bins) of the distances from a
    place to the four sides, in strides.
    """

    def decode(outputs: Sequence[Array]) -> Boxes:
        scores, distributions = outputs[: len(STRIDES)], outputs[len(STRIDES) :]
        pairs = zip(STRIDES, distributions, strict=True)
        corners = [_from_distances(np.asarray(bins, np.float64)[0], stride, size) for stride, bins in pairs]
        return _best_class(np.vstack(corners), np.vstack([np.asarray(one, np.float64)[0] for one in scores]))

    return decode


def _from_distances(distributions: Floats, stride: int, size: tuple[int, int]) -> Floats:
    """Return the corners of the places of one stride: centre ∓ expected distance."""
    logits = distributions.reshape(len(distributions), 4, -1)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    distances: Floats = stride * (weights @ np.arange(logits.shape[-1])) / weights.sum(-1)
    ys, xs = np.meshgrid(*(stride * (np.arange(-(-extent // stride)) + 0.5) for extent in size), indexing="ij")
    centres = np.stack([xs, ys, xs, ys], axis=-1).reshape(-1, 4)
    return np.asarray(centres + np.array([-1, -1, 1, 1]) * distances)


def _best_class(corners: Floats, scores: Floats) -> Boxes:
    return Boxes(corners, scores.argmax(1), scores.max(1))


def iou(first: Floats, second: Floats) -> Floats:
    """Return the IoU of each pair (n, m); it is 0 where both boxes are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    total = area(first)[:, None] + area(second)[None] - shared
    shares: Floats = np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)
    return shares


def area(corners: Floats) -> Floats:
    """Return the area of each box; 0 for one whose corners are in the wrong order."""
    return np.asarray(np.clip(corners[:, 2:] - corners[:, :2], 0, None).prod(-1))


def detected(boxes: Boxes) -> Boxes:
    """Keep the confident boxes that no better one of their class overlaps: non-maximum suppression, best first."""
    boxes = boxes[boxes.scores > CONFIDENCE]
    boxes = boxes[np.argsort(-boxes.scores, kind="stable")]
    rivals = (iou(boxes.corners, boxes.corners) > OVERLAP) & (boxes.classes[:, None] == boxes.classes)
    kept = list[int]()
    for index in range(len(boxes.scores)):
        if not rivals[index, kept].any():
            kept.append(index)
    return boxes[kept]


def agreeing(boxes: Boxes, others: Boxes) -> int:
    """Count those of ``boxes`` that have a partner among ``others``."""
    partners = (iou(boxes.corners, others.corners) >= AGREEMENT) & (boxes.classes[:, None] == others.classes)
    return int(partners.any(1).sum())


def f1(expected: Sequence[Boxes], actual: Sequence[Boxes]) -> float:
    """Return the harmonic mean of precision and recall over all images; 1 where neither has a box."""
    pairs = list(zip(expected, actual, strict=True))
    total, found = (sum(len(boxes.scores) for boxes in side) for side in (expected, actual))
    if not total or not found:
        return float(total == found)
    recall = sum(agreeing(mine, theirs) for mine, theirs in pairs) / total
    precision = sum(agreeing(theirs, mine) for mine, theirs in pairs) / found
    return 2 * precision * recall / (precision + recall) if recall else 0.0


def agreement(decode: Decode) -> Callable[[Sequence[Sequence[Array]], Sequence[Sequence[Array]]], dict[str, float]]:
    """Return a function that compares the detections of two networks with these outputs."""

    def compare(expected: Sequence[Sequence[Array]], actual: Sequence[Sequence[Array]]) -> dict[str, float]:
        first, second = ([detected(decode(outputs)) for outputs in side] for side in (expected, actual))
        return {"boxes F1": f1(first, second)}

    return compare
