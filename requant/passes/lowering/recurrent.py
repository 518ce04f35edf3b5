"""An LSTM of integers, for ONNX Runtime's CPU: each product quantizes its data by a scale that it computes.

W ≈ s (Q - 0)        int8, with a scale for each gate and hidden channel of each direction
"""

import numpy as np
import onnx_ir as ir

from ...ir.constants import constant, lazily
from ...ir.formats import INT8
from ...ir.quantizer import Quantizer, largest_code
from ...ir.recurrent import Recurrent
from ...ir.shapes.contrib import CONTRIB

_FIRST_SCALE = 8
"""The position of the first scale, behind the inputs that an LSTM has too."""


def multiply_integers_in(graph: ir.Graph, recurrent: Recurrent, bits: int) -> None:
    """Turn an LSTM into ONNX Runtime's DynamicQuantizeLSTM, with int8 weights of so many ``bits``."""
    node = recurrent.node
    node.domain, node.op_type = CONTRIB, "DynamicQuantizeLSTM"
    node.attributes.pop("layout", None)
    node.resize_inputs(_FIRST_SCALE + 4)
    for index, weight in enumerate(recurrent[1:]):
        node.replace_input_with(1 + index, _integers(graph, weight, bits))
        scale = _scale(weight, bits).squeeze(1)
        zero = np.zeros(scale.shape, np.int8)
        for offset, (data, kind) in enumerate(((scale, "scale"), (zero, "zero_point"))):
            position = _FIRST_SCALE + 2 * index + offset
            node.replace_input_with(position, constant(graph, data, f"{weight.name}.{kind}"))


def _scale(weight: ir.Value, bits: int) -> np.ndarray:
    """Return the scales of the transposed weight, [D, 1, 4 H]."""
    assert weight.const_value is not None
    largest = np.abs(weight.const_value.numpy()).max(axis=2)[:, None]
    top = np.float32(largest_code(INT8.weights, bits))
    return np.maximum(np.where(largest > 0, largest, top) / top, np.finfo(np.float32).tiny).astype(np.float32)


def _integers(graph: ir.Graph, weight: ir.Value, bits: int) -> ir.Value:
    """Return the transposed weight [D, I, 4 H] in integers, computed when they are read."""
    tensor = weight.const_value
    assert tensor is not None
    directions, gates, inputs = tensor.shape.numpy()
    plan = Quantizer(_scale(weight, bits), 2, INT8.weights, bits)
    encoded = lazily(
        lambda data: plan.encode(data.transpose(0, 2, 1)),
        tensor,
        dtype=INT8.weights,
        shape=(directions, inputs, gates),
    )
    return constant(graph, encoded, f"{weight.name}.codes")
