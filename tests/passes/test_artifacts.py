"""Artifacts: `check` finds nothing in them for their engine, and the CPU's load with default options."""

import importlib

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import requant
from requant.errors import SourceError
from requant.ir.load import load
from requant.ir.opset import lower_opset
from requant.ir.shapes.infer import InferShapes
from requant.recipe import RECIPES
from requant.result import Precision
from requant.runtime.session import require_loadable, session
from requant.runtime.targets import TARGETS

Feeds = list[dict[str, NDArray[np.float32]]]

CONVS = """a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a) b = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)
    s = Relu (b) c = Conv <pads = [1, 1, 1, 1]> (s, w3, b3) d = Add (c, s) p = GlobalAveragePool (d) f = Flatten (p)
    y = Gemm <transB = 1> (f, w4, b4)"""
NORM = """h = LayerNormalization (x, g, b0) a = MatMul (h, w1) s = Add (a, b1) k = Relu (s) c = MatMul (k, w2)
    d = Add (c, b2) y = Add (x, d)"""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    CONVS: {
        "w1": (32, 16, 3, 3),
        "w2": (32, 32, 3, 3),
        "w3": (32, 32, 3, 3),
        "w4": (32, 32),
        **dict.fromkeys(("b1", "b2", "b3", "b4"), (32,)),
    },
    NORM: {"g": (32,), "b0": (32,), "w1": (32, 64), "b1": (64,), "w2": (64, 32), "b2": (32,)},
}
INPUT = {CONVS: (1, 16, 8, 8), NORM: (1, 4, 32)}


TINY = '<ir_version: {}, opset_import: ["": {}]> tiny (float[2] x) => ({}) {{ {} }}'


def network(body: str, opset: int) -> onnx.ModelProto:
    dims = ",".join(map(str, INPUT[body]))
    output = "n, 32" if body == CONVS else dims
    ir_version = {17: 8, 20: 9, 23: 11, 25: 13}[opset]
    text = f'<ir_version: {ir_version}, opset_import: ["": {opset}]> net (float[{dims}] x) => (float[{output}] y) '
    model = onnx.parser.parse_model(f"{text} {{ {body} }}")
    rng = np.random.default_rng(0)
    for name, shape in SHAPES[body].items():
        data = (rng.standard_normal(shape) / 4).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    return model


def feeds(body: str) -> Feeds:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal(INPUT[body]).astype(np.float32)} for _ in range(8)]


def engine_reads(opset: int) -> bool:
    try:
        session(load(network(NORM, opset)), "cpu", optimized=False)
    except requant.RequantError:
        return False
    return True


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("body", "opset"), [(CONVS, 17), (NORM, 20), (CONVS, 23), (NORM, 25)])
@pytest.mark.filterwarnings("ignore::requant.errors.TargetWarning")
def test_nothing_is_found_in_an_artifact(body: str, opset: int, target: str, recipe: str, precision: Precision) -> None:
    source = network(body, opset)
    if not engine_reads(opset):
        with pytest.raises(requant.RequantError, match="does not load"):
            requant.optimize(source, feeds(body), recipe, target, precision=precision)
        return
    result = requant.optimize(source, feeds(body), recipe, target, precision=precision)
    quantized = any(layer.quantized for layer in result.report.layers)
    findings = requant.check(result.model, target)
    assert findings == [] if quantized else "nothing-quantized" in {finding.rule for finding in findings}


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_old_engine_judges_and_measures_what_a_newer_one_runs(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("requant.runtime.versions.installed", lambda engine: "1.23.2")
    result = requant.optimize(network(CONVS, 23), feeds(CONVS), target="tensorrt", precision=precision)
    assert result.model.opset_imports[""] == 23
    assert result.report.measured_in == "float32"
    assert result.report.outputs["y"].sqnr > 20


@pytest.mark.usefixtures("integers_are_free")
def test_an_integer_conv_stays_one_where_the_rest_are_halves() -> None:
    result = requant.optimize(network(CONVS, 17), feeds(CONVS), target="cpu", precision="float16")
    session(result.model, "cpu")
    reasons = {record.reason for record in result.report.wide}
    assert "it is part of an integer Conv" in reasons


def test_an_artifact_that_does_not_load_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise SourceError("ONNX Runtime does not load the model: no kernel")

    monkeypatch.setattr(importlib.import_module("requant.runtime.ort.session"), "session", refuse)
    with pytest.raises(requant.RequantError, match=r"of no use with onnxruntime .*no kernel"):
        require_loadable(load(network(NORM, 17)), "cpu")
    require_loadable(load(network(NORM, 17)), "tensorrt")


@pytest.mark.parametrize(
    ("body", "opset", "lower"),
    [
        ("y = Relu (x)", 25, 24),
        ("y = Cast <to = 10> (x)", 25, 17),
        ("y = SimplifiedLayerNormalization (x, x)", 23, 22),  # ONNX Runtime's own
    ],
)
def test_a_lower_opset_is_declared_where_it_says_the_same(body: str, opset: int, lower: int) -> None:
    output = "float16[2] y" if "Cast" in body else "float[2] y"
    model = load(onnx.parser.parse_model(TINY.format(13, opset, output, body)))
    lower_opset(model, lower, 10)
    assert (model.opset_imports[""], model.ir_version) == (lower, 10)


@pytest.mark.parametrize("body", ["y = Swish (x)", "c = Cast <to = 24> (x) y = Cast <to = 1> (c)"])
def test_what_came_later_is_refused(body: str) -> None:
    model = load(onnx.parser.parse_model(TINY.format(13, 24, "float[2] y", body)))
    InferShapes()(model)
    with pytest.raises(requant.RequantError, match=r"supports opset 22 at most, which lacks \w+ as of opset 24"):
        lower_opset(model, 22, 10)
