"""Solvers do what their papers say, and the loss prefers what quantizes better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requant.calib.statistics import measure
from requant.ir.rebase import Basis
from requant.passes.loss import loss
from requant.passes.observation import Observation
from requant.passes.rebase_sites import CANDIDATES
from requant.passes.solvers import Awq, Keep, OutlierSuppressionPlus, RepQ, Shift, SmoothQuant, Solver


def observation(seed: int = 0, *, shiftable: bool = True, channels: int = 12) -> Observation:
    """Channels with ranges spread over two decades, off centre by as much again."""
    rng = np.random.default_rng(seed)
    spread, offset = 10 ** rng.uniform(-1, 1, channels), rng.uniform(-20, 20, channels)
    rows = (rng.normal(size=(400, channels)) * spread + offset).astype(np.float32)
    weight = (rng.normal(size=(channels, 8)) / spread[:, None] ** 0.5).astype(np.float32)
    return Observation(measure(rows, -1, 0), ((weight, np.arange(channels)),), shiftable)


@given(seed=st.integers(0, 500), bits=st.sampled_from([4, 6, 8]))
def test_repq_at_one_has_the_codes_of_the_per_channel_quantizer(seed: int, bits: int) -> None:
    seen = observation(seed)
    basis, rows = RepQ(1.0, bits)(seen), seen.statistics.rows.astype(np.float64)
    low, high = seen.statistics.minimum, seen.statistics.maximum
    step = (high - low) / (2**bits - 1)
    per_channel = np.clip(np.round(rows / step) + np.round(-low / step), 0, 2**bits - 1)
    layer = (rows - basis.shift) / basis.scale
    per_tensor = np.clip(np.round(layer / step.mean()) + 2 ** (bits - 1), 0, 2**bits - 1)
    ties = np.isclose(np.abs(rows / step % 1), 0.5, atol=1e-6)
    np.testing.assert_array_equal(per_tensor[~ties], per_channel[~ties])


def test_smoothquant_is_its_formula_up_to_a_constant() -> None:
    seen = observation()
    reach, weights = np.abs(seen.statistics.rows).max(0), np.abs(seen.weights[0][0]).max(1)
    expected = reach**0.7 / weights**0.3
    ratio = SmoothQuant(0.7)(seen).scale / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_outlier_suppression_plus_centres_every_channel_and_never_widens_one() -> None:
    seen = observation()
    basis = OutlierSuppressionPlus()(seen)
    np.testing.assert_allclose(basis.shift, (seen.statistics.minimum + seen.statistics.maximum) / 2)
    assert (basis.scale >= 1).all()
    assert basis.scale.max() > 1


@pytest.mark.parametrize("solver", [*CANDIDATES, Awq()], ids=repr)
def test_no_solver_shifts_where_that_is_not_legal_and_all_are_positive(solver: Solver) -> None:
    basis = solver(observation(shiftable=False))
    assert not basis.shifts
    assert (basis.scale > 0).all()
    assert np.isfinite(basis.scale).all()


@pytest.mark.parametrize("solver", [SmoothQuant(0.8, shift=True), RepQ(0.75), Shift()], ids=repr)
def test_every_remedy_for_uneven_channels_lowers_the_loss(solver: Solver) -> None:
    seen = observation()
    assert loss(seen, solver(seen)) < 0.5 * loss(seen, Keep()(seen))


def test_the_loss_grows_with_fewer_bits() -> None:
    seen = observation()
    unchanged = Basis.identity(seen.channels)
    assert loss(seen, unchanged, 6) > 2 * loss(seen, unchanged, 8)


def test_the_loss_charges_for_channels_without_any_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equalizing all channels leaves none of them room; leaving them as they are spares seven of eight."""
    rng = np.random.default_rng(0)
    rows = rng.laplace(size=(500, 8)).astype(np.float32) * np.array([1.0] + [0.25] * 7, np.float32)
    seen = Observation(measure(rows, -1, 0), ((np.ones((8, 4), np.float32), np.arange(8)),), shiftable=True)
    bases = Basis.identity(8), Basis(seen.statistics.magnitude, np.zeros(8))
    charged = [loss(seen, basis) for basis in bases]
    monkeypatch.setattr("requant.passes.loss.FARTHEST", 1.0)
    free = [loss(seen, basis) for basis in bases]
    spared, equalized = (paid - gratis for paid, gratis in zip(charged, free, strict=True))
    assert equalized > spared > 0


def test_rows_that_compute_next_to_nothing_do_not_decide() -> None:
    seen = observation()
    rows = np.concatenate([seen.statistics.rows, np.full((4, seen.channels), 1e-6, np.float32)])
    idle = Observation(measure(rows, -1, 0), seen.weights, shiftable=True)
    unchanged = Basis.identity(seen.channels)
    assert loss(idle, unchanged) < 1.5 * loss(seen, unchanged)
