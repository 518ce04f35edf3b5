"""Products run on integers where a processor's prices say that it pays."""

from collections.abc import Callable
from dataclasses import replace

import onnx
import pytest

from requant.ir.formats import INT8, INT8_DYNAMIC, INT8_WEIGHT, Format
from requant.ir.linear import Linear, find_linears
from requant.ir.load import load
from requant.runtime.price_tables import AVX2, VNNI
from requant.runtime.prices import Prices
from requant.runtime.targets import TARGETS

Build = Callable[[str], onnx.ModelProto]


def product(build: Build, inputs: int, outputs: int) -> Linear:
    text = f"(float[n, {inputs}] x) => (float[n, {outputs}] y) <float[{inputs}, {outputs}] w> {{ y = MatMul(x, w) }}"
    return next(find_linears(load(build(text)).graph))


def reason(linear: Linear, layer_format: Format, prices: Prices | None) -> str:
    refusal = replace(TARGETS["cpu"], prices=prices).excludes(linear, layer_format)
    return "" if refusal is None else refusal.reason


@pytest.mark.parametrize(
    ("prices", "layer_format", "few", "enough"),
    [(VNNI, INT8, 24, 32), (VNNI, INT8_DYNAMIC, 24, 32), (AVX2, INT8, 48, 56), (AVX2, INT8_DYNAMIC, 48, 56)],
    ids=["VNNI", "VNNI, dynamic", "AVX2", "AVX2, dynamic"],
)
def test_few_channels_do_not_pay(build: Build, prices: Prices, layer_format: Format, few: int, enough: int) -> None:
    gain = prices.product_gain(few, few, dynamic=layer_format.dynamic)
    assert reason(product(build, few, few), layer_format, prices) == (
        f"int8 is estimated to run {few} to {few} channels {gain:.2f} times as fast as float, less than 1.1 times"
    )
    assert reason(product(build, enough, enough), layer_format, prices) == ""


def test_the_other_side_makes_up_for_few_channels(build: Build) -> None:
    assert reason(product(build, 24, 24), INT8, VNNI)
    assert not reason(product(build, 24, 256), INT8, VNNI)
    assert not reason(product(build, 256, 24), INT8, VNNI)
    assert reason(product(build, 8, 4096), INT8, VNNI), "each output is a sum of 8 products alone"


def test_weights_alone_have_no_price(build: Build) -> None:
    assert reason(product(build, 16, 16), INT8_WEIGHT, VNNI) == ""
    assert "8 to 16 channels are too few" in reason(product(build, 8, 16), INT8_WEIGHT, VNNI)


def test_without_prices_the_fewest_channels_decide(build: Build) -> None:
    assert reason(product(build, 16, 16), INT8, None) == ""
    assert "8 to 16 channels are too few" in reason(product(build, 8, 16), INT8, None)
