"""Quantize a real ViT-S with real photographs and show what the rewrite is worth: `make demo`.

Prints how close each int8 model stays to the float one, its latency and its size, and draws the saliency maps that
they make of one photograph to demo/saliency.png. Takes two to three minutes on two cores, downloads included.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console

import requant
from models import photographs
from models.photographs import SIDE
from models.vit import VIT_S
from requant.ir.load import load
from requant.runtime.compare import compare
from requant.runtime.session import Run, runner
from requant.tables import table

FOLDER = Path("demo")
RECIPES = {"plain int8": "int8-plain", "requant": "int8"}
CROPS, RUNS, THREADS = 16, 30, 2
SHOWN = ("scikit-image", "skimage/data/coffee.png")
CAPTION, GAP = 18, 4


def main() -> None:
    """Quantize, measure, print and draw."""
    say("fetching ViT-S and photographs")
    FOLDER.mkdir(exist_ok=True)
    original = VIT_S.model()
    assert isinstance(original, Path)
    models = {"float": original} | {name: quantized(original, name) for name in RECIPES}
    Console().print(table("ViT-S, 224 × 224, one photograph at a time on the CPU", COLUMNS, list(rows(models))))
    say(f"drawing {FOLDER / 'saliency.png'}")
    drawing(models).save(FOLDER / "saliency.png")


def quantized(original: Path, name: str) -> Path:
    """Where ViT-S lies, quantized by the recipe of ``name``."""
    say(f"quantizing: {name}")
    path = FOLDER / f"vit_s.{RECIPES[name]}.onnx"
    requant.optimize(original, VIT_S.calibration, RECIPES[name], target="cpu", output=path)
    return path


COLUMNS = ("model", "SQNR", "ms", "speedup", "MB")


def rows(models: dict[str, Path]) -> list[tuple[str, ...]]:
    """Fidelity, latency and size of each model; the first is the reference."""
    feeds, reference = VIT_S.evaluation()[:CROPS], load(models["float"])
    say(f"measuring fidelity on {CROPS} crops of photographs that calibration has not seen")
    close = {
        name: compare(reference, load(models[name]), feeds, layers=False, optimized=True).outputs for name in RECIPES
    }
    say(f"measuring latency: {RUNS} runs each, taking turns, {THREADS} threads")
    return [
        (
            found.name,
            f"{close[found.name]['output_importance'].sqnr:.1f} dB" if found.name in close else "",
            f"{found.median:.0f}",
            f"{found.speedup:.2f}×",
            f"{models[found.name].stat().st_size / 1e6:.0f}",
        )
        for found in requant.benchmark(models, feeds[:1], runs=RUNS, threads=THREADS)
    ]


def drawing(models: dict[str, Path]) -> Image.Image:
    """The photograph and each model's saliency map of it, with captions."""
    picture = photographs.photograph(*SHOWN)
    square = ImageOps.fit(picture, (SIDE, SIDE))
    maps = {name: saliency(runner(load(path), optimized=True), square) for name, path in models.items()}
    low, high = float(maps["float"].min()), float(maps["float"].max())
    panels = {"photograph": square} | {name: heat((found - low) / (high - low)) for name, found in maps.items()}
    sheet = Image.new("RGB", (len(panels) * (SIDE + GAP) - GAP, SIDE + CAPTION), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (name, panel) in enumerate(panels.items()):
        left = index * (SIDE + GAP)
        sheet.paste(panel, (left, CAPTION))
        pen.text((left + 2, 2), name, "black", ImageFont.load_default(12))
    return sheet


def saliency(run: Run, picture: Image.Image) -> NDArray[np.float32]:
    """The map [224, 224] that a model makes of ``picture``."""
    found: NDArray[np.float32] = run({"input_image": photographs.normalized(np.asarray(picture))})[0][0, 0]
    return found


def heat(share: NDArray[np.float32]) -> Image.Image:
    """``share`` from 0 to 1 as black, red, yellow, white."""
    colours = np.clip(3 * share[..., None] - np.arange(3), 0, 1)
    return Image.fromarray((255 * colours).astype(np.uint8))


def say(what: str) -> None:
    """Tell the person who waits."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
