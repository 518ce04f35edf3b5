"""Static dimensions become constants; dynamic ones stay computed."""

import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from requant.ir.static_shapes import FoldStaticShapes

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[n, 3, 8] x) => (int64[k] y) '
CASES = {
    "gathered static": ("<int64 i = {2}> { s = Shape(x) y0 = Gather(s, i) o = Constant<value_ints=[-1]>() "
                        "y = Reshape(y0, o) }", [8]),
    "gathered from the end": ("<int64[2] i = {-1, 1}> { s = Shape(x) y0 = Gather(s, i) y = Neg(y0) }", [8, 3]),
    "sliced": ("<int64[1] a = {1}, int64[1] b = {3}> { s = Shape(x) y0 = Slice(s, a, b) y = Neg(y0) }", [3, 8]),
    "start and end": ("{ s = Shape<start=1>(x) y = Neg(s) }", [3, 8]),
    "gathered dynamic": ("<int64[1] i = {0}> { s = Shape(x) y0 = Gather(s, i) y = Neg(y0) }", None),
    "partly dynamic": ("<int64[2] i = {0, 1}> { s = Shape(x) y0 = Gather(s, i) y = Neg(y0) }", None),
    "whole": ("{ s = Shape(x) y = Neg(s) }", None),
    "backwards": ("<int64[1] a = {2}, int64[1] b = {0}, int64[1] c = {0}, int64[1] d = {-1}> "
                  "{ s = Shape(x) y0 = Slice(s, a, b, c, d) y = Neg(y0) }", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), CASES.values(), ids=CASES.keys())
def test_what_depends_on_static_dimensions_alone_is_settled(body: str, expected: list[int] | None) -> None:
    model = ir.from_onnx_text(HEAD + body)
    ir.passes.Sequential(*_prepared())(model)
    assert FoldStaticShapes()(model).modified == (expected is not None)
    constant = next((v for name, v in model.graph.initializers.items() if name.endswith(".static")), None)
    found = None if constant is None or constant.const_value is None else constant.const_value.numpy().ravel().tolist()
    assert found == expected
    assert not FoldStaticShapes()(model).modified


def _prepared() -> list[ir.passes.PassBase]:

    return [common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0), common.ShapeInferencePass()]
