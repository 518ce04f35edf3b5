"""The planner on problems made by hand: time and noise of a plan, and what a descent does to them."""

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.calib.activations import ACTIVATION, Activation
from requant.ir.kernels import find_kernels
from requant.ir.load import load
from requant.passes.regions.planner import descend, plans
from requant.passes.regions.prices import Price, size
from requant.passes.regions.problem import Problem, RoundingNoise
from requant.runtime.price_tables import VNNI
from requant.runtime.prices import Amounts

CHAIN = "c = Conv(x, w) g = Sigmoid(c) s = Mul(c, g) d = Conv(s, w) r = Relu(d) y = Conv(r, w)"
MOVED = """c = Conv(x, w) p = MaxPool<kernel_shape = [1, 1]>(c) q = MaxPool<kernel_shape = [1, 1]>(p)
    d = Conv(q, w) e = Conv(c, w) t = Concat<axis = 1>(p, e) u = Concat<axis = 1>(t, d) y = Conv(u, z)"""
BODIES = {"chain": CHAIN, "moved": MOVED}


def problem(
    body: str,
    *,
    others: Iterable[str] = ("y",),
    floats: Iterable[str] = (),
    measured: bool = True,
    seed: int = 0,
) -> Problem:
    """Return a problem with prices, sizes and noises at random: values at 100 to 1000 elements, two output pieces."""
    text = f'<ir_version: 8, opset_import: ["": 17]> g (float[1, 8, 6, 6] x) => (float[n, k, h, m] y) {{ {body} }}'
    proto, rng = onnx.parser.parse_model(text), np.random.default_rng(seed)
    for name, shape in {"w": (8, 8, 1, 1), "z": (8, 24, 1, 1)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    model = load(proto)
    kernels = find_kernels(model.graph)
    values = dict.fromkeys(value for kernel in kernels for value in kernel.values)
    for value in values:
        value.meta[ACTIVATION] = Activation((1,), int(rng.integers(100, 1000)))
    moved = {value for kernel in kernels if kernel.moves for value in kernel.outputs}
    computed = [value for value in values if value not in moved and measured]
    convs = [kernel.linear.node for kernel in kernels if kernel.linear is not None and measured]
    noise = RoundingNoise(
        {value: rng.uniform(0, 1e-3, 2) for value in computed}, {node: rng.uniform(0, 1e-4, 2) for node in convs}
    )
    made = Problem(
        kernels,
        VNNI,
        frozenset(values),
        frozenset(kernel.nodes[0] for kernel in kernels if (kernel.outputs[0].name or "") in floats),
        noise,
        {value: int((value.name or "") in others) for value in values},
        rest=1e4,
    )
    for kernel in kernels:
        made.prices[id(kernel)] = Price(*(float(price) for price in rng.uniform(5e3, 5e4, 2)))
    return made


def some(made: Problem, names: Iterable[str]) -> set[ir.Value]:
    return {value for value in made.allowed if value.name in set(names)}


def objective(made: Problem, integers: set[ir.Value], trade: np.ndarray) -> float:
    return made.time(integers) + float((trade * made.total_noise(integers)).sum())


def prices(made: Problem) -> dict[str, Price]:
    return {kernel.outputs[0].name or "": made.prices[id(kernel)] for kernel in made.kernels}


def border(made: Problem, *names: str) -> float:
    elements = {value.name: size(value) for value in made.allowed}
    return sum(VNNI.border.time(Amounts(elements=elements[name])) for name in names)


def test_the_time_in_float_is_that_of_all_kernels_and_the_rest() -> None:
    made = problem(CHAIN)
    assert made.time(set()) == pytest.approx(1e4 + sum(price.in_float for price in prices(made).values()))


@pytest.mark.parametrize(
    ("integers", "kernels", "borders"),
    [
        ("xcsry", "csry", "xy"),  # x is quantized, and y, an output of the model, dequantized
        ("xcs", "cs", "xs"),  # s is dequantized for the second Conv
        ("csr", "sr", "cr"),  # c is quantized, since its Conv does not read integers
        ("xc", "c", "xc"),
        ("c", "", "c"),
    ],
)
def test_the_time_of_a_plan_is_the_sum_of_kernels_and_borders(integers: str, kernels: str, borders: str) -> None:
    made = problem(CHAIN)
    expected = 1e4 + sum(price.of(name in kernels) for name, price in prices(made).items())
    assert made.time(some(made, integers)) == pytest.approx(expected + border(made, *borders))


def test_each_consumer_in_float_dequantizes() -> None:
    made = problem(MOVED, others="cy")
    integers = some(made, "xc")
    extra = made.time(integers) - sum(price.of(name == "c") for name, price in prices(made).items()) - 1e4
    assert extra == pytest.approx(border(made, "x", "c", "c", "c"))  # the pool, a Conv, and what is no kernel


def test_a_layer_that_stays_in_float_is_one_in_every_plan() -> None:
    made = problem(CHAIN, floats="r")
    everything = set(made.allowed)
    by_name = {kernel.outputs[0].name: made.is_integer(kernel, everything) for kernel in made.kernels}
    assert by_name == {"c": True, "s": True, "r": False, "y": True}
    assert made.time(everything) == pytest.approx(
        1e4 + sum(price.of(name != "r") for name, price in prices(made).items()) + border(made, "x", "s", "r", "y")
    )


def test_noise_is_that_of_rounded_values_and_of_weights_that_are() -> None:
    made = problem(CHAIN)
    values = {value.name: noise for value, noise in made.noise.values.items()}
    weights = {node.outputs[0].name: noise for node, noise in made.noise.weights.items()}
    assert not made.total_noise(set()).any()
    expected = values["x"] + values["c"] + values["s"] + weights["c"]
    np.testing.assert_allclose(made.total_noise(some(made, "xcs")), expected)


@pytest.mark.parametrize(
    ("integers", "rounded"),
    [
        ("c", "c"),
        ("cp", "c"),  # p has the integers of c
        ("p", "c"),  # what is rounded there is an element of c
        ("q", "c"),
        ("cpqt", "ce"),
        ("pt", "ce"),
        ("pqt", "ce"),
        ("qt", "ce"),  # c is rounded on its way to both
        ("pqtu", "ced"),
    ],
)
def test_the_noise_of_a_moved_value_is_counted_once(integers: str, rounded: str) -> None:
    made = problem(MOVED)
    values = {value.name: noise for value, noise in made.noise.values.items()}
    expected = sum(values[name] for name in rounded)
    np.testing.assert_allclose(made.total_noise(some(made, integers)), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", BODIES)
def test_a_change_is_the_difference_that_it_makes_to_the_whole(name: str, seed: int) -> None:
    made, rng = problem(BODIES[name], seed=seed), np.random.default_rng(seed)
    values, trade = made.allowed_in_order, rng.uniform(0, 1e7, 2)
    for _ in range(30):
        integers = {value for value in values if rng.random() < 0.5}
        flipped = [values[place] for place in rng.choice(len(values), int(rng.integers(1, 4)), replace=False)]
        expected = objective(made, integers.symmetric_difference(flipped), trade) - objective(made, integers, trade)
        assert made.change(flipped, integers, trade) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("measured", [True, False])
def test_a_descent_never_makes_the_objective_larger(name: str, measured: bool, seed: int) -> None:
    made, rng = problem(BODIES[name], seed=seed, measured=measured), np.random.default_rng(seed)
    trade = rng.uniform(0, 1e8, 2) if measured else np.zeros(1)
    start = {value for value in made.allowed_in_order if rng.random() < 0.5}
    integers = descend(made, start, trade)
    assert objective(made, integers, trade) <= objective(made, start, trade)
    for value in made.allowed_in_order:
        assert objective(made, integers.symmetric_difference([value]), trade) > objective(made, integers, trade) - 2


def test_a_plan_for_each_trade_is_faster_or_less_noisy() -> None:
    found = plans(problem(CHAIN))
    assert all(plan.time > 0 for plan in found)
    assert found[0].time == min(plan.time for plan in found)
    assert found[-1].noise.sum() <= found[0].noise.sum()


def test_of_equal_time_the_less_noisy_has_the_smaller_merit() -> None:
    made = problem(CHAIN)
    found = plans(made)
    quieter, louder = sorted(found, key=lambda plan: plan.noise.sum())[:: len(found) - 1]
    assert quieter.merit - np.log(quieter.time) < louder.merit - np.log(louder.time)
