"""GPTQ in order: a layer is rounded on what the layers before it compute with their rounded weights."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.formats import INT8, Format, int4_weight
from requant.ir.linear import Linear, find_linears
from requant.ir.quantizer import quantizer
from requant.passes import Gptq, InsertQDQ, PlanQuantizers, SelectLayers, SequentialGptq
from requant.runtime.feeds import Feed
from requant.runtime.session import runner

CHAIN = """<ir_version: 8, opset_import: ["": 17]> g (float[n, 32] x) => (float[n, 32] y)
    <float[32, 32] w0, float[32, 32] w1, float[32, 32] w2, float[32, 32] w3>
    { a = MatMul(x, w0)  b = Relu(a)  c = MatMul(b, w1)  d = MatMul(b, w2)  e = Mul(c, d)  y = MatMul(e, w3) }"""


BIASED = """<ir_version: 8, opset_import: ["": 17]> g (float[n, 32] x) => (float[n, 32] y)
    <float[32, 32] w0, float[32, 32] w1, float[32, 32] w2, float[32, 32] w3, float[32] u = {UNITS}>
    { a0 = MatMul(x, w0) a = Add(a0, u) b = Relu(a) c0 = MatMul(b, w1) c = Add(c0, u) d = Relu(c)
      e0 = MatMul(d, w2) e = Add(e0, u) f = Relu(e) y0 = MatMul(f, w3) y = Add(y0, u) }""".replace(
    "UNITS", ", ".join(["0.5"] * 32)
)


def planned(fmt: Format, text: str = CHAIN) -> tuple[ir.Model, list[Feed]]:
    """The chain with a plan in ``fmt``, and data whose channels go together, as they do in a network."""
    model, rng = ir.from_onnx_text(text), np.random.default_rng(0)
    for name in ("w0", "w1", "w2", "w3"):
        value = next(value for node in model.graph for value in node.inputs if value and value.name == name)
        value.const_value = ir.tensor(rng.normal(size=(32, 32)).astype(np.float32) / 6, name=name)
        model.graph.register_initializer(value)
    mixed = rng.normal(size=(3, 6, 1)) @ np.ones((1, 32)) * rng.normal(size=(3, 6, 32))
    feeds: list[Feed] = [
        {"x": (rng.normal(size=(40, 6)) @ one + 0.1 * rng.normal(size=(40, 32))).astype("f4")} for one in mixed
    ]
    canonicalize(model, fmt.opset)
    collect(model, feeds)
    SelectLayers(formats=(fmt,))(model)
    PlanQuantizers((fmt,))(model)
    return model, feeds


def layers(model: ir.Model) -> list[Linear]:
    return list(find_linears(model.graph))


def codes(model: ir.Model) -> list[NDArray[np.generic]]:
    plans = [quantizer(linear.weight) for linear in layers(model)]
    found = [plan.codes for plan in plans if plan is not None and plan.codes is not None]
    assert len(found) == 4
    return found


def with_rounded_weights(model: ir.Model, count: int) -> ir.Model:
    """A clone whose first ``count`` layers compute with their rounded weights."""
    clone = model.clone()
    for linear in layers(clone)[:count]:
        plan, weight = quantizer(linear.weight), linear.weight.const_value
        assert plan is not None
        assert plan.codes is not None
        assert weight is not None
        linear.weight.const_value = ir.tensor(plan.decode(plan.codes).astype(np.float32), name=weight.name)
    return clone


@pytest.mark.parametrize(("layer", "before"), [(0, 0), (1, 1), (2, 1), (3, 3)])
def test_a_weight_is_what_gptq_makes_of_it_behind_rounded_weights(layer: int, before: int) -> None:
    model, feeds = planned(int4_weight(16))
    assert SequentialGptq(feeds)(model).modified
    expected = with_rounded_weights(model, before)
    collect(expected, feeds)
    Gptq()(expected)
    np.testing.assert_array_equal(codes(model)[layer], codes(expected)[layer])
    float_model, _ = planned(int4_weight(16))
    for one, other in zip(layers(model), layers(float_model), strict=True):
        np.testing.assert_array_equal(one.matrix(), other.matrix())


def test_it_is_not_gptq_on_the_rows_of_the_float_model() -> None:
    (model, feeds), (other, _) = planned(int4_weight(16)), planned(int4_weight(16))
    SequentialGptq(feeds)(model)
    Gptq()(other)
    same = [np.array_equal(*pair) for pair in zip(codes(model), codes(other), strict=True)]
    assert same == [True, False, False, False]


def test_biases_take_off_what_is_lost_in_the_mean_up_to_there() -> None:
    """The mean of the output, each row weighed by its size as in rounding, is that of the float model."""
    lost = []
    for rounding in (SequentialGptq, lambda _: Gptq()):
        model, feeds = planned(int4_weight(16), BIASED)
        lowered = model.clone()
        rounding(feeds)(lowered)
        InsertQDQ("cpu")(lowered)
        before, after = (np.concatenate([runner(one)(feed)[0] for feed in feeds]) for one in (model, lowered))
        size = np.square(before - 0.5).sum(axis=1)
        shares = 1 / np.maximum(size, 0.1 * np.median(size))
        lost.append(float(np.linalg.norm(shares / shares.sum() @ (after - before))))
    assert lost[0] < 0.3 * lost[1], lost


def test_quantized_data_are_those_of_the_float_model() -> None:
    (model, feeds), (other, _) = planned(INT8), planned(INT8)
    SequentialGptq(feeds)(model)
    Gptq()(other)
    assert all(map(np.array_equal, codes(model), codes(other)))


@pytest.mark.parametrize(("most", "passes"), [(16, 2), (2, 1), (1, 0)])
def test_passes_over_the_data_are_limited(most: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, feeds = planned(int4_weight(16))
    monkeypatch.setattr("requant.passes.sequential_gptq.MOST_PASSES", most)
    counted = _Counted(feeds)
    SequentialGptq(counted)(model)
    assert counted.passes == passes


class _Counted(list[Feed]):
    passes = 0

    def __iter__(self) -> Iterator[Feed]:
        self.passes += 1
        return super().__iter__()
