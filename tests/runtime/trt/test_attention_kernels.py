"""The sizes for which the builder of TensorRT-RTX makes one kernel of a quantized attention are those of the row."""

from dataclasses import replace

import onnx_ir as ir
import pytest

from models import synthetic
from requant.calib import batches, collect
from requant.ir import canonicalize
from requant.ir.formats import FP8, INT8, Format
from requant.ir.load import load
from requant.passes import ConvertPrecision, InsertQDQ, PlanQuantizers
from requant.passes.plan_attention import PlanAttention
from requant.runtime.tally import tally
from requant.runtime.targets import target
from requant.runtime.targets.target import AttentionKernel
from tests.engine import needs_tensorrt_rtx

HALF, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT
ROW = target("tensorrt-rtx")
ANY = replace(ROW, attention=dict.fromkeys(ROW.attention, AttentionKernel(range(1, 4096), range(1, 4096))))


def is_one_kernel(layers: Format, attention: Format, size: int, tokens: int, body: ir.DataType) -> bool:
    spec = synthetic.Transformer(2 * size, 2, 1, hidden=64, tokens=tokens, batch=1)
    model, feeds = load(synthetic.pre_norm(spec)), [dict(feed) for feed in synthetic.feeds(spec, 2)]
    canonicalize(model, 21)
    collect(model, batches(feeds, model))
    PlanQuantizers((layers,))(model)
    PlanAttention(feeds, attention, ANY, body)(model)
    InsertQDQ(ANY, body=body)(model)
    if body != FLOAT:
        ConvertPrecision(body)(model)
    result = tally(model, "tensorrt-rtx", capability="8.9")
    return bool(result.fused_attentions)


@needs_tensorrt_rtx
@pytest.mark.trt
@pytest.mark.parametrize(
    ("layers", "attention", "size", "tokens", "body"),
    [
        (FP8, FP8, 64, 32, HALF),
        (FP8, FP8, 64, 24, HALF),
        (INT8, FP8, 64, 64, HALF),
        (INT8, FP8, 64, 64, FLOAT),
        (FP8, FP8, 256, 64, HALF),
        (FP8, FP8, 16, 64, HALF),
        (INT8, INT8, 16, 64, HALF),
        (INT8, INT8, 24, 64, HALF),
        (INT8, INT8, 32, 512, FLOAT),
        (INT8, INT8, 32, 513, FLOAT),
        (INT8, INT8, 128, 64, HALF),
        (FP8, INT8, 64, 64, HALF),
    ],
    ids=str,
)
def test_the_row_has_the_sizes_of_the_builder(
    layers: Format, attention: Format, size: int, tokens: int, body: ir.DataType
) -> None:
    kernel = ROW.attention[attention.weights]
    allowed = size in kernel.head_sizes and tokens in kernel.keys and (body == HALF or not kernel.half)
    allowed &= layers.weights not in kernel.never_beside
    assert is_one_kernel(layers, attention, size, tokens, body) == allowed
