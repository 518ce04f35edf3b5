"""Outputs of a graph or of a body stay separate values, whatever Identity copies them."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.errors import VerificationError
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.interface import require_interface
from requant.ir.load import load
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from tests.engine import needs_vnni

Build = Callable[[str], onnx.ModelProto]
X = {"x": np.random.default_rng(0).standard_normal((16, 32)).astype(np.float32)}

OUTPUTS = {
    "both outputs": ("y, z", "y = MatMul(x, w)  z = Identity(y)"),
    "both outputs, read on": ("y, z, r", "y = MatMul(x, w)  z = Identity(y)  r = Relu(y)"),
    "two of one": ("y, z", "h = MatMul(x, w)  y = Identity(h)  z = Identity(h)"),
    "a chain": ("y, z", "h = MatMul(x, w)  i = Identity(h)  y = Identity(i)  z = Identity(h)"),
    "a chain of outputs": ("y, z, r", "y = MatMul(x, w)  z = Identity(y)  r = Identity(z)"),
    "the other order": ("z, y", "y = MatMul(x, w)  z = Identity(y)"),
    "Dropout": ("y, z", "y = MatMul(x, w)  z = Dropout(y)"),
    "Cast": ("y, z", "y = MatMul(x, w)  z = Cast<to = 1>(y)"),
    "all three": ("y, z, r", "h = MatMul(x, w)  y = Dropout(h)  z = Cast<to = 1>(h)  r = Identity(h)"),
    "an input": ("y, z", "y = MatMul(x, w)  z = Identity(x)"),
    "an input twice": ("y, z, r", "y = MatMul(x, w)  z = Identity(x)  i = Dropout(x)  r = Identity(i)"),
    "an initializer": ("y, z", "y = MatMul(x, w)  z = Identity(w)"),
    "an initializer twice": ("y, z, r", "y = MatMul(x, w)  z = Identity(w)  r = Identity(w)"),
    "a product before its bias": ("h, y, z", "h = MatMul(x, w)  y = Add(h, b)  z = Identity(y)"),
    "one and a consumer": ("z, r", "y = MatMul(x, w)  z = Identity(y)  r = Relu(z)"),
    "a fused op that is one of its inputs": ("y, z", "y = MatMul(x, w)  z = com.microsoft.FusedMatMul(x, w)"),
}

BODIES = {
    "If": """c = ReduceMax<keepdims = 0>(h)  p = Greater(c, limit)  u, v = If (p) <
        then_branch = t () => (float[16, 32] u1, float[16, 32] v1) { u1 = Relu(h)  v1 = Identity(u1) },
        else_branch = e () => (float[16, 32] u2, float[16, 32] v2) { i = Tanh(h)  u2 = Identity(i)  v2 = Identity(i) }
    >  y = Add(u, v)""",
    "If that hands out": """c = ReduceMax<keepdims = 0>(h)  p = Greater(c, limit)  u, v = If (p) <
        then_branch = t () => (float[16, 32] u1, float[16, 32] v1) { u1 = Identity(h)  v1 = Identity(h) },
        else_branch = e () => (float[16, 32] u2, float[16, 32] v2) { u2 = Relu(h)  v2 = Dropout(h) }
    >  y = Add(u, v)""",
    "Scan": """s, y = Scan <num_scan_inputs = 1,
        body = b (float[32] before, float[32] xt) => (float[32] after, float[32] out) {
            sum = Add(before, xt)  after = Tanh(sum)  out = Identity(after) }
    > (zeros, h)""",
}


def _model(outputs: str, body: str, build: Build) -> onnx.ModelProto:
    declared = ", ".join(f"float[n, m] {name.strip()}" for name in outputs.split(","))
    constants = "float[32, 32] w, float[32] b, float limit = {0.5}, float[32] zeros"
    return build(f"(float[16, 32] x) => ({declared}) <{constants}> {{ {body} }}")


@needs_vnni
@pytest.mark.parametrize("form", [*OUTPUTS, *BODIES])
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_outputs_keep_their_names_and_numbers(form: str, target: str, build: Build) -> None:
    outputs, body = OUTPUTS[form] if form in OUTPUTS else ("y", f"h = MatMul(x, w)  {BODIES[form]}")
    proto = _model(outputs, body, build)
    result = requant.optimize(proto, [X], "int8-plain", target, precision="float32")
    assert [value.name for value in result.model.graph.outputs] == [value.name for value in proto.graph.output]
    assert all(layer.quantized for layer in result.report.layers if layer.op_type == "MatMul")
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    results = [map(numbers, runner(model)(X)) for model in (load(proto), result.model)]
    for expected, actual in zip(*results, strict=True):
        assert np.linalg.norm(expected - actual) <= 0.02 * np.linalg.norm(expected)


def test_an_interface_that_differs_is_an_error(build: Build) -> None:
    original, swapped = (load(_model(outputs, "y = MatMul(x, w)  z = Relu(y)", build)) for outputs in ("y, z", "z, y"))
    require_interface(original, original.clone())
    with pytest.raises(VerificationError, match=r"outputs of the result would be \(z: .*those of the model are \(y: "):
        require_interface(original, swapped)
    with_default = original.clone()
    with_default.graph.inputs.append(with_default.graph.initializers["w"])
    require_interface(with_default, original)
    require_interface(with_default, with_default)
    half = original.clone()
    half.graph.inputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    require_interface(original, half, narrowed=True)
    with pytest.raises(VerificationError, match=r"inputs of the result would be \(x: .*FLOAT16"):
        require_interface(original, half)


def test_a_second_canonical_form_is_the_first(build: Build) -> None:
    model = load(_model(*OUTPUTS["all three"], build))
    canonicalize(model)
    nodes = [node.op_type for node in model.graph]
    canonicalize(model)
    assert [node.op_type for node in model.graph] == nodes == ["MatMul", "Identity", "Identity"]
