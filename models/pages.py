"""Rendered pages of text that are hard to read: few or tiny words, low contrast, blur, noise, skew."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from models import fetch

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
)
WORDS_A_PAGE = 300  # more than most pages hold


@dataclass(frozen=True)
class Look:
    """How one page looks. Lengths in pixels, grey levels 0 to 255, colours in RGB."""

    width: int
    height: int
    font: ImageFont.FreeTypeFont
    size: int
    leading: float  # distance of the lines, in sizes
    lines: int
    margin: int
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    skew: float  # degrees
    blur: float  # radius
    noise: float  # standard deviation in grey levels


@cache
def fonts() -> tuple[ImageFont.FreeTypeFont, ...]:
    """matplotlib's text fonts, without the shaping library that only some machines have."""
    paths = (fetch.member("matplotlib", f"matplotlib/mpl-data/fonts/ttf/{name}.ttf") for name in FONTS)
    return tuple(ImageFont.truetype(path, layout_engine=ImageFont.Layout.BASIC) for path in paths)


def look(rng: np.random.Generator, typefaces: Sequence[ImageFont.FreeTypeFont]) -> Look:
    """A random look."""
    width = int(rng.integers(288, 481))
    paper, ink = colours(rng)
    return Look(
        width=width,
        height=int(width * rng.uniform(1.0, 1.4)),
        font=typefaces[int(rng.integers(len(typefaces)))],
        size=int(rng.integers(8, 21)),
        leading=rng.uniform(1.2, 2.0),
        lines=int(rng.integers(2, 31)),
        margin=int(rng.integers(8, 61)),
        paper=paper,
        ink=ink,
        skew=rng.uniform(-4.0, 4.0),
        blur=rng.uniform(0.0, 1.2),
        noise=rng.uniform(0.0, 15.0),
    )


def colours(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Paper and ink, a random contrast apart; one page in six is light on dark."""
    contrast = rng.uniform(36, 180)
    light = rng.uniform(contrast + 20, 250) + rng.uniform(-10, 5, size=3)
    dark = light - contrast + rng.uniform(-10, 10, size=3)
    paper, ink = (dark, light) if rng.random() < 1 / 6 else (light, dark)
    return _rgb(paper), _rgb(ink)


def draw(look: Look, text: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The upright page (height, width, 3): as many lines of `text` as the look asks and the page holds."""
    page = Image.new("RGB", (look.width, look.height), look.paper)
    canvas = ImageDraw.Draw(page)
    font = look.font.font_variant(size=look.size)
    column = (look.width - 2 * look.margin) * len(text) / font.getlength(text)
    step = int(look.size * look.leading)
    room = (look.height - 2 * look.margin) // step
    lines = textwrap.wrap(text, int(column))[: min(look.lines, room)]
    top = look.margin + int(rng.integers(0, room - len(lines) + 1)) * step
    for index, line in enumerate(lines):
        canvas.text((look.margin, top + index * step), line, look.ink, font)
    page = page.rotate(look.skew, Image.Resampling.BILINEAR, fillcolor=look.paper)
    pixels = np.asarray(page.filter(ImageFilter.GaussianBlur(look.blur)))
    noise: NDArray[np.float32] = look.noise * rng.standard_normal((look.height, look.width, 1), np.float32)
    noisy: NDArray[np.float32] = pixels + noise
    return noisy.clip(0, 255).astype(np.uint8)


def rotated(page: NDArray[np.uint8], quarters: int) -> NDArray[np.uint8]:
    """The page turned clockwise by so many right angles."""
    return np.rot90(page, -quarters)


def pages(
    count: int, words: Sequence[str], typefaces: Sequence[ImageFont.FreeTypeFont], seed: int
) -> list[NDArray[np.uint8]]:
    """`count` pages (height, width, 3), each with a run of `words` (at least 300 are needed).

    Page i is turned clockwise by i modulo 4 right angles. Equal seeds give equal pages.
    """
    rng = np.random.default_rng(seed)
    turned = []
    for index in range(count):
        start = int(rng.integers(0, len(words) - WORDS_A_PAGE + 1))
        text = " ".join(words[start : start + WORDS_A_PAGE])
        turned.append(rotated(draw(look(rng, typefaces), text, rng), index % 4))
    return turned


def _rgb(levels: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in levels.clip(0, 255))
    return red, green, blue
