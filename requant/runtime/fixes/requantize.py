"""The same real numbers in codes of another type: (q - z) · s = ((q + c) - (z + c)) · s."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array, constant, is_constant, lazily
from ..rules.parts import Step
from ..rules.qdq_graph import View

_OTHER = {
    ir.DataType.UINT8: (ir.DataType.INT8, -128),
    ir.DataType.INT8: (ir.DataType.UINT8, 128),
    ir.DataType.UINT4: (ir.DataType.INT8, -8),
    ir.DataType.INT4: (ir.DataType.INT8, 0),
}
"""By type of codes, the one to use instead and what to add."""


def symmetric(view: View, node: ir.Node) -> bool:
    """uint8 codes around 128, of the Q or DQ ``node``, as int8 codes around 0."""
    zero_point = view.steps[node].zero_point
    return zero_point is not None and bool((zero_point.astype(np.int64) == 128).all()) and _recode(view.steps[node])


def int8_weight(view: View, node: ir.Node) -> bool:
    """Codes of the weight of the layer ``node``, uint8 or narrower, as int8 codes."""
    weight = view.layers[node].weight
    return weight is not None and weight.step is not None and _recode(weight.step)


def unsigned(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """int8 codes of the activations of the layers ``nodes`` as uint8 codes.

    All others in the model but weights go with them, since an integer kernel wants one type throughout.
    """
    operands = [operand for layer in view.layers.values() for operand in layer.operands]
    weights = {_codes(operand.step) for operand in operands if operand.fixed and operand.step}
    for step in view.steps.values():
        if step.codes == ir.DataType.INT8 and _codes(step) not in weights:
            _recode(step)
    for node in nodes:
        operands = [operand for operand in view.layers[node].operands if not operand.fixed] if node else []
        codes = [_codes(operand.step) for operand in operands if operand.step]
        if node and all(value is not None and value.dtype == ir.DataType.UINT8 for value in codes):
            yield node


def written_zero_points(view: View, node: ir.Node) -> bool:
    """The zero points that the operands of the layer ``node`` leave out, which are 0."""
    bare = [
        (end, zeros)
        for step in view.layers[node].steps
        for end in _ends(step)
        if (len(end.inputs) < 3 or end.inputs[2] is None) and (zeros := _zero_point(end, step)) is not None
    ]
    for end, zeros in bare:
        _write(end, zeros)
    return bool(bare)


def _recode(step: Step) -> bool:
    """Let all who read the codes of ``step`` take the other type of `_OTHER`; False where that is not exact."""
    codes, ends = _codes(step), _ends(step)
    zero_points = [zeros for end in ends if (zeros := _zero_point(end, step)) is not None]
    if codes is None or codes.dtype != step.codes or step.codes not in _OTHER:
        return False
    if codes.is_graph_output() or len(zero_points) < len(ends):
        return False
    dtype, offset = _OTHER[step.codes]

    def shifted(data: NDArray[np.generic]) -> NDArray[np.generic]:
        return (data.astype(np.int16) + offset).astype(dtype.numpy())

    graph, quantize = codes.graph, codes.producer()
    if is_constant(codes) and isinstance(graph, ir.Graph) and codes.const_value is not None:
        stored = lazily(shifted, codes.const_value, dtype=dtype)
        codes.replace_all_uses_with(constant(graph, stored, f"{codes.name}.{dtype.name.lower()}"))
    elif quantize is not None and quantize.op_type == "QuantizeLinear" and dtype.bitwidth == step.codes.bitwidth:
        codes.type = ir.TensorType(dtype)
        quantize.attributes.pop("output_dtype", None)
    else:
        return False
    for end, zeros in zip(ends, zero_points, strict=True):
        _write(end, shifted(zeros))
    return True


def _codes(step: Step) -> ir.Value | None:
    return step.node.outputs[0] if step.quantizes else step.node.inputs[0]


def _ends(step: Step) -> list[ir.Node]:
    """All who make or read the codes of ``step``."""
    codes = _codes(step)
    quantize = codes.producer() if codes is not None else None
    made = [quantize] if quantize is not None and quantize.op_type == "QuantizeLinear" else []
    return made + [use.node for use in codes.uses()] if codes is not None else []


def _zero_point(end: ir.Node, step: Step) -> NDArray[np.generic] | None:
    """The zero point of a Q or DQ, also when it is left out; None when ``end`` is neither or computes it."""
    if end.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    scale, zero_point = array(end.inputs[1]), end.inputs[2] if len(end.inputs) > 2 else None
    if zero_point is None:
        return None if scale is None else np.zeros(scale.shape, step.codes.numpy())
    return array(zero_point)


def _write(end: ir.Node, zero_point: NDArray[np.generic]) -> None:
    assert isinstance(end.graph, ir.Graph)
    end.resize_inputs(3)
    end.replace_input_with(2, constant(end.graph, zero_point, f"{end.outputs[0].name}.zero_point"))
