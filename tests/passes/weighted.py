"""Graphs in text whose weights are drawn at random."""

from collections.abc import Mapping

import numpy as np
import onnx


def weighted(text: str, shapes: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """Return the graph in ``text``, at opset 17, with those of the weights in ``shapes`` that it reads."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')
    names, rng = {name for node in proto.graph.node for name in node.input}, np.random.default_rng(0)
    for name in sorted(names & shapes.keys()):
        array = (rng.normal(size=shapes[name]) / 10).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto
