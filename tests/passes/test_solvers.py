"""Solvers do what their papers say, and the loss prefers what quantizes better."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from requant.calib.collect import collect
from requant.calib.statistics import measure
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Site, find_sites
from requant.ir.formats import Format
from requant.ir.load import load
from requant.ir.transform.transform import ChannelTransform
from requant.passes.channel_pass import apply
from requant.passes.cost_model.loss import loss
from requant.passes.cost_model.observation import Observation, observe
from requant.passes.cost_model.part import Part
from requant.passes.cost_model.search import CANDIDATES
from requant.passes.solvers import (
    LLM_FP4,
    OUTLIER_TUNE,
    QSM,
    REPQ_VIT,
    Awq,
    AwqSearch,
    CrossLayerEqualization,
    Gps,
    Identity,
    OffsetCopies,
    OutlierSuppressionPlus,
    PowerOfTwo,
    RepQ,
    ScalarShift,
    ScaleOnly,
    Shift,
    SmoothQuant,
    Solver,
    WithMargin,
)

EQUALIZE = CrossLayerEqualization()
BALANCED = [
    SmoothQuant(0.3),
    SmoothQuant(0.7, shift=True),
    QSM,
    OUTLIER_TUNE,
    EQUALIZE,
    Shift(),
    ScalarShift(),
    Identity(),
]
SEARCHES = [AwqSearch(), OutlierSuppressionPlus(), REPQ_VIT, Gps(), Gps(shift=False), Awq(), RepQ(0.5)]
SOLVERS = [*BALANCED, *SEARCHES, RepQ(), LLM_FP4, PowerOfTwo(Gps())]
SEEDS, BITS = st.integers(0, 500), st.sampled_from([4, 6, 8])


def part(rows: NDArray[np.floating], matrix: NDArray[np.floating], channels: NDArray[np.intp] | None = None) -> Part:
    indices = np.arange(rows.shape[1]) if channels is None else channels
    return Part(measure(rows.astype(np.float32), -1, 0), indices, matrix.astype(np.float32))


def observation(seed: int = 0, *, shiftable: bool = True, channels: int = 12) -> Observation:
    """Channels with ranges spread over two decades, off centre by as much again."""
    rng = np.random.default_rng(seed)
    spread, offset = 10 ** rng.uniform(-1, 1, channels), rng.uniform(-20, 20, channels)
    rows = rng.normal(size=(400, channels)) * spread + offset
    data = part(rows, rng.normal(size=(channels, 8)) / spread[:, None] ** 0.5)
    return Observation(channels, (data,), shiftable, 10 ** rng.uniform(-1, 1, channels))


def transformed(data: Observation, transform: ChannelTransform) -> Observation:
    """Return the observation after the rewrite by ``transform``."""
    assert data.producer_reach is not None
    parts = [
        Part(
            one.statistics.transformed(at.scale, at.shift), one.channels, (one.matrix * at.scale[:, None]).astype("f4")
        )
        for one, at in ((one, transform.at(one.channels)) for one in data.parts)
    ]
    return Observation(data.channels, tuple(parts), data.shiftable, data.producer_reach / transform.scale)


def assert_same(actual: ChannelTransform, expected: ChannelTransform) -> None:
    """Check that both are one transform up to a common factor of the scale, which changes no quantized value."""
    np.testing.assert_allclose(actual.scale / actual.scale[0], expected.scale / expected.scale[0], rtol=1e-4)
    np.testing.assert_allclose(actual.shift, expected.shift, rtol=1e-4, atol=1e-4)


# What holds for all of them.


@pytest.mark.parametrize("solver", [*CANDIDATES, *SOLVERS], ids=repr)
def test_no_solver_shifts_where_that_is_not_legal(solver: Solver) -> None:
    assert not solver(observation(shiftable=False)).shifts


ONES = np.ones((5, 6))
WAVES = np.sin(np.arange(30.0)).reshape(5, 6)
DEGENERATE = {
    "nothing but zeros": (0 * ONES, 0 * ONES[0, :, None]),
    "zero weights": (WAVES, 0 * ONES[0, :, None]),
    "constant channels": (ONES * [-3, 0, 1e-30, 1e-3, 5, 4e4], ONES[0, :, None]),
    "one channel moves": (WAVES * [0, 0, 0, 1, 0, 0], ONES[0, :, None]),
    "one row": (WAVES[:1], WAVES[0, :, None]),
    "far apart": (WAVES * [1e-12, 1, 1, 1e6, 1, 1e-20], ONES[0, :, None] * 1e-12),
}


@pytest.mark.parametrize("shiftable", [True, False])
@pytest.mark.parametrize(("rows", "matrix"), DEGENERATE.values(), ids=DEGENERATE.keys())
@pytest.mark.parametrize("solver", [*CANDIDATES, *SOLVERS], ids=repr)
def test_every_scale_is_positive_and_finite(
    solver: Solver, rows: NDArray[np.float64], matrix: NDArray[np.float64], shiftable: bool
) -> None:
    transform = solver(Observation(6, (part(rows, matrix),), shiftable, np.array([0, 1e-20, 1, 1, 0, 1e6])))
    assert transform.scale.shape == transform.shift.shape == (6,)
    assert np.isfinite([transform.scale, transform.shift]).all()
    assert (transform.scale > 0).all()


@pytest.mark.parametrize("silent", [0.0, 1e-9])
@pytest.mark.parametrize("solver", [SmoothQuant(0.8), QSM, OUTLIER_TUNE, RepQ(), Awq()], ids=repr)
def test_a_channel_that_never_moves_counts_as_a_typical_one(solver: Solver, silent: float) -> None:
    """It may move on other data, and must not be clipped to nothing then."""
    rows = np.sin(np.arange(80.0)).reshape(20, 4) * [1, 10, silent, 100]
    scale = solver(Observation(4, (part(rows, np.ones((4, 1))),), shiftable=True)).scale
    np.testing.assert_allclose(scale[2], np.cbrt(np.prod(scale[[0, 1, 3]])))


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@given(seed=SEEDS, exponent=st.integers(-20, 20))
def test_the_unit_of_the_values_does_not_matter(solver: Solver, seed: int, exponent: int) -> None:
    data, unit = observation(seed), 2.0**exponent
    assert data.producer_reach is not None
    (one,) = data.parts
    larger = one.statistics.transformed(np.full(data.channels, 1 / unit), np.zeros(data.channels))
    actual = solver(replace(data, parts=(replace(one, statistics=larger),), producer_reach=data.producer_reach * unit))
    assert_same(ChannelTransform(actual.scale, actual.shift / unit), solver(data))


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@given(seed=SEEDS)
def test_the_order_of_a_values_channels_does_not_matter(solver: Solver, seed: int) -> None:
    data = observation(seed)
    (one,), order = data.parts, np.random.default_rng(seed).permutation(data.channels)
    mixed = Part(one.statistics.taken(order), order, one.matrix[order])
    assert_same(solver(replace(data, parts=(mixed,))), solver(data))


@pytest.mark.parametrize("solver", [*BALANCED, REPQ_VIT, RepQ(), LLM_FP4, Awq()], ids=repr)
@given(seed=SEEDS)
def test_channels_of_strangers_and_inverted_ones_have_no_say(solver: Solver, seed: int) -> None:
    data, rng = observation(seed), np.random.default_rng(seed)
    (one,), more = data.parts, np.array([-1, data.channels + 3])
    wider = part(
        np.concatenate([one.statistics.rows, 99 * rng.normal(size=(400, 2))], axis=1),
        np.concatenate([one.matrix, 99 * rng.normal(size=(2, 8))]),
        np.concatenate([one.channels, more]),
    )
    assert_same(solver(replace(data, parts=(wider,))), solver(data))


@pytest.mark.parametrize("solver", [*BALANCED, Gps(), RepQ()], ids=repr)
@given(seed=SEEDS)
def test_two_values_count_as_one_that_holds_both(solver: Solver, seed: int) -> None:
    data = observation(seed)
    (one,) = data.parts
    halves = tuple(part(rows, one.matrix) for rows in np.split(one.statistics.rows, 2))
    assert_same(solver(replace(data, parts=halves)), solver(data))


@pytest.mark.parametrize("solver", [*BALANCED, RepQ()], ids=repr)
@given(seed=SEEDS)
def test_what_balances_data_and_weights_has_nothing_left_to_do(solver: Solver, seed: int) -> None:
    data = observation(seed)
    again = solver(transformed(data, solver(data)))
    np.testing.assert_allclose(again.scale, again.scale[0], rtol=1e-2)
    np.testing.assert_allclose(again.shift / transformed(data, solver(data)).reach(again.shift), 0, atol=0.01)


@pytest.mark.parametrize("solver", [SmoothQuant(0.8, shift=True), RepQ(0.75), Shift(), Gps(), OUTLIER_TUNE], ids=repr)
def test_every_remedy_for_uneven_channels_lowers_the_loss(solver: Solver) -> None:
    data = observation()
    assert loss(data, solver(data)) < 0.5 * loss(data, Identity()(data))


# What each is for.


@given(seed=SEEDS, bits=BITS, percent=st.sampled_from([95.0, 99.9, 100.0]))
def test_repq_at_one_has_the_integers_of_the_per_channel_quantizer(seed: int, bits: int, percent: float) -> None:
    data = observation(seed)
    transform, rows = RepQ(1.0, bits, (percent,))(data), data.parts[0].statistics.rows.astype(np.float64)
    sampled = data.parts[0].statistics.rows
    low, high = (np.percentile(sampled, at, axis=0).astype(np.float64) for at in (100 - percent, percent))
    step = (high - low) / (2**bits - 1)
    per_channel = np.clip(np.round(rows / step) + np.round(-low / step), 0, 2**bits - 1)
    layer = (rows - transform.shift) / transform.scale
    per_tensor = np.clip(np.round(layer / step.mean()) + 2 ** (bits - 1), 0, 2**bits - 1)
    ties = np.isclose(np.abs(rows / step % 1), 0.5, atol=1e-5)
    np.testing.assert_array_equal(per_tensor[~ties], per_channel[~ties])


def test_repq_takes_each_channels_percentile_of_least_error() -> None:
    """At three bits a lone outlier is clipped; at eight its error would outweigh that of all other rows."""
    even = np.linspace(-1, 1, 1000)
    rows = np.stack([even, np.where(even == 1, 8, even)], axis=1)
    data = Observation(2, (part(rows, np.ones((2, 1))),), shiftable=True)
    three, eight = (RepQ(bits=bits, percentiles=(90.0, 99.8, 100.0))(data).scale for bits in (3, 8))
    np.testing.assert_allclose(three[1] / three[0], 1, rtol=0.01)
    np.testing.assert_allclose(eight[1] / eight[0], 9 / 2)


def test_smoothquant_is_its_formula_up_to_a_constant() -> None:
    (one,) = observation().parts
    reach, weights = np.abs(one.statistics.rows).max(0), np.abs(one.matrix).max(1)
    actual = SmoothQuant(0.7)(observation())
    assert_same(actual, ChannelTransform(reach**0.7 / weights**0.3, np.zeros(12)))
    np.testing.assert_allclose(actual.scale.max() * actual.scale.min(), 1)


@pytest.mark.parametrize("solver", [QSM, OUTLIER_TUNE], ids=repr)
@given(seed=SEEDS, bits=BITS)
def test_steps_that_migrate_have_the_integers_of_the_symmetric_per_channel_quantizer(
    solver: Solver, seed: int, bits: int
) -> None:
    data, largest = observation(seed), 2 ** (bits - 1) - 1
    transform, rows = solver(data), data.parts[0].statistics.rows.astype(np.float64)
    centred = rows - (data.centre if solver is OUTLIER_TUNE else 0)
    layer = (rows - transform.shift) / transform.scale
    per_channel = centred / np.abs(centred).max(axis=0) * largest
    np.testing.assert_allclose(layer / np.abs(layer).max() * largest, per_channel, atol=1e-6)


def test_outlier_suppression_plus_centres_every_channel_and_never_widens_one() -> None:
    data = observation()
    transform = OutlierSuppressionPlus()(data)
    np.testing.assert_allclose(transform.shift, (data.minimum + data.maximum) / 2)
    assert (transform.scale >= 1).all()
    assert transform.scale.max() > 1


@given(seed=SEEDS)
def test_searches_find_what_costs_least(seed: int) -> None:
    data = observation(seed)
    assert loss(data, AwqSearch(10)(data)) == min(loss(data, Awq(step / 10)(data)) for step in range(10))
    reach, actual = data.reach(data.centre), loss(data, OutlierSuppressionPlus()(data))
    for threshold in (reach.max(), np.median(reach)):
        assert actual <= loss(data, ChannelTransform(np.maximum(1, reach / threshold), data.centre)) + 1e-9


@given(seed=SEEDS, bits=BITS)
def test_gps_balances_what_rounding_costs_in_data_and_in_weights(seed: int, bits: int) -> None:
    data, largest = observation(seed), 2 ** (bits - 1) - 1
    transform, (one,) = Gps(bits=bits)(data), data.parts
    rows, anchor = one.statistics.rows - data.centre, data.reach(data.centre).argmax()
    steps = np.abs(rows).max() / largest, np.abs(one.matrix).max(axis=0) / largest
    errors = [np.round(array / step) * step - array for array, step in zip((rows, one.matrix), steps, strict=True)]
    of_data = np.linalg.norm(errors[0], axis=0) * np.linalg.norm(one.matrix, axis=1)
    of_weights = np.linalg.norm(rows, axis=0) * np.linalg.norm(errors[1], axis=1)
    scale, others = transform.scale / transform.scale[anchor], np.arange(data.channels) != anchor
    np.testing.assert_allclose((scale * of_data)[others], (of_weights / scale)[others], rtol=1e-3)


@given(seed=SEEDS)
def test_powers_of_two_are_exact_and_next_to_the_solvers_scale(seed: int) -> None:
    data, (one,) = observation(seed), observation(seed).parts
    scale, free = LLM_FP4(data).scale, QSM(data).scale
    assert (np.frexp(scale)[0] == 0.5).all()
    assert (np.abs(np.log2(scale / free)) <= 0.5).all()
    small = scale.astype(np.float32)
    rewritten = (one.statistics.rows / small) @ (one.matrix * small[:, None])
    np.testing.assert_array_equal(rewritten, one.product)
    np.testing.assert_array_equal(PowerOfTwo(Gps())(data).shift, Gps()(data).shift)


def test_one_scalar_gives_a_one_sided_value_its_bit_back() -> None:
    rng = np.random.default_rng(0)
    rows = np.maximum(rng.normal(size=(400, 12)), 0) * rng.uniform(0.8, 1, 12)
    data = Observation(12, (part(rows, rng.normal(size=(12, 8))),), shiftable=True)
    transform = ScalarShift()(data)
    assert len(set(transform.shift)) == 1
    assert not transform.scales
    np.testing.assert_allclose(data.reach(transform.shift).max(), data.maximum.max() / 2)
    assert loss(data, transform) < 0.6 * loss(data, Identity()(data))


@given(seed=SEEDS)
def test_equalization_makes_weights_reach_as_far_on_both_sides(seed: int) -> None:
    data = observation(seed)
    after = transformed(data, EQUALIZE(data))
    assert after.producer_reach is not None
    np.testing.assert_allclose(after.producer_reach, after.weight_reach, rtol=1e-5)
    assert EQUALIZE(replace(data, producer_reach=None)).is_identity


LAYERS = {
    "MatMul": "(float[9, 6] x) => (float[9, 3] y) <float[6, 8] w, float[8] b, float[8, 3] v> "
    "{ a = MatMul(x, w) c = Add(a, b) r = Relu(c) y = MatMul(r, v) }",
    "Gemm": "(float[9, 6] x) => (float[9, 3] y) <float[8, 6] w, float[3, 8] v> "
    "{ a = Gemm<alpha = 0.5, transB = 1>(x, w) r = LeakyRelu(a) y = Gemm<transB = 1>(r, v) }",
    "Conv": "(float[2, 6, 9, 9] x) => (float[2, 3, 9, 9] y) <float[8, 3, 3, 3] w, float[3, 8, 3, 3] v> "
    "{ a = Conv<group = 2, pads = [1, 1, 1, 1]>(x, w) r = Relu(a) y = Conv<pads = [1, 1, 1, 1]>(r, v) }",
}


def linears(model: ir.Model) -> list[NDArray[np.float32]]:
    """Both weights, with the channels between the two layers first."""
    nodes = [node for node in model.graph if node.op_type in LAYERS]
    tensors = [node.inputs[1].const_value for node in nodes if node.inputs[1] is not None]
    first, second = (np.asarray(tensor.numpy()) for tensor in tensors if tensor is not None)
    by_rows = nodes[0].op_type != "MatMul"
    return [first if by_rows else first.T, np.moveaxis(second, 1, 0) if by_rows else second]


@pytest.mark.parametrize("graph", LAYERS.values(), ids=LAYERS.keys())
def test_weights_on_both_sides_of_an_activation_are_equalized_exactly(
    graph: str,
    build: Callable[[str], onnx.ModelProto],
    compute: Callable[[ir.Model], list[NDArray[np.generic]]],
    deviation: Callable[[list[NDArray[np.generic]], list[NDArray[np.generic]]], float],
) -> None:
    model = load(build(graph))
    canonicalize(model)
    shape = model.graph.inputs[0].shape
    assert shape is not None
    collect(model, [{"x": np.random.default_rng(0).normal(size=shape.numpy()).astype(np.float32)}])
    (site,) = (site for site in find_sites(model) if isinstance(site, Site))
    data, expected = observe(site), compute(model)
    before = [np.abs(weight).reshape(8, -1).max(axis=1) for weight in linears(model)]
    assert data is not None
    assert not data.shiftable
    np.testing.assert_array_equal(data.producer_reach, before[0])
    apply(site, EQUALIZE(data))
    after = [np.abs(weight).reshape(8, -1).max(axis=1) for weight in linears(model)]
    np.testing.assert_allclose(after, [np.sqrt(before[0] * before[1])] * 2, rtol=1e-5)
    assert deviation(expected, compute(model)) < 1e-5


def test_norms_have_no_weights_to_equalize(build: Callable[[str], onnx.ModelProto]) -> None:
    header = "(float[5, 6] x) => (float[5, 3] y) <float[6] g, float[6, 3] w>"
    model = load(build(header + "{ n = LayerNormalization(x, g) y = MatMul(n, w) }"))
    canonicalize(model)
    collect(model, [{"x": WAVES.astype(np.float32)}])
    (site,) = (site for site in find_sites(model) if isinstance(site, Site))
    data = observe(site)
    assert data is not None
    assert data.producer_reach is None
    assert EQUALIZE(data).is_identity


# The loss.


def test_the_loss_grows_with_fewer_bits() -> None:
    data = observation()
    unchanged = ChannelTransform.identity(data.channels)
    assert loss(data, unchanged, (Format(bits=6),)) > 2 * loss(data, unchanged)


def test_rows_that_compute_next_to_nothing_do_not_decide() -> None:
    data = observation()
    (one,) = data.parts
    rows = np.concatenate([one.statistics.rows, np.full((4, data.channels), 1e-6)])
    idle, unchanged = replace(data, parts=(part(rows, one.matrix),)), ChannelTransform.identity(data.channels)
    assert loss(idle, unchanged) < 1.5 * loss(data, unchanged)


def test_rows_that_compute_nothing_do_not_set_the_size_of_the_others() -> None:
    """Silence and padding: more than half of the rows are 0, so is their median."""
    data = observation()
    (one,) = data.parts
    rows = np.concatenate([one.statistics.rows, np.zeros((600, data.channels))])
    silent, unchanged = replace(data, parts=(part(rows, one.matrix),)), ChannelTransform.identity(data.channels)
    assert loss(silent, unchanged) < 1.5 * loss(data, unchanged)


NAMES = {
    "SmoothQuant α=0.8 + shift, margin 10 %": WithMargin(SmoothQuant(0.8, shift=True), 0.1),
    "SmoothQuant α=0.5, scale only": ScaleOnly(SmoothQuant()),
    "SmoothQuant α=1, powers of two": LLM_FP4,
    "shift, offset copies": OffsetCopies(Shift()),
    "identity": Identity(),
    "scalar shift": ScalarShift(),
    "AWQ": AwqSearch(),
    "AWQ r=0.25": Awq(0.25),
    "GPS + shift": Gps(),
    "GPS": Gps(shift=False),
    "RepQ α=0.5": RepQ(0.5),
    "Outlier Suppression+": OutlierSuppressionPlus(),
    "cross-layer equalization": EQUALIZE,
}


@pytest.mark.parametrize("name", NAMES)
def test_reports_call_a_solver_by_the_name_of_its_paper(name: str) -> None:
    assert str(NAMES[name]) == name
