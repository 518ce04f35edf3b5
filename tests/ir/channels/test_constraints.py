"""What follows from ties, oppositions, pins, edges, fixes and joins of channel variables."""

import numpy as np
import pytest

from requant.ir.channels.constraints import Ledger, Settled, Variables, known
from requant.ir.channels.reshape import NOBODY

NONE = "it is made of several values, some without a basis"


def _ledger(*counts: int, restorable: bool = False) -> tuple[Ledger, list[Variables]]:
    ledger = Ledger()
    return ledger, [ledger.allocate(count, restorable=restorable) for count in counts]


def _numbers(settled: Settled, variables: Variables) -> list[tuple[int, int]]:
    """Site and channel of each variable."""
    return list(zip(settled.site[variables].tolist(), settled.channel[variables].tolist(), strict=True))


def test_nothing_settles_to_nothing() -> None:
    settled = Ledger().settle()
    assert (settled.site.tolist(), settled.channel.tolist(), settled.sizes.tolist()) == ([NOBODY], [NOBODY], [])


def test_variables_that_nothing_is_said_of_are_sites_of_their_own() -> None:
    ledger, (a,) = _ledger(2)
    settled = ledger.settle()
    assert _numbers(settled, a) == [(0, 0), (1, 0)]
    assert settled.sizes.tolist() == [1, 1]
    assert settled.why_fixed(a) is None


def test_joined_variables_are_numbered_as_they_were_allocated() -> None:
    ledger, (a, b, c) = _ledger(2, 2, 2)
    ledger.join(np.concatenate([c, a[::-1]]))
    ledger.join(b)
    settled = ledger.settle()
    assert _numbers(settled, a) == [(0, 0), (0, 1)]
    assert _numbers(settled, c) == [(0, 2), (0, 3)]
    assert _numbers(settled, b) == [(1, 0), (1, 1)]
    assert settled.sizes.tolist() == [4, 2]


def test_joins_of_one_variable_or_none_do_no_harm() -> None:
    ledger, (a,) = _ledger(1)
    ledger.join(a)
    ledger.join(np.array([], np.intp))
    ledger.join(np.array([NOBODY]))
    assert _numbers(ledger.settle(), a) == [(0, 0)]


def test_joins_chain() -> None:
    ledger, (a, b, c) = _ledger(1, 1, 1)
    ledger.join(np.concatenate([b, c]))
    ledger.join(np.concatenate([a, b]))
    assert _numbers(ledger.settle(), np.concatenate([a, b, c])) == [(0, 0), (0, 1), (0, 2)]


def test_tied_variables_are_one_channel() -> None:
    ledger, (a, b) = _ledger(3, 3)
    ledger.join(a)
    ledger.tie(a, b[::-1], "")
    settled = ledger.settle()
    assert _numbers(settled, a) == [(0, 0), (0, 1), (0, 2)]
    assert _numbers(settled, b) == [(0, 2), (0, 1), (0, 0)]
    assert settled.sizes.tolist() == [3]


def test_ties_within_a_value_leave_fewer_channels() -> None:
    ledger, (a,) = _ledger(4)
    ledger.join(a)
    ledger.tie(a[:2], a[2:], "")
    settled = ledger.settle()
    assert settled.channel[a].tolist() == [0, 1, 0, 1]
    assert settled.sizes.tolist() == [2]


def test_ties_broadcast() -> None:
    ledger, (a, b) = _ledger(4, 1)
    ledger.tie(a.reshape(2, 2), b, "")
    settled = ledger.settle()
    assert set(settled.channel[:-1].tolist()) == {0}
    assert settled.sizes.tolist() == [1]


def test_what_is_tied_to_nobody_is_pinned() -> None:
    ledger, (a,) = _ledger(3)
    ledger.join(a)
    ledger.tie(a, np.array([NOBODY, 0, 1]), "a stranger")
    settled = ledger.settle()
    assert _numbers(settled, a) == [(-1, -1), (-1, -1), (-1, -1)]
    assert settled.why_pinned(a[2:]) == "a stranger"
    assert settled.sizes.tolist() == []


@pytest.mark.parametrize("left", [True, False])
def test_oppositions_mirror_their_left_side(left: bool) -> None:
    ledger, (a, b) = _ledger(2, 2)
    ledger.oppose(*((a, b) if left else (b, a)), "")
    ledger.join(np.concatenate([a, b]))
    settled = ledger.settle()
    assert settled.sizes.tolist() == [2]
    assert settled.channel[a].tolist() == ([2, 3] if left else [0, 1])
    assert settled.channel[b].tolist() == ([0, 1] if left else [2, 3])


def test_what_is_opposed_twice_is_itself_again() -> None:
    ledger, (a, b, c) = _ledger(1, 1, 1)
    ledger.oppose(a, b, "")
    ledger.oppose(b, c, "")
    settled = ledger.settle()
    assert settled.channel[a] == settled.channel[c] != settled.channel[b]
    assert settled.sizes.tolist() == [1]


def test_ties_reach_through_oppositions() -> None:
    """q1 k1ᵀ and q2 k2ᵀ, where the keys are one: so are the queries."""
    ledger, (q1, k1, q2, k2) = _ledger(2, 2, 2, 2)
    ledger.oppose(q1, k1, "")
    ledger.oppose(q2, k2, "")
    ledger.tie(k1, k2, "")
    ledger.join(np.concatenate([q1, k1]))
    settled = ledger.settle()
    assert settled.channel[q1].tolist() == settled.channel[q2].tolist() == [2, 3]
    assert settled.channel[k1].tolist() == settled.channel[k2].tolist() == [0, 1]
    assert set(settled.site[:-1].tolist()) == {0}


def test_heads_that_share_a_key_are_tied() -> None:
    ledger, (q, k) = _ledger(4, 2)
    ledger.oppose(q.reshape(2, 2), k, "")
    ledger.join(np.concatenate([q, k]))
    settled = ledger.settle()
    assert settled.channel[q].tolist() == [2, 3, 2, 3]
    assert settled.channel[k].tolist() == [0, 1]


def test_what_meets_its_own_inverse_is_pinned() -> None:
    ledger, (a, b, c) = _ledger(2, 2, 1)
    ledger.oppose(a, b, "")
    ledger.tie(a[:1], b[:1], "")
    settled = ledger.settle()
    assert settled.site[:-1].tolist() == [-1, 0, -1, 0, 1]
    assert settled.why_pinned(a) == "it meets its own inverse"
    assert settled.why_pinned(c) == NONE


def test_what_is_opposed_to_nobody_is_pinned() -> None:
    ledger, (a,) = _ledger(2)
    ledger.oppose(a, np.array([NOBODY, NOBODY]), "a stranger")
    settled = ledger.settle()
    assert settled.site[a].tolist() == [-1, -1]
    assert settled.why_pinned(a) == "a stranger"


def test_pins_reach_through_ties_and_oppositions() -> None:
    ledger, (a, b, c, d) = _ledger(2, 2, 2, 2)
    ledger.tie(a, b, "")
    ledger.oppose(b, c, "")
    ledger.join(np.concatenate([a, d]))
    ledger.pin(a[:1], "an output")
    settled = ledger.settle()
    for variables in (a, b, c):
        assert (settled.site[variables] == -1).tolist() == [True, False]
        assert settled.why_pinned(variables) == "an output"
    assert settled.site[d].tolist() == settled.site[a[1:]].tolist() * 2


def test_pins_do_not_reach_through_joins() -> None:
    ledger, (a, b) = _ledger(2, 2)
    ledger.join(np.concatenate([a, b]))
    ledger.pin(a, "an output")
    settled = ledger.settle()
    assert _numbers(settled, b) == [(0, 0), (0, 1)]
    assert settled.site[a].tolist() == [-1, -1]


def test_a_site_does_not_hang_together_by_what_is_pinned() -> None:
    ledger, (a, b, c) = _ledger(1, 1, 1)
    ledger.join(np.concatenate([a, b]))
    ledger.join(np.concatenate([b, c]))
    ledger.pin(b, "an output")
    settled = ledger.settle()
    assert _numbers(settled, np.concatenate([a, b, c])) == [(0, 0), (-1, -1), (1, 0)]


def test_the_first_reason_counts() -> None:
    ledger, (a, b) = _ledger(1, 1)
    ledger.tie(a, b, "")
    ledger.pin(b, "first")
    ledger.pin(a, "second")
    ledger.fix(a, "one")
    ledger.fix(b, "two")
    settled = ledger.settle()
    assert (settled.why_pinned(a), settled.why_fixed(b)) == ("first", "one")


def test_fixes_reach_through_ties_and_leave_the_scale_free() -> None:
    ledger, (a, b, c) = _ledger(2, 2, 2)
    ledger.tie(a, b, "")
    ledger.fix(b[:1], "padding")
    settled = ledger.settle()
    assert settled.why_fixed(a) == settled.why_fixed(a[:1]) == "padding"
    assert settled.why_fixed(a[1:]) is settled.why_fixed(c) is None
    assert (settled.site[:-1] >= 0).all()


def test_what_fixes_one_side_of_a_product_leaves_the_other_free() -> None:
    ledger, (q, k) = _ledger(1, 1)
    ledger.oppose(q, k, "")
    ledger.fix(q, "a rotation")
    settled = ledger.settle()
    assert (settled.why_fixed(q), settled.why_fixed(k)) == ("a rotation", None)


def test_an_edge_costs_restorable_variables_nothing() -> None:
    ledger, (a,) = _ledger(2, restorable=True)
    ledger.edge(a, "Relu reads it")
    assert (ledger.settle().site[a] >= 0).all()


def test_an_edge_pins_others() -> None:
    ledger, (a, b) = _ledger(2, 2)
    ledger.edge(a[:1], "Relu reads it")
    settled = ledger.settle()
    assert (settled.site[:-1] >= 0).tolist() == [False, True, True, True]
    assert settled.why_pinned(a) == "Relu reads it"
    assert settled.why_pinned(b) == NONE


def test_one_that_cannot_be_restored_pins_all_that_are_tied_to_it() -> None:
    ledger = Ledger()
    norm, linear = ledger.allocate(2, restorable=True), ledger.allocate(2)
    ledger.tie(norm[:1], linear[:1], "")
    ledger.edge(norm, "Relu reads it")
    settled = ledger.settle()
    assert (settled.site[norm] >= 0).tolist() == [False, True]
    assert (settled.site[linear] >= 0).tolist() == [False, True]


def test_a_tie_alone_needs_no_restoring() -> None:
    ledger = Ledger()
    norm, linear = ledger.allocate(1, restorable=True), ledger.allocate(1)
    ledger.tie(norm, linear, "")
    assert _numbers(ledger.settle(), np.concatenate([norm, linear])) == [(0, 0), (0, 0)]


def test_the_inverse_of_what_is_restorable_may_be_stiff() -> None:
    ledger = Ledger()
    norm, linear = ledger.allocate(1, restorable=True), ledger.allocate(1)
    ledger.oppose(norm, linear, "")
    ledger.edge(norm, "Relu reads it")
    assert _numbers(ledger.settle(), np.concatenate([norm, linear])) == [(0, 1), (0, 0)]


def test_nobody_is_in_no_site_and_has_its_own_reason() -> None:
    ledger, (a,) = _ledger(1)
    ledger.pin(np.array([NOBODY]), "nobody")
    ledger.edge(np.array([[NOBODY]]), "nobody")
    ledger.fix(np.array([NOBODY, 0]), "padding")
    settled = ledger.settle()
    assert (settled.site[NOBODY], settled.channel[NOBODY]) == (NOBODY, NOBODY)
    assert settled.why_pinned(np.array([NOBODY])) == NONE
    assert settled.why_fixed(np.array([NOBODY])) is None
    assert _numbers(settled, a) == [(0, 0)]


def test_a_map_knows_its_variables() -> None:
    assert known(np.array([[3, NOBODY], [NOBODY, 1]])).tolist() == [3, 1]


@pytest.mark.parametrize("seed", range(20))
def test_what_settles_fulfils_all_that_was_said(seed: int) -> None:
    """Random relations: free variables have d_a = d_b or d_a = 1 / d_b as told, whatever the sites' scales."""
    rng = np.random.default_rng(seed)
    ledger, (a,) = _ledger(30)
    pairs = rng.integers(0, 30, (12, 2))
    for index, (left, right) in enumerate(pairs):
        relate = ledger.tie if index % 3 else ledger.oppose
        relate(a[[left]], a[[right]], "")
    ledger.pin(a[:2], "an output")
    for start in range(0, 30, 5):
        ledger.join(a[start : start + 5])
    settled = ledger.settle()
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
