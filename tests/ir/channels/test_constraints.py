"""What follows from ties, oppositions, pins, edges, fixes and joins of channel variables."""

import numpy as np
import pytest

from requant.ir.channels.constraints import Constraints, Solution, Variables, known
from requant.ir.channels.reshape import NO_CHANNEL

NONE = "it is made of several values, some without a transform"


def _ledger(*counts: int, restorable: bool = False) -> tuple[Constraints, list[Variables]]:
    constraints = Constraints()
    return constraints, [constraints.allocate(count, restorable=restorable) for count in counts]


def _numbers(settled: Solution, variables: Variables) -> list[tuple[int, int]]:
    """Site and channel of each variable."""
    return list(zip(settled.site[variables].tolist(), settled.channel[variables].tolist(), strict=True))


def test_nothing_settles_to_nothing() -> None:
    settled = Constraints().solve()
    assert (settled.site.tolist(), settled.channel.tolist(), settled.sizes.tolist()) == ([NO_CHANNEL], [NO_CHANNEL], [])


def test_variables_that_nothing_is_said_of_are_sites_of_their_own() -> None:
    constraints, (a,) = _ledger(2)
    settled = constraints.solve()
    assert _numbers(settled, a) == [(0, 0), (1, 0)]
    assert settled.sizes.tolist() == [1, 1]
    assert settled.why_fixed(a) is None


def test_joined_variables_are_numbered_as_they_were_allocated() -> None:
    constraints, (a, b, c) = _ledger(2, 2, 2)
    constraints.group(np.concatenate([c, a[::-1]]))
    constraints.group(b)
    settled = constraints.solve()
    assert _numbers(settled, a) == [(0, 0), (0, 1)]
    assert _numbers(settled, c) == [(0, 2), (0, 3)]
    assert _numbers(settled, b) == [(1, 0), (1, 1)]
    assert settled.sizes.tolist() == [4, 2]


def test_joins_of_one_variable_or_none_do_no_harm() -> None:
    constraints, (a,) = _ledger(1)
    constraints.group(a)
    constraints.group(np.array([], np.intp))
    constraints.group(np.array([NO_CHANNEL]))
    assert _numbers(constraints.solve(), a) == [(0, 0)]


def test_joins_chain() -> None:
    constraints, (a, b, c) = _ledger(1, 1, 1)
    constraints.group(np.concatenate([b, c]))
    constraints.group(np.concatenate([a, b]))
    assert _numbers(constraints.solve(), np.concatenate([a, b, c])) == [(0, 0), (0, 1), (0, 2)]


def test_tied_variables_are_one_channel() -> None:
    constraints, (a, b) = _ledger(3, 3)
    constraints.group(a)
    constraints.equal(a, b[::-1], "")
    settled = constraints.solve()
    assert _numbers(settled, a) == [(0, 0), (0, 1), (0, 2)]
    assert _numbers(settled, b) == [(0, 2), (0, 1), (0, 0)]
    assert settled.sizes.tolist() == [3]


def test_ties_within_a_value_leave_fewer_channels() -> None:
    constraints, (a,) = _ledger(4)
    constraints.group(a)
    constraints.equal(a[:2], a[2:], "")
    settled = constraints.solve()
    assert settled.channel[a].tolist() == [0, 1, 0, 1]
    assert settled.sizes.tolist() == [2]


def test_ties_broadcast() -> None:
    constraints, (a, b) = _ledger(4, 1)
    constraints.equal(a.reshape(2, 2), b, "")
    settled = constraints.solve()
    assert set(settled.channel[:-1].tolist()) == {0}
    assert settled.sizes.tolist() == [1]


def test_what_is_tied_to_nobody_is_pinned() -> None:
    constraints, (a,) = _ledger(3)
    constraints.group(a)
    constraints.equal(a, np.array([NO_CHANNEL, 0, 1]), "a stranger")
    settled = constraints.solve()
    assert _numbers(settled, a) == [(-1, -1), (-1, -1), (-1, -1)]
    assert settled.why_pinned(a[2:]) == "a stranger"
    assert settled.sizes.tolist() == []


@pytest.mark.parametrize("left", [True, False])
def test_oppositions_mirror_their_left_side(left: bool) -> None:
    constraints, (a, b) = _ledger(2, 2)
    constraints.inverse(*((a, b) if left else (b, a)), "")
    constraints.group(np.concatenate([a, b]))
    settled = constraints.solve()
    assert settled.sizes.tolist() == [2]
    assert settled.channel[a].tolist() == ([2, 3] if left else [0, 1])
    assert settled.channel[b].tolist() == ([0, 1] if left else [2, 3])


def test_what_is_opposed_twice_is_itself_again() -> None:
    constraints, (a, b, c) = _ledger(1, 1, 1)
    constraints.inverse(a, b, "")
    constraints.inverse(b, c, "")
    settled = constraints.solve()
    assert settled.channel[a] == settled.channel[c] != settled.channel[b]
    assert settled.sizes.tolist() == [1]


def test_ties_reach_through_oppositions() -> None:
    """q1 k1ᵀ and q2 k2ᵀ, where the keys are one: so are the queries."""
    constraints, (q1, k1, q2, k2) = _ledger(2, 2, 2, 2)
    constraints.inverse(q1, k1, "")
    constraints.inverse(q2, k2, "")
    constraints.equal(k1, k2, "")
    constraints.group(np.concatenate([q1, k1]))
    settled = constraints.solve()
    assert settled.channel[q1].tolist() == settled.channel[q2].tolist() == [2, 3]
    assert settled.channel[k1].tolist() == settled.channel[k2].tolist() == [0, 1]
    assert set(settled.site[:-1].tolist()) == {0}


def test_heads_that_share_a_key_are_tied() -> None:
    constraints, (q, k) = _ledger(4, 2)
    constraints.inverse(q.reshape(2, 2), k, "")
    constraints.group(np.concatenate([q, k]))
    settled = constraints.solve()
    assert settled.channel[q].tolist() == [2, 3, 2, 3]
    assert settled.channel[k].tolist() == [0, 1]


def test_what_meets_its_own_inverse_is_pinned() -> None:
    constraints, (a, b, c) = _ledger(2, 2, 1)
    constraints.inverse(a, b, "")
    constraints.equal(a[:1], b[:1], "")
    settled = constraints.solve()
    assert settled.site[:-1].tolist() == [-1, 0, -1, 0, 1]
    assert settled.why_pinned(a) == "it meets its own inverse"
    assert settled.why_pinned(c) == NONE


def test_what_is_opposed_to_nobody_is_pinned() -> None:
    constraints, (a,) = _ledger(2)
    constraints.inverse(a, np.array([NO_CHANNEL, NO_CHANNEL]), "a stranger")
    settled = constraints.solve()
    assert settled.site[a].tolist() == [-1, -1]
    assert settled.why_pinned(a) == "a stranger"


def test_pins_reach_through_ties_and_oppositions() -> None:
    constraints, (a, b, c, d) = _ledger(2, 2, 2, 2)
    constraints.equal(a, b, "")
    constraints.inverse(b, c, "")
    constraints.group(np.concatenate([a, d]))
    constraints.pin(a[:1], "an output")
    settled = constraints.solve()
    for variables in (a, b, c):
        assert (settled.site[variables] == -1).tolist() == [True, False]
        assert settled.why_pinned(variables) == "an output"
    assert settled.site[d].tolist() == settled.site[a[1:]].tolist() * 2


def test_pins_do_not_reach_through_joins() -> None:
    constraints, (a, b) = _ledger(2, 2)
    constraints.group(np.concatenate([a, b]))
    constraints.pin(a, "an output")
    settled = constraints.solve()
    assert _numbers(settled, b) == [(0, 0), (0, 1)]
    assert settled.site[a].tolist() == [-1, -1]


def test_a_site_does_not_hang_together_by_what_is_pinned() -> None:
    constraints, (a, b, c) = _ledger(1, 1, 1)
    constraints.group(np.concatenate([a, b]))
    constraints.group(np.concatenate([b, c]))
    constraints.pin(b, "an output")
    settled = constraints.solve()
    assert _numbers(settled, np.concatenate([a, b, c])) == [(0, 0), (-1, -1), (1, 0)]


def test_the_first_reason_counts() -> None:
    constraints, (a, b) = _ledger(1, 1)
    constraints.equal(a, b, "")
    constraints.pin(b, "first")
    constraints.pin(a, "second")
    constraints.no_shift(a, "one")
    constraints.no_shift(b, "two")
    settled = constraints.solve()
    assert (settled.why_pinned(a), settled.why_fixed(b)) == ("first", "one")


def test_fixes_reach_through_ties_and_leave_the_scale_free() -> None:
    constraints, (a, b, c) = _ledger(2, 2, 2)
    constraints.equal(a, b, "")
    constraints.no_shift(b[:1], "padding")
    settled = constraints.solve()
    assert settled.why_fixed(a) == settled.why_fixed(a[:1]) == "padding"
    assert settled.why_fixed(a[1:]) is settled.why_fixed(c) is None
    assert (settled.site[:-1] >= 0).all()


def test_what_fixes_one_side_of_a_product_leaves_the_other_free() -> None:
    constraints, (q, k) = _ledger(1, 1)
    constraints.inverse(q, k, "")
    constraints.no_shift(q, "a rotation")
    settled = constraints.solve()
    assert (settled.why_fixed(q), settled.why_fixed(k)) == ("a rotation", None)


def test_an_edge_costs_restorable_variables_nothing() -> None:
    constraints, (a,) = _ledger(2, restorable=True)
    constraints.edge(a, "Relu reads it")
    assert (constraints.solve().site[a] >= 0).all()


def test_an_edge_pins_others() -> None:
    constraints, (a, b) = _ledger(2, 2)
    constraints.edge(a[:1], "Relu reads it")
    settled = constraints.solve()
    assert (settled.site[:-1] >= 0).tolist() == [False, True, True, True]
    assert settled.why_pinned(a) == "Relu reads it"
    assert settled.why_pinned(b) == NONE


def test_one_that_cannot_be_restored_pins_all_that_are_tied_to_it() -> None:
    constraints = Constraints()
    norm, linear = constraints.allocate(2, restorable=True), constraints.allocate(2)
    constraints.equal(norm[:1], linear[:1], "")
    constraints.edge(norm, "Relu reads it")
    settled = constraints.solve()
    assert (settled.site[norm] >= 0).tolist() == [False, True]
    assert (settled.site[linear] >= 0).tolist() == [False, True]


def test_a_tie_alone_needs_no_restoring() -> None:
    constraints = Constraints()
    norm, linear = constraints.allocate(1, restorable=True), constraints.allocate(1)
    constraints.equal(norm, linear, "")
    assert _numbers(constraints.solve(), np.concatenate([norm, linear])) == [(0, 0), (0, 0)]


def test_the_inverse_of_what_is_restorable_may_be_stiff() -> None:
    constraints = Constraints()
    norm, linear = constraints.allocate(1, restorable=True), constraints.allocate(1)
    constraints.inverse(norm, linear, "")
    constraints.edge(norm, "Relu reads it")
    assert _numbers(constraints.solve(), np.concatenate([norm, linear])) == [(0, 1), (0, 0)]


def test_nobody_is_in_no_site_and_has_its_own_reason() -> None:
    constraints, (a,) = _ledger(1)
    constraints.pin(np.array([NO_CHANNEL]), "nobody")
    constraints.edge(np.array([[NO_CHANNEL]]), "nobody")
    constraints.no_shift(np.array([NO_CHANNEL, 0]), "padding")
    settled = constraints.solve()
    assert (settled.site[NO_CHANNEL], settled.channel[NO_CHANNEL]) == (NO_CHANNEL, NO_CHANNEL)
    assert settled.why_pinned(np.array([NO_CHANNEL])) == NONE
    assert settled.why_fixed(np.array([NO_CHANNEL])) is None
    assert _numbers(settled, a) == [(0, 0)]


def test_a_map_knows_its_variables() -> None:
    assert known(np.array([[3, NO_CHANNEL], [NO_CHANNEL, 1]])).tolist() == [3, 1]


@pytest.mark.parametrize("seed", range(20))
def test_what_settles_fulfils_all_that_was_said(seed: int) -> None:
    """Random relations: free variables have d_a = d_b or d_a = 1 / d_b as told, whatever the sites' scales."""
    rng = np.random.default_rng(seed)
    constraints, (a,) = _ledger(30)
    pairs = rng.integers(0, 30, (12, 2))
    for index, (left, right) in enumerate(pairs):
        relate = constraints.equal if index % 3 else constraints.inverse
        relate(a[[left]], a[[right]], "")
    constraints.pin(a[:2], "an output")
    for start in range(0, 30, 5):
        constraints.group(a[start : start + 5])
    settled = constraints.solve()
    scales = [np.exp(rng.standard_normal(size)) for size in settled.sizes]
    both = [np.concatenate([scale, 1 / scale]) for scale in scales]
    d = np.array([both[site][channel] if site >= 0 else 1.0 for site, channel in _numbers(settled, a)])
    for index, (left, right) in enumerate(pairs):
        assert d[left] == pytest.approx(d[right] if index % 3 else 1 / d[right])
    assert (d[:2] == 1).all()
    for site, size in enumerate(settled.sizes):
        channels = settled.channel[:-1][settled.site[:-1] == site]
        assert set((channels % size).tolist()) == set(range(size))
    for start in range(0, 30, 5):
        group = settled.site[start : start + 5]
        assert len(set(group[group >= 0].tolist())) <= 1
