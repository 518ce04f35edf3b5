"""What a model is to tests and benchmarks: its graph, its data, and its score on its task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.generic]
Feed: TypeAlias = dict[str, Array]
Predict: TypeAlias = Callable[[Mapping[str, Array]], list[Array]]


@dataclass(frozen=True)
class Subject:
    """A model with its data. Each feed maps every input's name to a batch (first dimension = samples).

    `calibration` and `evaluation` are drawn from disjoint sources and are the same on every call.
    `score` runs a predictor, which maps a feed to the list of outputs, over the labelled data. Higher is
    better; without labels there is no metric.
    """

    name: str
    model: Callable[[], Path | onnx.ModelProto]
    calibration: Callable[[], list[Feed]]
    evaluation: Callable[[], list[Feed]]
    score: Callable[[Predict], dict[str, float]]


def predictor(model: Path | onnx.ModelProto) -> Predict:
    """`model` as a function from a feed to the list of its outputs, on ONNX Runtime's CPU provider."""
    source = model if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return lambda feed: [np.asarray(output) for output in session.run(None, dict(feed))]
