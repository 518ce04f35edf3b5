"""An LSTM of integers, for ONNX Runtime's CPU: each product quantizes its data by a scale that it computes.

W ≈ s (Q - 0)        int8, with a scale for each gate and hidden channel of each direction
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import constant, lazily
from ...ir.formats import INT8
from ...ir.quantizer import Quantizer
from ...ir.recurrent import Recurrent
from ...ir.shapes.contrib import CONTRIB
from ..scales import channel_scales

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
        position = _FIRST_SCALE + 2 * index
        node.replace_input_with(position, constant(graph, scale, f"{weight.name}.scale"))
        node.replace_input_with(position + 1, constant(graph, zero, f"{weight.name}.zero_point"))


def _scale(weight: ir.Value, bits: int) -> NDArray[np.float32]:
    """Return the scales of the transposed weight, [D, 1, 4 H]."""
    assert weight.const_value is not None
    return channel_scales(weight.const_value.numpy(), (2,), replace(INT8, bits=bits))[:, None]


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
