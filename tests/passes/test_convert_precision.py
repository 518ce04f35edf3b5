"""Halves: what becomes float16 or bfloat16, what stays float32 and why, and that the function stays the same."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

import requant
from models import minilm, synthetic, vit
from models.random_graphs import random_graph
from models.subject import Subject
from requant.calib.collect import META, collect
from requant.calib.statistics import measure
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.formats import FP8, INT8, INT8_WEIGHT, Format
from requant.ir.load import load
from requant.ir.save import to_bytes
from requant.ir.shapes.infer import InferShapes
from requant.passes import InsertQDQ, PlanQuantizers
from requant.passes.annotations import precision_records
from requant.passes.convert_precision import ConvertPrecision
from requant.runtime.check import check
from requant.runtime.feeds import Feed
from requant.runtime.session import runner
from tests.engine import needs
from tests.passes.optimized import before_exact_scales

Build: TypeAlias = Callable[[str], onnx.ModelProto]
Numbers: TypeAlias = list[NDArray[np.float64]]

F16, BF16 = ir.DataType.FLOAT16, ir.DataType.BFLOAT16


def sound(model: ir.Model) -> None:
    """The file is valid, and every value has the type that ONNX infers for it."""
    proto = onnx.load_from_string(to_bytes(model))
    onnx.checker.check_model(proto, full_check=True)
    said = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
    del proto.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    for value in inferred.graph.value_info:
        assert said[value.name] == value.type.tensor_type.elem_type, value.name
    assert all(value.type is not None for node in model.graph for value in node.outputs if value.name)


def halved(proto: onnx.ModelProto | ir.Model, dtype: ir.DataType = F16, *, keep_io: bool = True) -> ir.Model:
    model = load(proto)
    ConvertPrecision(dtype, keep_io)(model)
    sound(model)
    return model


def listing(model: ir.Model) -> list[str]:
    """The nodes as text, each with the type of what it makes."""
    lines = []
    for node in model.graph:
        inputs = ", ".join(value.name or "" if value is not None else "" for value in node.inputs)
        lines += [f"{value.name}: {str(value.dtype).lower()} = {node.op_type}({inputs})" for value in node.outputs]
    return lines


def wide(model: ir.Model) -> list[str]:
    """Return the ops that stay in float32, in graph order."""
    return [record.op_type for record in precision_records(model)]


def outputs(model: ir.Model, feed: Feed) -> Numbers:
    return [output.astype(np.float64) for output in runner(model, threads=1)(feed)]


def error(expected: Numbers, actual: Numbers) -> float:
    """The largest difference, of the largest magnitude."""
    assert [a.shape for a in expected] == [a.shape for a in actual]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 0.01)) for a, b in zip(expected, actual, strict=True))


MLP = """(float[2, 32] x) => (float[2, 32] y) <float[32, 32] w, float[32] b> {
    m = MatMul(x, w)  a = Add(m, b)  y = Relu(a) }"""


def test_everything_between_the_inputs_and_the_outputs_becomes_a_half(build: Build) -> None:
    model = halved(build(MLP))
    assert listing(model) == [
        "x.float16: float16 = Cast(x)",
        "m: float16 = MatMul(x.float16, w)",
        "a: float16 = Add(m, b)",
        "y.float16: float16 = Relu(a)",
        "y: float = Cast(y.float16)",
    ]
    assert {value.dtype for value in model.graph.initializers.values()} == {F16}
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT] * 2
    assert (model.opset_imports[""], model.ir_version) == (19, 9)
    assert precision_records(model) == ()


def test_inputs_and_outputs_too_where_asked(build: Build) -> None:
    model = halved(build(MLP), keep_io=False)
    assert listing(model) == ["m: float16 = MatMul(x, w)", "a: float16 = Add(m, b)", "y: float16 = Relu(a)"]
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [F16] * 2


def test_weights_are_not_read_until_somebody_needs_them(build: Build) -> None:
    weights = [value.const_value for value in halved(build(MLP)).graph.initializers.values()]
    assert [type(weight) for weight in weights] == [ir.LazyTensor] * 2


def test_twice_is_once(build: Build) -> None:
    model = load(build(MLP.replace("Relu(a)", "ReduceSum(a)").replace("float[2, 32] y", "float[1, 1] y")))
    assert ConvertPrecision()(model).modified
    before, records = to_bytes(model), precision_records(model)
    assert not ConvertPrecision()(model).modified
    assert to_bytes(model) == before
    assert precision_records(model) == records != ()


def test_what_calibration_saw_is_still_known_at_the_higher_opset(build: Build) -> None:
    model = load(build(MLP))
    collect(model, [{"x": np.ones((2, 32), np.float32)}])
    ConvertPrecision()(model)
    assert META in model.graph.inputs[0].meta


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        ("c = Cast<to=1>(n) y = Add(x, c)", {"c": F16}),
        ("r = RandomNormal<shape=[2, 8]>() y = Add(x, r)", {"r": ir.DataType.FLOAT}),
        ("r = RandomNormalLike(x) y = Add(x, r)", {"r": F16}),
        ("e = EyeLike(x) y = Add(x, e)", {"e": F16}),
        ("e = EyeLike<dtype=1>(n) y = Add(x, e)", {"e": ir.DataType.FLOAT}),
        ("s = Shape(n) z = ConstantOfShape(s) y = Add(x, z)", {"z": F16}),
        ("s = Shape(x) z = ConstantOfShape<value = float[1] {2.5}>(s) y = Add(x, z)", {"z": F16}),
        ("c = Constant<value_float=2.5>() y = Mul(x, c)", {}),
        ("w = HannWindow(eight) y = Mul(x, w)", {"w": ir.DataType.FLOAT}),
        ("d = Cast<to=11>(x) y = Cast<to=1>(d)", {"d": ir.DataType.DOUBLE}),
        ("l, mean, deviation = LayerNormalization(x, g) m = Identity(mean) y = Add(l, m)", {"mean": ir.DataType.FLOAT}),
    ],
)
def test_what_says_the_type_of_its_output_says_the_new_one(
    build: Build, body: str, declared: dict[str, ir.DataType]
) -> None:
    text = f"(float[2, 8] x, int64[2, 8] n) => (float[2, 8] y) <float[8] g, int64 eight = {{8}}> {{ {body} }}"
    model = halved(build(text))
    dtypes = {value.name: value.dtype for node in model.graph for value in node.outputs}
    assert {name: dtypes[name] for name in declared} == declared
    runner(model)({"x": np.ones((2, 8), np.float32), "n": np.ones((2, 8), np.int64)})


X8 = "(float[2, 8] x) => (float[d, e] y)"

RULES = {
    "squares": (X8, "", "s = Mul(x, x) m = ReduceMean<axes=[-1]>(s) y = Sqrt(m)", ["Mul", "ReduceMean", "Sqrt"]),
    "no squares": (X8, "", "m = ReduceMean<axes=[-1]>(x) y = Sqrt(m)", []),
    "norm": (
        X8,
        "float[8] g, float e = {1e-6}",
        "s = Mul(x, x) m = ReduceMean<axes=[-1]>(s) v = Add(m, e) r = Sqrt(v) n = Div(x, r) y = Mul(n, g)",
        ["Mul", "ReduceMean", "Add", "Sqrt", "Div"],
    ),
    "centred": (
        X8,
        "float two = {2}",
        "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) s = Pow(d, two) y = ReduceMean<axes=[-1]>(s)",
        ["ReduceMean", "Sub", "Pow", "ReduceMean"],
    ),
    "sum": (X8, "", "s = ReduceSum(x) y = Div(x, s)", ["ReduceSum", "Div"]),
    "maximum": (X8, "", "s = ReduceMax(x) y = Div(x, s)", []),
    "tiny": (X8, "float c = {1e-12}", "a = Add(x, c) y = Log(a)", ["Add", "Log"]),
    "small": (X8, "float c = {0.001}", "a = Add(x, c) y = Log(a)", []),
    "large": (X8, "float c = {1e6}", "a = Mul(x, c) y = Sigmoid(a)", ["Mul"]),
    "largest": (X8, "float c = {6e4}", "a = Mul(x, c) y = Sigmoid(a)", []),
    "bound": (X8, "float low = {0}, float high = {3e38}", "y = Clip(x, low, high)", []),
    "filling": (
        "(float[n, 8] x) => (float[n, 8] y)",
        "",
        "s = Shape(x) c = ConstantOfShape<value = float[1] {1e6}>(s) a = Div(x, c) y = Sigmoid(a)",
        ["ConstantOfShape", "Div"],
    ),
    "mask": (X8, "float c = {-3e38}", "m = Mul(x, c) a = Add(m, x) y = Softmax(a)", []),
    "infinite": (X8, "float c = {-inf}", "m = Mul(x, c) y = Sigmoid(m)", []),
    "unknown": (X8, "", "g = com.microsoft.Strange(x) z = Neg(g) y = Add(x, z)", ["Strange", "Neg", "Add"]),
    "angles": (
        "(int64[8] n) => (float[8] y)",
        "float w = {0.1}",
        "f = Cast<to=1>(n) a = Mul(f, w) y = Sin(a)",
        ["Cast", "Mul", "Sin"],
    ),
    "waves": (X8, "float[8, 8] w", "m = MatMul(x, w) a = Relu(m) s = Sin(a) y = Add(s, m)", []),
    "range": (
        "(float n) => (float[d] y)",
        "float zero = {0}, float one = {1}",
        "r = Range(zero, n, one) y = Neg(r)",
        ["Range"],
    ),
    "sizes": (
        "(float[1, 3, h, w] x) => (float[a, b, c, d] y)",
        "float k = {1.85}",
        's = Shape(x) f = Cast<to=1>(s) g = Mul(f, k) t = Cast<to=7>(g) y = Resize(x, "", "", t)',
        ["Cast", "Mul"],
    ),
    "scales": (
        "(float[1, 3, 8, 8] x) => (float[a, b, c, d] y)",
        "float[4] k = {1, 1, 1.7, 1.7}",
        'y = Resize(x, "", k)',
        [],
    ),
    "boxes": (
        "(float[1, 9, 4] x, float[1, 2, 9] s) => (int64[n, 3] y)",
        "float[4, 4] w, int64 few = {5}",
        "b = MatMul(x, w) y = NonMaxSuppression(b, s, few)",
        ["NonMaxSuppression"],
    ),
    "body": (
        "(float[2, 8] x, bool c) => (float[2, 8] y)",
        "float[8] k",
        "h = Relu(x) i = If (c) <then_branch = t () => (float[2, 8] p) { p = Add(h, k) },"
        " else_branch = e () => (float[2, 8] q) { q = Neg(h) }> y = Mul(i, k)",
        ["If"],
    ),
    "sequence": (
        X8,
        "int64 zero = {0}",
        "s = SplitToSequence(x) e = SequenceAt(s, zero) y = Relu(e)",
        ["SplitToSequence", "SequenceAt"],
    ),
    "dynamic": (
        "(float[2, 8] x) => (float[2, 8] y)",
        "int8[8, 8] w, float[8] s",
        "q, k, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z) f = Cast<to=1>(i) r = Mul(k, s) m = Mul(f, r)"
        " y = Relu(m)",
        ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul"],
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_what_needs_float32_keeps_it_and_its_neighbour_does_not(name: str, build: Build) -> None:
    signature, declared, body, expected = RULES[name]
    model = load(build(f"{signature} <{declared}> {{ {body} }}"))
    InferShapes()(model)
    ConvertPrecision()(model)
    assert wide(model) == expected
    if name not in ("unknown", "sequence"):  # types that shape inference does not know, or cannot say
        sound(model)


@pytest.mark.parametrize(
    "name", ["norm", "sum", "tiny", "filling", "angles", "range", "sizes", "boxes", "body", "dynamic"]
)
def test_what_keeps_float32_computes_what_it_did(name: str, build: Build) -> None:
    signature, declared, body, _ = RULES[name]
    model = load(build(f"{signature} <{declared}> {{ {body} }}"))
    rng = np.random.default_rng(0)
    feed: dict[str, NDArray[np.generic]] = {}
    for value in model.graph.inputs:
        assert value.name is not None
        assert value.dtype is not None
        shape = [dim if isinstance(dim, int) else 11 for dim in value.shape or ()]
        feed[value.name] = np.asarray(300 * np.abs(rng.standard_normal(shape)) + 300).astype(value.dtype.numpy())
    expected = outputs(model, feed)
    ConvertPrecision()(model)
    assert error(expected, outputs(model, feed)) < 2e-3


def test_where_a_picture_is_cut_stays_exact(build: Build) -> None:
    text = """(float[1, 3, 8, 8] x) => (float[a, b, c, d] y)
        <float[8] roi = {0, 0, 0.1, 0.1, 1, 1, 0.7, 0.7}, float[4] k = {1, 1, 1.7, 1.7}> {
        y = Resize<coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, k) }"""
    model = halved(build(text))
    assert {value.dtype for value in model.graph.initializers.values()} == {ir.DataType.FLOAT}
    assert [node.op_type for node in model.graph] == ["Cast", "Resize", "Cast"]


ATTENTION = """(float[1, 4, 4] scores, float[1, 4, 4] outside, float[1, 4] kept) => (float[1, 4, 4] y) <{weights}> {{
    dropped = Sub(one, kept)  padding = Mul(dropped, far)  wide = Unsqueeze(padding, axis)
    causal = Add(triangle, outside)  masks = Add(wide, causal)  masked = Add(scores, masks)  y = Softmax(masked) }}"""


@pytest.mark.parametrize(("far", "dtype"), [(-3.4028235e38, F16), (-1e9, F16), (-6e4, F16), (-3.4028235e38, BF16)])
def test_masks_that_add_up_make_no_row_nan(far: float, dtype: ir.DataType, build: Build) -> None:
    triangle = ", ".join(str(far if column > row else 0.0) for row in range(4) for column in range(4))
    weights = f"float one = {{1}}, float far = {{{far}}}, int64[1] axis = {{1}}, float[4, 4] triangle = {{{triangle}}}"
    model = halved(build(ATTENTION.format(weights=weights)), dtype)
    largest = float(dtype.max) / 4
    for name in ("far", "triangle"):
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        assert np.abs(tensor.numpy().astype(np.float64)).max() == pytest.approx(min(-far, largest), rel=1e-3)
    if dtype == F16:
        feed = {"scores": np.full((1, 4, 4), -40), "outside": np.full((1, 4, 4), far), "kept": np.array([[0, 1, 1, 0]])}
        [y] = outputs(model, {name: data.astype(np.float32) for name, data in feed.items()})
        np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-2)
        np.testing.assert_allclose(y[0, 1], [0, 1, 0, 0], atol=1e-3)


def test_infinity_stays_infinite(build: Build) -> None:
    text = "(float[1, 2] x) => (float[1, 2] y) <float[2] m = {0, -inf}> { a = Add(x, m) y = Softmax(a) }"
    tensor = halved(build(text)).graph.initializers["m"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), [0, -np.inf])


@pytest.mark.parametrize(("largest", "expected"), [(16_000.0, []), (17_000.0, ["Relu", "MatMul", "MatMul"])])
def test_values_near_the_end_of_the_type_stay_float32_with_those_who_make_and_read_them(
    largest: float, expected: list[str], build: Build
) -> None:
    text = """(float[2, 8] x) => (float[2, 8] y) <float[8, 8] w, float[8, 8] v> {
        r = Relu(x)  m = MatMul(r, w)  n = MatMul(r, v)  y = Sub(m, n) }"""
    model = load(build(text))
    model.graph[0].outputs[0].meta[META] = measure(np.full((1, 8), largest, np.float32), axis=-1, seed=0)
    ConvertPrecision()(model)
    sound(model)
    assert wide(model) == expected
    assert all(
        "r reaches 17000, near the largest float16 number" in record.reason for record in precision_records(model)
    )


def quantized(
    proto: onnx.ModelProto, feeds: list[dict[str, NDArray[np.float32]]], fmt: Format = INT8
) -> tuple[ir.Model, ir.Model]:
    """The float model in canonical form, and the quantized one for TensorRT."""
    model = load(proto)
    canonicalize(model, fmt.opset)
    collect(model, feeds)
    reference = model.clone()
    PlanQuantizers((fmt,))(model)
    InsertQDQ("tensorrt")(model)
    return reference, model


def feed_of(magnitude: float) -> dict[str, NDArray[np.float32]]:
    return {"x": magnitude * np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)}


def test_integer_products_keep_their_scales_and_give_half_precision(build: Build) -> None:
    _, model = quantized(build(MLP), [feed_of(1)])
    integers, scale = (model.graph.initializers[f"w.{part}"].const_value for part in ("codes", "scale"))
    ConvertPrecision()(model)
    sound(model)
    assert listing(model) == [
        "x.float16: float16 = Cast(x)",
        "x.codes: int8 = QuantizeLinear(x.float16, x.scale, x.zero_point)",
        "x.dequantized: float16 = DequantizeLinear(x.codes, x.scale.float32, x.zero_point)",
        "w.dequantized: float16 = DequantizeLinear(w.codes, w.scale, w.zero_point)",
        "m: float16 = MatMul(x.dequantized, w.dequantized)",
        "a: float16 = Add(m, b)",
        "y.float16: float16 = Relu(a)",
        "y: float = Cast(y.float16)",
    ]
    scales = {name: value.dtype for name, value in model.graph.initializers.items() if ".scale" in name}
    assert scales == {"x.scale": F16, "x.scale.float32": ir.DataType.FLOAT, "w.scale": ir.DataType.FLOAT}
    assert model.graph.initializers["w.codes"].const_value is integers
    assert model.graph.initializers["w.scale"].const_value is scale
    assert (model.opset_imports[""], model.ir_version) == (23, 11)
    assert check(model, "tensorrt") == []
    assert not ConvertPrecision()(model).modified


def test_weights_alone_have_scales_of_the_type_and_no_opset_of_their_own(build: Build) -> None:
    model = load(build(MLP))
    canonicalize(model)
    PlanQuantizers((INT8_WEIGHT,))(model)
    InsertQDQ("cuda")(model)
    ConvertPrecision()(model)
    sound(model)
    assert [value.dtype for name, value in model.graph.initializers.items() if name.endswith(".scale")] == [F16]
    assert model.opset_imports[""] == 19
    assert precision_records(model) == ()


@pytest.mark.parametrize(("largest", "reasons"), [(2.0**-8, []), (2.0**-12, ["DequantizeLinear", "MatMul"])])
def test_weights_alone_may_have_subnormal_scales_that_are_close(
    largest: float, reasons: list[str], build: Build
) -> None:
    model = load(build(MLP))
    weight = np.linspace(-largest, largest, 1024, dtype=np.float32).reshape(32, 32)
    model.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    canonicalize(model)
    PlanQuantizers((INT8_WEIGHT,))(model)
    InsertQDQ("cuda")(model)
    expected = outputs(model, feed_of(1))
    ConvertPrecision()(model)
    sound(model)
    assert wide(model) == reasons
    assert error(expected, outputs(model, feed_of(1))) < 2e-3


@pytest.mark.parametrize(
    ("magnitude", "small"), [(1e-2, False), (127 * 1000 * 2.0**-24, True), (127 * 33.5 * 2.0**-24, True), (1e-5, True)]
)
def test_a_layer_whose_data_have_too_small_a_scale_is_float32_as_a_whole(
    magnitude: float, small: bool, build: Build
) -> None:
    text = MLP.replace("m = MatMul(x, w)", "s = Neg(x) l = MatMul(s, w) k = MatMul(s, v) m = Mul(l, k)")
    _, model = quantized(build(text.replace("float[32] b", "float[32] b, float[32, 32] v")), [feed_of(magnitude)])
    expected = outputs(model, feed_of(magnitude))
    ConvertPrecision()(model)
    sound(model)
    whole = ["QuantizeLinear", *["DequantizeLinear"] * 3, "MatMul", "MatMul"]
    assert sorted(wide(model)) == sorted(whole if small else [])
    assert error(expected, outputs(before_exact_scales(model), feed_of(magnitude))) < 5e-3
    assert check(model, "tensorrt") == []


def test_a_tiny_channel_of_a_weight_costs_nothing(build: Build) -> None:
    proto = build(MLP.replace("y = Relu(a)", "y = Identity(a)"))
    for tensor in proto.graph.initializer:
        data = onnx.numpy_helper.to_array(tensor) * np.where(np.arange(32) == 5, 1e-6, 1).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(data, tensor.name))
    _, model = quantized(proto, [feed_of(1)])
    ConvertPrecision()(model)
    assert precision_records(model) == ()
    assert check(model, "tensorrt") == []


GROUPED = pytest.param(4, marks=needs("Attention of halves in groups"))


@pytest.mark.parametrize("seed", [*range(4), GROUPED, *range(5, 24)])
def test_random_graphs_compute_almost_the_same(seed: int) -> None:
    drawn = random_graph(seed)
    model = load(drawn.model)
    canonicalize(model)
    wanted = outputs(model, {"x": drawn.x})
    ConvertPrecision()(model)
    assert error(wanted, outputs(model, {"x": drawn.x})) < 1e-2


def sqnr(reference: ir.Model, model: ir.Model, feeds: list[dict[str, NDArray[np.float32]]]) -> float:
    """10 log10 Σ y² / Σ (y - ŷ)² of the first output over all feeds, in dB."""
    expected, actual = runner(reference, threads=1), runner(model, threads=1)
    pairs = [(expected(feed)[0].astype(np.float64), actual(feed)[0].astype(np.float64)) for feed in feeds]
    signal, noise = sum(np.square(y).sum() for y, _ in pairs), sum(np.square(y - z).sum() for y, z in pairs)
    return float(10 * np.log10(signal / noise))


@pytest.mark.parametrize(
    "fmt",
    [
        pytest.param(INT8, marks=needs("rounding of halves to the nearest code"), id="int8"),
        pytest.param(FP8, id="fp8"),
    ],
)
@pytest.mark.parametrize("dialect", synthetic.DIALECTS)
@pytest.mark.parametrize("builder", synthetic.BUILDERS)
def test_transformers_compute_almost_the_same(builder: str, dialect: synthetic.Dialect, fmt: Format) -> None:
    proto = synthetic.BUILDERS[builder](synthetic.Transformer(32, 4, 2, dialect=dialect))
    feeds = synthetic.feeds(proto, 64)
    reference, model = quantized(proto, feeds[:3], fmt)
    floats, baseline = reference.clone(), sqnr(reference, model, feeds)
    for halves in (floats, model):
        ConvertPrecision()(halves)
        sound(halves)
    assert sqnr(reference, floats, feeds) > 45
    assert sqnr(reference, before_exact_scales(model), feeds) > baseline - 0.5
    assert set(wide(model)) <= {"Mul", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Reciprocal"}, "only norms"


def test_bfloat16_computes_almost_the_same(build: Build) -> None:
    feed = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)}
    model = load(build(MLP.replace("Relu(a)", "Softmax(a)")))
    expected = outputs(model, feed)
    ConvertPrecision(BF16)(model)
    sound(model)
    assert model.opset_imports[""] == 22
    actual = ReferenceEvaluator(onnx.load_from_string(to_bytes(model))).run(None, feed)
    assert error(expected, [np.asarray(y, np.float64) for y in actual]) < 2e-2


def test_what_is_no_half_is_refused(build: Build) -> None:
    with pytest.raises(ir.passes.PreconditionError, match="neither FLOAT16 nor BFLOAT16"):
        ConvertPrecision(ir.DataType.DOUBLE)(load(build(MLP)))
    model = load(build(MLP))
    function = '<domain: "own", opset_import: ["": 17]> F (x) => (y) { y = Relu(x) }'
    one = ir.serde.deserialize_function(onnx.parser.parse_function(function))
    model.functions[one.identifier()] = one
    with pytest.raises(ir.passes.PreconditionError, match="functions"):
        ConvertPrecision()(model)


def decibels(expected: Numbers, actual: Numbers) -> float:
    difference = np.square(expected[0] - actual[0]).sum()
    return float(10 * np.log10(np.square(expected[0]).sum() / difference))


@pytest.mark.download
@pytest.mark.parametrize(
    ("subject", "samples", "float32_ops"),
    [(minilm.MINILM, 40, {"ReduceSum", "ReduceL2", "Clip", "Div"}), (vit.VIT_S, 16, set())],
    ids=lambda value: value.name if isinstance(value, Subject) else None,
)
def test_real_models_are_as_accurate_and_nothing_but_sums_is_float32(
    subject: Subject, samples: int, float32_ops: set[str]
) -> None:
    source = subject.model()
    result = requant.optimize(source, subject.calibration()[:samples], "int8", "tensorrt")
    half = result.model.clone()
    ConvertPrecision()(half)
    sound(half)
    assert set(wide(half)) == float32_ops
    assert check(half, "tensorrt") == []
    runs = [runner(model) for model in (load(source), result.model, half)]
    sums = np.zeros(2)
    feeds = subject.evaluation()[:16]
    for feed in feeds:
        expected, single, narrow = ([run(feed)[0].astype(np.float64)] for run in runs)
        sums += decibels(expected, single), decibels(expected, narrow)
    assert sums[1] > sums[0] - len(feeds), sums / len(feeds)
