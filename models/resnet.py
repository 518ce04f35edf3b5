"""A ResNet-50 (He et al., 2015) with seeded weights, BatchNorm folded, as an ONNX model.

x (B, 3, 224, 224) gives y (B, 1000). Each branch adds a fraction to its residual, as in a trained network: in one that
doubles at every block, what rounds the residual would drown what is added to it.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, BRANCH = 224, 1000, 0.3
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner width and number of blocks of each stage; a block writes four times its width."""


class _Writer:
    """Nodes and weights under readable names."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, op_type: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        name = f"{op_type.lower()}_{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def weight(self, *shape: int, size: float) -> str:
        name = f"weight_{len(self.weights)}"
        data = size * self.rng.standard_normal(shape, dtype=np.float32)
        self.weights.append(numpy_helper.from_array(data.astype(np.float32), name))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, gain: float = 1.0) -> str:
        weight = self.weight(outputs, inputs, kernel, kernel, size=gain * (2 / (inputs * kernel**2)) ** 0.5)
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return self.op("Conv", x, weight, self.weight(outputs, size=0.1 * gain), **shape)


def resnet50(batch: int | None = None, seed: int = 0) -> onnx.ModelProto:
    """The model, 102 MB; equal seeds give equal weights."""
    g = _Writer(seed)
    x = g.op("Relu", g.conv("x", 3, 64, 7, 2))
    x, width = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for stage, (inner, blocks) in enumerate(STAGES):
        for block in range(blocks):
            x = _bottleneck(g, x, width, inner, stride=2 if stage and not block else 1)
            width = 4 * inner
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    g.nodes.append(helper.make_node("Gemm", [x, g.weight(width, CLASSES, size=width**-0.5)], ["y"], "gemm"))
    taken, given = [batch or "batch", 3, SIDE, SIDE], [batch or "batch", CLASSES]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip("xy", (taken, given), strict=True)
    ]
    graph = helper.make_graph(g.nodes, "resnet50", ends[:1], ends[1:], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _bottleneck(g: _Writer, x: str, width: int, inner: int, stride: int) -> str:
    y = g.op("Relu", g.conv(x, width, inner, 1))
    y = g.op("Relu", g.conv(y, inner, inner, 3, stride))
    y = g.conv(y, inner, 4 * inner, 1, gain=BRANCH)
    residual = x if stride == 1 and width == 4 * inner else g.conv(x, width, 4 * inner, 1, stride)
    return g.op("Relu", g.op("Add", y, residual))
