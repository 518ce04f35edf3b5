"""What a graph computes in float64, by ONNX's reference implementation: ONNX Runtime has few ops in double."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_attention import _compute_attention

Array = NDArray[np.float64]


class SimplifiedLayerNormalization(OpRun):
    """ONNX Runtime's RMSNorm, in numpy."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, epsilon: float = 1e-5, **rest: object) -> tuple[Array]:
        return (x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale,)


class MultiHeadAttention(OpRun):
    """ONNX Runtime's attention, in numpy."""

    op_domain = "com.microsoft"

    def _run(
        self, q: Array, k: Array, v: Array, bias: Array | None = None, num_heads: int = 1, **rest: object
    ) -> tuple[Array]:
        b = np.split(bias if bias is not None else np.zeros(3 * q.shape[-1]), 3)
        y, *_ = _compute_attention(q + b[0], k + b[1], v + b[2], q_num_heads=num_heads, kv_num_heads=num_heads)
        return (y,)


def compute_in_double(model: ir.Model, feed: dict[str, NDArray[np.generic]]) -> list[Array]:
    """The outputs of a model that `in_double` made; floats of the feed are widened."""
    evaluator = ReferenceEvaluator(ir.to_proto(model), new_ops=[SimplifiedLayerNormalization, MultiHeadAttention])
    wide = {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in feed.items()}
    with np.errstate(over="ignore", invalid="ignore"):  # its Sigmoid computes both branches of a choice everywhere
        return [np.asarray(output, np.float64) for output in evaluator.run(None, wide)]


def in_double(model: ir.Model) -> ir.Model:
    """A copy of a float32 model in float64. Its shapes are kept, since they are inferred for fewer ops in double."""
    copy = model.clone()
    for graph in copy.graphs():
        for value in (*graph.inputs, *graph.initializers.values(), *(out for node in graph for out in node.outputs)):
            if value.dtype == ir.DataType.FLOAT:
                _widen(value)
        for node in graph:
            if node.op_type == "Cast" and node.attributes.get_int("to", 0) == ir.DataType.FLOAT:
                node.attributes["to"] = ir.AttrInt64("to", ir.DataType.DOUBLE)
    return copy


def _widen(value: ir.Value) -> None:
    value.type = ir.TensorType(ir.DataType.DOUBLE)  # not in place: the original shares the old type
    if value.const_value is not None:
        value.const_value = ir.tensor(value.const_value.numpy().astype(np.float64), name=value.name)
