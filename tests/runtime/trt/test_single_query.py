"""A single query, as in a step of a decoder: the real builder makes no product of it, and that is no finding."""

import onnx
import pytest

from models.decoder import HEADS, PAST, SIZE, WIDTH
from requant.baseline import half_precision
from requant.ir import canonicalize
from requant.ir.load import load
from requant.runtime.tally import tally
from requant.runtime.tally_findings import tally_findings
from requant.runtime.targets import target
from tests.engine import needs_tensorrt_rtx

ATTENTION = f"""<ir_version: 9, opset_import: ["": 20]> g
    (float[8,{HEADS},1,{SIZE}] q, float[8,{HEADS},{SIZE},{PAST}] k, float[8,{HEADS},{PAST},{SIZE}] v)
    => (float[8,1,{WIDTH}] y) <int64[3] joined = {{8, 1, {WIDTH}}}>
    {{ s = MatMul(q, k) p = Softmax(s) m = MatMul(p, v)
       t = Transpose<perm = [0, 2, 1, 3]>(m) y = Reshape(t, joined) }}"""


@needs_tensorrt_rtx
@pytest.mark.trt
def test_it_is_no_product_and_no_finding() -> None:
    model = load(onnx.parser.parse_model(ATTENTION))
    canonicalize(model, 21)
    result = tally(half_precision(model, target("tensorrt-rtx")), "tensorrt-rtx", capability="8.9")
    assert result.types == {}
    assert (len(result.attentions), tally_findings(result)) == (1, [])
