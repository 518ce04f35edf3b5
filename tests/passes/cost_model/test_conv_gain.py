"""Convs go to int8 where an estimate says that it pays, chain by chain and for all Convs of a model."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.conv_outputs import ConvOutput, conv_outputs
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.passes.cost_model.conv_gain import LEAST_GAIN, ConvChain, conv_chains, float_time, integer_time

CHAIN = (
    "c = Conv(x, u) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r) d = Conv<pads = [1, 1, 1, 1]>(p, v) e = Relu(d)"
)
BODIES = {
    "chain": f"{CHAIN} f = Conv(e, w) y = GlobalAveragePool(f)",
    "residual": f"{CHAIN} f = Conv(e, w) s = Add(f, p) t = Relu(s) g = Conv(t, w) y = GlobalAveragePool(g)",
    "broken": f"{CHAIN} f = Conv(e, w) h = HardSwish(f) g = Conv(h, w) y = GlobalAveragePool(g)",
    "branches": f"{CHAIN} f = Conv(e, w) g = Conv(p, w) t = Concat<axis = 1>(f, g) k = Conv(t, q) "
    "y = GlobalAveragePool(k)",
}
SHORT = {
    "pair": "c = Conv(x, u) k = Conv(c, w) y = GlobalAveragePool(k)",
    "fork": "c = Conv(x, u) d = Conv(x, u) s = Concat<axis = 1>(c, d) k = Conv(s, q) y = GlobalAveragePool(k)",
    "pooled": "c = Conv(x, u) p = MaxPool<kernel_shape = [1, 1]>(c) k = Conv(p, w) y = GlobalAveragePool(k)",
}


def source(body: str, width: int, groups: int = 1) -> onnx.ModelProto:
    text = body.replace("[1, 1, 1, 1]>(p, v)", f"[1, 1, 1, 1], group = {groups}>(p, v)")
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, 14, 14] x) => (float[n, k, h, w] y) {{ {text} }}'
    )
    shapes = {"u": (width, 3, 3, 3), "v": (width, width // groups, 3, 3), "w": (width, width, 1, 1)}
    shapes["q"] = (width, 2 * width, 1, 1)
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        array = (0.1 * rng.normal(size=shape)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def feeds(count: int) -> list[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 3, 14, 14)).astype(np.float32)} for _ in range(count)]


def chains(body: str, width: int, groups: int = 1, count: int = 1) -> list[ConvChain]:
    model: ir.Model = load(source((BODIES | SHORT)[body], width, groups))
    canonicalize(model)
    collect(model, feeds(count))
    decisions = conv_outputs(find_linears(model.graph))
    return conv_chains(
        {node: conv_output for node, conv_output in decisions.items() if isinstance(conv_output, ConvOutput)}
    )


@pytest.mark.parametrize(("body", "sizes"), [("chain", [3]), ("residual", [4]), ("broken", [1, 2]), ("branches", [5])])
def test_a_chain_is_convs_that_hand_each_other_int8(body: str, sizes: list[int]) -> None:
    assert sorted(len(chain.convs) for chain in chains(body, 32)) == sizes


def between(body: str, width: int) -> float:
    """The time of a chain in int8 beyond that of its Convs."""
    (chain,) = chains(body, width)
    return chain.integer_time - sum(map(integer_time, chain.convs))


def test_a_float_value_is_quantized_once_however_many_convs_read_it() -> None:
    assert between("fork", 32) == pytest.approx(between("pair", 32))
    assert between("pair", 32) > 0


def test_what_leaves_a_chain_is_dequantized() -> None:
    """The value that enters has 3 channels at either width."""
    assert between("pair", 64) > 1.5 * between("pair", 32)


def test_a_pool_within_a_chain_is_slower_in_int8() -> None:
    assert between("pooled", 32) > 1.2 * between("pair", 32)


def test_a_product_by_groups_is_twice_as_slow_for_each_multiplication() -> None:
    (alone,), (grouped,) = chains("chain", 128), chains("chain", 128, groups=2)
    times = [[time(chain.convs[1]) for time in (float_time, integer_time)] for chain in (alone, grouped)]
    assert times[1][0] == times[0][0] / 2
    assert times[1][1] == pytest.approx(times[0][1])


def test_int8_gains_with_the_number_of_channels() -> None:
    gains = [chains("chain", width)[0].gain for width in (8, 16, 32, 64, 128)]
    assert gains == sorted(gains)
    assert gains[0] < LEAST_GAIN < gains[-1] < 4


def test_the_estimate_does_not_depend_on_how_much_data_there_is() -> None:
    assert chains("residual", 32, count=3)[0].gain == pytest.approx(chains("residual", 32)[0].gain)


@pytest.mark.parametrize("groups", [4, 64])
def test_products_by_groups_of_channels_gain_less(groups: int) -> None:
    assert chains("chain", 64, groups)[0].gain < chains("chain", 64)[0].gain / 1.5


@pytest.mark.parametrize("body", list(BODIES))
def test_what_pays_is_in_int8_and_what_does_not_says_so(body: str) -> None:
    wide = requant.optimize(source(BODIES[body], 96), feeds(2), "int8-plain").report
    assert sum(layer.quantized for layer in wide.layers) >= 3
    narrow = requant.optimize(source(BODIES[body], 8), feeds(2), "int8-plain").report.layers
    estimate = r"int8 is estimated to run this chain of Convs 0\.\d\d times as fast as float, less than 1\.15 times"
    assert not any(layer.quantized for layer in narrow)
    assert all(re.fullmatch(estimate, layer.reason) or "HardSwish" in layer.reason for layer in narrow)


def test_a_chain_that_is_little_of_the_model_stays_in_float() -> None:
    """It pays for itself, and would not show in the time of the whole."""
    blocks = "".join(f" a{i} = Conv<pads = [1, 1, 1, 1]>(b{i}, v) b{i + 1} = HardSwish(a{i})" for i in range(6))
    body = f"c = Conv(x, u) b0 = HardSwish(c){blocks} f = Conv(b6, w) r = Relu(f) g = Conv(r, w) y = Relu(g)"
    layers = requant.optimize(source(body, 128), feeds(2), "int8-plain").report.layers
    assert not any(layer.quantized for layer in layers)
    assert "int8 is estimated to run the Convs of the model 1.0" in layers[-2].reason
