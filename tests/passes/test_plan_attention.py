"""Attention in 8 bits: the quantizers of its four operands, and the neighbours that are refused with a reason."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.calib.collect import collect
from requant.ir.attention import find_attentions
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.constants import array
from requant.ir.formats import FP8, INT8, Format
from requant.ir.load import load
from requant.ir.unused import remove_unused
from requant.passes import ConvertPrecision, InsertQDQ, PlanQuantizers
from requant.passes.annotations import ATTENTION, ATTENTION_REFUSAL
from requant.passes.plan_attention import PlanAttention, forget_attention
from requant.runtime.check import check
from requant.runtime.feeds import Feed
from requant.runtime.session import runner

HALF, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT


def attention(queries: int = 40, keys: int = 40, size: int = 32) -> ir.Model:
    """Return one head between two linear layers."""
    text = f"""<ir_version: 10, opset_import: ["": 21]> g
        (float[2,{queries},{size}] x, float[2,{size},{keys}] k, float[2,{keys},{size}] v)
        => (float[2,{queries},{size}] y)
        {{ q = MatMul(x, a) s = MatMul(q, k) p = Softmax(s) m = MatMul(p, v) y = MatMul(m, b) }}"""
    proto, rng = onnx.parser.parse_model(text), np.random.default_rng(0)
    for name in "ab":
        weight = rng.normal(size=(size, size)).astype(np.float32) / 4
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    model = load(proto)
    canonicalize(model, 21)
    return model


def feed(model: ir.Model, seed: int = 0) -> Feed:
    rng = np.random.default_rng(seed)
    shapes = {value.name or "": value.shape for value in model.graph.inputs}
    return {name: rng.normal(size=shape.numpy()).astype(np.float32) for name, shape in shapes.items() if shape}


def planned(
    model: ir.Model,
    fmt: Format = FP8,
    target: str = "tensorrt-rtx",
    body: ir.DataType = HALF,
    layers: Format = INT8,
) -> tuple[ir.Model, str]:
    """Return ``model`` with a plan, and the reason why its attention stays in float."""
    feeds = [feed(model), feed(model, 1)]
    collect(model, feeds)
    PlanQuantizers((layers,))(model)
    PlanAttention(feeds, fmt, target, body)(model)
    (block,) = find_attentions(model.graph)
    refusal = ATTENTION_REFUSAL.get(block.mixture)
    return model, refusal.reason if refusal is not None else ""


def listing(model: ir.Model) -> list[str]:
    """Return the nodes with an operand of an attention, as text."""
    lines = []
    for node in model.graph:
        inputs = ", ".join(value.name or "" for value in node.inputs if value is not None)
        if node.outputs[0].name and node.outputs[0].name[0] in "qspkv":
            lines.append(f"{node.outputs[0].name} = {node.op_type}({inputs})")
    return lines


def test_each_operand_gets_a_pair_of_its_own_before_the_product() -> None:
    model, reason = planned(attention())
    InsertQDQ("tensorrt-rtx", body=HALF)(model)
    assert reason == ""
    assert listing(model) == [
        "v.codes = QuantizeLinear(v, v.scale, v.zero_point)",
        "v.dequantized = DequantizeLinear(v.codes, v.scale, v.zero_point)",
        "k.codes = QuantizeLinear(k, k.scale, k.zero_point)",
        "k.dequantized = DequantizeLinear(k.codes, k.scale, k.zero_point)",
        "q = Mul(a.rest.in, a.rest)",
        "q.codes = QuantizeLinear(q, q.scale, q.zero_point)",
        "q.dequantized = DequantizeLinear(q.codes, q.scale, q.zero_point)",
        "s = MatMul(q.dequantized, k.dequantized)",
        "p = Softmax(s)",
        "p.codes = QuantizeLinear(p, p.scale, p.zero_point)",
        "p.dequantized = DequantizeLinear(p.codes, p.scale, p.zero_point)",
    ]
    assert array(model.graph.initializers["p.scale"]) == np.float32(1 / 448)
    assert model.graph.initializers["p.zero_point"].dtype == ir.DataType.FLOAT8E4M3FN
    ConvertPrecision()(model)
    assert check(model, "tensorrt-rtx") == []


@pytest.mark.parametrize(
    ("shape", "fmt", "target", "body", "reason"),
    [
        ((40, 40, 8), FP8, "tensorrt-rtx", HALF, "heads of 8 channels do not become one kernel"),
        ((40, 40, 48), INT8, "tensorrt-rtx", HALF, "heads of 48 channels do not become one kernel"),
        ((40, 513, 32), INT8, "tensorrt-rtx", HALF, "513 keys do not become one kernel, but 1 to 512 do"),
        ((40, 16, 32), FP8, "tensorrt-rtx", HALF, "16 keys do not become one kernel, but 32 to"),
        ((1, 40, 32), FP8, "tensorrt-rtx", HALF, "a single query has no product to be faster"),
        ((40, 40, 32), FP8, "tensorrt-rtx", FLOAT, "it is one kernel only beside layers in half precision"),
        ((40, 40, 32), FP8, "cpu", FLOAT, "cpu has no attention of operands in FLOAT8E4M3FN"),
    ],
)
def test_what_would_not_be_one_kernel_stays_in_float(
    shape: tuple[int, int, int], fmt: Format, target: str, body: ir.DataType, reason: str
) -> None:
    model, refusal = planned(attention(*shape), fmt, target, body)
    assert refusal.startswith(reason)
    InsertQDQ("tensorrt-rtx", body=body)(model)
    assert not any(name.startswith("p.") for name in model.graph.initializers)


def test_int8_attention_is_no_kernel_beside_layers_in_fp8() -> None:
    assert planned(attention(), INT8, layers=FP8)[1] == "it is no kernel beside layers in FLOAT8E4M3FN"
    assert planned(attention(), FP8, layers=FP8)[1] == ""


@pytest.mark.parametrize(("shape", "fmt", "body"), [((40, 32, 16), FP8, HALF), ((1000, 512, 64), INT8, FLOAT)])
def test_their_neighbours_are_quantized(shape: tuple[int, int, int], fmt: Format, body: ir.DataType) -> None:
    assert planned(attention(*shape), fmt, body=body)[1] == ""


@pytest.mark.parametrize(("fmt", "decibels"), [(FP8, 18), (INT8, 25)])
def test_it_computes_nearly_the_same(fmt: Format, decibels: float) -> None:
    model, reference = planned(attention(keys=64), fmt)[0], attention(keys=64)
    (expected,) = runner(reference)(feed(reference, 2))
    InsertQDQ("tensorrt-rtx", body=FLOAT)(model)
    (actual,) = runner(model)(feed(reference, 2))
    ratio = np.square(expected).sum() / np.square(np.asarray(expected) - np.asarray(actual)).sum()
    assert 10 * np.log10(ratio) > decibels


def test_the_range_of_a_softmax_of_many_keys_is_cut_in_int8() -> None:
    flat, peaked = attention(keys=512), attention(keys=512)
    for value in flat.graph.initializers.values():
        if value.name == "a":
            value.const_value = ir.tensor(np.zeros((32, 32), np.float32), name="a")
    for value in peaked.graph.initializers.values():
        if value.name == "a":
            value.const_value = ir.tensor(4 * np.eye(32, dtype=np.float32), name="a")
    ends = []
    for model in (flat, peaked):
        (block,) = find_attentions(planned(model, INT8)[0].graph)
        plan = ATTENTION.get(block.mixture)
        assert plan is not None
        ends.append(float(plan[0].scale) * 127)
    assert ends[0] < 0.01
    assert ends[1] > 0.3


def test_what_is_quantized_in_part_stays_as_it_is() -> None:
    model, _ = planned(attention())
    InsertQDQ("tensorrt-rtx", body=HALF)(model)
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    mixture = [node for node in model.graph if ATTENTION.get(node)][-1]
    mixture.replace_input_with(0, softmax.outputs[0])
    remove_unused(model)
    PlanAttention([feed(model)])(model)
    (block,) = find_attentions(model.graph)
    refusal = ATTENTION_REFUSAL.get(block.mixture)
    assert refusal is not None
    assert refusal.reason == "it is quantized already"


def test_a_plan_can_be_forgotten() -> None:
    model, _ = planned(attention())
    forget_attention(model)
    assert not any(ATTENTION.get(node) for node in model.graph)
