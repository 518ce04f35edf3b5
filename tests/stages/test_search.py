"""The search for a plan: how near it comes to the best one, and how many plans it tries by its effort."""

from dataclasses import dataclass, field
from itertools import product
from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx_ir as ir
import pytest

from requant.effort import EFFORTS, EffortName
from requant.ir.linear import find_linears
from requant.limits import Limits
from requant.passes.cost_model.program import Picks
from requant.passes.layer_places import PlacedLayer
from requant.passes.regions.candidates import find_candidates
from requant.passes.regions.choose import alternatives, alternatives_between
from requant.passes.regions.planner import trades
from requant.runtime.targets import TARGETS
from requant.stages import Job
from requant.stages.judge import Measurement
from requant.stages.parts import Parts
from requant.stages.search import cheapest_trial, quietest_trial
from requant.stages.trials import Trial, Trials
from tests.passes.test_plan_integer_values import planned, weights

LAYERS = 8


def test_alternatives_between_two_are_found_by_trades_between_theirs() -> None:
    graph = planned(weights(outlier=300.0)).graph
    candidates, convs = find_candidates(graph, TARGETS["cpu"]), list(find_linears(graph))
    fast, *_, slow = alternatives(graph, candidates, convs, trades(2))
    assert fast.trade < slow.trade == np.inf
    between = alternatives_between(graph, candidates, convs, trades(2), (fast, slow), 30)
    times = [one.time for one in between]
    assert times == sorted(times)
    assert all(fast.time < time < slow.time for time in times)
    assert len(times) > 1


@dataclass
class Simulated(Trials):
    """Trials of plans whose noise is that of their layers alone, but for a factor that is known to no one before."""

    tried: list[Picks] = field(default_factory=list)

    def of(self, picks: Picks) -> Trial:
        self.tried.append(picks)
        noise, size = self.truth(picks), int(1000 + self.parts.size(picks))
        score = -float(np.floor(1e4 * noise.max())) / 1e4  # coarse, as an accuracy
        return Trial(picks, self.parts.cost(picks), Measurement(noise, noise, score), size)

    def truth(self, picks: Picks) -> np.ndarray:
        factor = np.exp(0.1 * np.random.default_rng([*picks, 5]).standard_normal())
        alone = [noise for noise, pick in zip(self.parts.noise, picks, strict=True) if not pick]
        return np.asarray(factor * np.sum([np.zeros(2), *alone], axis=0))

    def size(self, picks: Picks) -> int:
        return int(1000 + self.parts.size(picks))


def simulated(seed: int, limits: Limits, effort: EffortName) -> Simulated:
    rng = np.random.default_rng(seed)
    layers = [
        PlacedLayer(place, f"layer {place}", "MatMul", "", float(rng.integers(1, 1000)), int(rng.integers(1, 1000)))
        for place in range(LAYERS)
    ]
    noise = [1e-3 * np.exp(rng.standard_normal(2)) for _ in layers]
    steps = SimpleNamespace(steps=lambda stage, items: iter(items))
    judge = SimpleNamespace(metric=None, drop=lambda measurement: -measurement.score, float_score=0.0)
    job = SimpleNamespace(limits=limits, effort=EFFORTS[effort], times=steps, judge=judge)
    return Simulated(cast(Job, job), Parts(cast(ir.Model, None), layers, noise, 1.0))


def every(trials: Simulated) -> list[Picks]:
    return [*product((0, 1), repeat=LAYERS)]


@pytest.mark.parametrize(
    "limits", [Limits(min_sqnr=24.0), Limits(max_drop=3e-3), Limits(26.0, max_bytes=5000)], ids=str
)
def test_the_plan_holds_and_more_effort_makes_it_no_costlier(limits: Limits) -> None:
    gaps = []
    for seed in range(2):
        costs = []
        for effort in EFFORTS:
            trials = simulated(seed, limits, effort)
            best = cheapest_trial(trials)
            assert best is None or trials.holds(best)
            count = EFFORTS[effort].proposals + EFFORTS[effort].refinements
            assert len(set(trials.tried)) <= count
            costs.append(np.inf if best is None else best.cost)
        holding = [picks for picks in every(trials) if trials.holds(trials.of(picks))]
        least, most = min(map(trials.parts.cost, holding)), trials.parts.cost(trials.parts.in_float)
        assert least <= costs[2] <= costs[0]
        gaps.append([(min(cost, most) - least) / most for cost in costs])
    low, normal, high = np.mean(gaps, axis=0)
    assert high <= normal <= low
    assert high < 0.15, "luck finds what no prediction does"


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_plan_of_least_loss_is_within_its_cost(share: float) -> None:
    for seed in range(2):
        free = simulated(seed, Limits(), "low")
        cap = 1000 + share * free.parts.size(free.parts.in_float)
        trials = [simulated(seed, Limits(max_bytes=int(cap)), effort) for effort in EFFORTS]
        best = [quietest_trial(one) for one in trials]
        losses = [np.inf if trial is None else float(trial.measurement.noise.max()) for trial in best]
        assert all(trial is not None and (trial.size or 0) <= cap for trial in best)
        assert losses[2] <= losses[0]
        assert len(trials[0].tried) <= 5
