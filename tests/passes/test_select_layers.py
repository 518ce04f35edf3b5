"""`keep` names a layer to the letter, or else all that a pattern describes."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant
from requant.errors import RequantError

Build = Callable[[str], onnx.ModelProto]
NAMES = ("h[0]/fc", "h[1]/fc", "what?*", "whatever", "twice", "twice", "")
X = [{"x": np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32)}]


def _model(build: Build) -> onnx.ModelProto:
    steps, data = "", "x"
    for count in range(len(NAMES)):
        steps += f"p{count} = MatMul({data}, w{count})  t{count} = Tanh(p{count})  "
        data = f"t{count}"
    weights = ", ".join(f"float[16, 16] w{count}" for count in range(len(NAMES)))
    model = build(f"(float[n, 16] x) => (float[n, 16] y) <{weights}> {{ {steps} y = Neg({data}) }}")
    for node, name in zip(model.graph.node[::2], NAMES, strict=False):
        node.name = name
    return model


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("h[0]/fc", {"p0"}),
        ("h[[]?]/fc", {"p0", "p1"}),
        ("what?*", {"p2"}),
        ("what*", {"p2", "p3"}),
        ("twice", {"p4", "p5"}),
        ("p6", {"p6"}),
        ("*", {f"p{count}" for count in range(len(NAMES))}),
    ],
)
def test_a_literal_name_comes_first(keep: str, kept: set[str], build: Build) -> None:
    layers = requant.optimize(_model(build), X, keep=[keep]).report.layers
    assert {layer.output for layer in layers if layer.reason == "kept by request"} == kept


@pytest.mark.parametrize("keep", ["h[2]/fc", "h[01]", "t0"])
def test_a_name_that_no_layer_has_is_an_error(keep: str, build: Build) -> None:
    with pytest.raises(RequantError, match="no linear layer is called"):
        requant.optimize(_model(build), X, keep=[keep])
