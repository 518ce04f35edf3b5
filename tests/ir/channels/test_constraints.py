"""The sites that follow from constraints on channel variables: equal, inverse, group, pin, no_shift."""

import numpy as np
import pytest

from requant.ir.channels.constraints import Constraints, Solution, Variables, variables_of
from requant.ir.channels.reshape import NO_CHANNEL


def _allocate(*counts: int, invertible: bool = False) -> tuple[Constraints, list[Variables]]:
    constraints = Constraints()
    return constraints, [constraints.allocate(count, invertible=invertible) for count in counts]


def _numbers(solution: Solution, variables: Variables) -> list[tuple[int, int]]:
    """Site and channel of each variable."""
    return list(zip(solution.site[variables].tolist(), solution.channel[variables].tolist(), strict=True))


def test_no_variables_make_no_sites() -> None:
    solution = Constraints().solve()
    assert (solution.site.tolist(), solution.channel.tolist(), solution.sizes.tolist()) == (
        [NO_CHANNEL],
        [NO_CHANNEL],
        [],
    )


def test_variables_without_constraints_are_sites_of_their_own() -> None:
    constraints, (a,) = _allocate(2)
    solution = constraints.solve()
    assert _numbers(solution, a) == [(0, 0), (1, 0)]
    assert solution.sizes.tolist() == [1, 1]
    assert solution.no_shift_reason(a) is None


def test_grouped_variables_are_numbered_as_they_were_allocated() -> None:
    constraints, (a, b, c) = _allocate(2, 2, 2)
    constraints.group(np.concatenate([c, a[::-1]]))
    constraints.group(b)
    solution = constraints.solve()
    assert _numbers(solution, a) == [(0, 0), (0, 1)]
    assert _numbers(solution, c) == [(0, 2), (0, 3)]
    assert _numbers(solution, b) == [(1, 0), (1, 1)]
    assert solution.sizes.tolist() == [4, 2]


def test_groups_of_one_variable_or_none_have_no_effect() -> None:
    constraints, (a,) = _allocate(1)
    constraints.group(a)
    constraints.group(np.array([], np.intp))
    constraints.group(np.array([NO_CHANNEL]))
    assert _numbers(constraints.solve(), a) == [(0, 0)]


def test_groups_chain() -> None:
    constraints, (a, b, c) = _allocate(1, 1, 1)
    constraints.group(np.concatenate([b, c]))
    constraints.group(np.concatenate([a, b]))
    assert _numbers(constraints.solve(), np.concatenate([a, b, c])) == [(0, 0), (0, 1), (0, 2)]


def test_equal_variables_are_one_channel() -> None:
    constraints, (a, b) = _allocate(3, 3)
    constraints.group(a)
    constraints.equal(a, b[::-1], "")
    solution = constraints.solve()
    assert _numbers(solution, a) == [(0, 0), (0, 1), (0, 2)]
    assert _numbers(solution, b) == [(0, 2), (0, 1), (0, 0)]
    assert solution.sizes.tolist() == [3]


def test_equal_variables_within_a_value_leave_fewer_channels() -> None:
    constraints, (a,) = _allocate(4)
    constraints.group(a)
    constraints.equal(a[:2], a[2:], "")
    solution = constraints.solve()
    assert solution.channel[a].tolist() == [0, 1, 0, 1]
    assert solution.sizes.tolist() == [2]


def test_equal_broadcasts() -> None:
    constraints, (a, b) = _allocate(4, 1)
    constraints.equal(a.reshape(2, 2), b, "")
    solution = constraints.solve()
    assert set(solution.channel[:-1].tolist()) == {0}
    assert solution.sizes.tolist() == [1]


def test_a_variable_equal_to_no_channel_is_pinned() -> None:
    constraints, (a,) = _allocate(3)
    constraints.group(a)
    constraints.equal(a, np.array([NO_CHANNEL, 0, 1]), "no channel")
    solution = constraints.solve()
    assert _numbers(solution, a) == [(-1, -1), (-1, -1), (-1, -1)]
    assert solution.pin_reason(a[2:]) == "no channel"
    assert solution.sizes.tolist() == []


@pytest.mark.parametrize("left", [True, False])
def test_inverse_inverts_its_left_side(left: bool) -> None:
    constraints, (a, b) = _allocate(2, 2)
    constraints.inverse(*((a, b) if left else (b, a)), "")
    constraints.group(np.concatenate([a, b]))
    solution = constraints.solve()
    assert solution.sizes.tolist() == [2]
    assert solution.channel[a].tolist() == ([2, 3] if left else [0, 1])
    assert solution.channel[b].tolist() == ([0, 1] if left else [2, 3])


def test_the_inverse_of_the_inverse_is_equal() -> None:
    constraints, (a, b, c) = _allocate(1, 1, 1)
    constraints.inverse(a, b, "")
    constraints.inverse(b, c, "")
    solution = constraints.solve()
    assert solution.channel[a] == solution.channel[c] != solution.channel[b]
    assert solution.sizes.tolist() == [1]


def test_equal_keys_make_queries_equal() -> None:
    """q1 k1ᵀ and q2 k2ᵀ, where k1 = k2: so q1 = q2."""
    constraints, (q1, k1, q2, k2) = _allocate(2, 2, 2, 2)
    constraints.inverse(q1, k1, "")
    constraints.inverse(q2, k2, "")
    constraints.equal(k1, k2, "")
    constraints.group(np.concatenate([q1, k1]))
    solution = constraints.solve()
    assert solution.channel[q1].tolist() == solution.channel[q2].tolist() == [2, 3]
    assert solution.channel[k1].tolist() == solution.channel[k2].tolist() == [0, 1]
    assert set(solution.site[:-1].tolist()) == {0}


def test_heads_that_share_a_key_are_equal() -> None:
    constraints, (q, k) = _allocate(4, 2)
    constraints.inverse(q.reshape(2, 2), k, "")
    constraints.group(np.concatenate([q, k]))
    solution = constraints.solve()
    assert solution.channel[q].tolist() == [2, 3, 2, 3]
    assert solution.channel[k].tolist() == [0, 1]


def test_a_variable_equal_to_its_own_inverse_is_pinned() -> None:
    constraints, (a, b, c) = _allocate(2, 2, 1)
    constraints.inverse(a, b, "")
    constraints.equal(a[:1], b[:1], "")
    solution = constraints.solve()
    assert solution.site[:-1].tolist() == [-1, 0, -1, 0, 1]
    assert solution.pin_reason(a) == "its scale would have to equal its own inverse"
    assert solution.pin_reason(c) is None


def test_a_variable_inverse_to_no_channel_is_pinned() -> None:
    constraints, (a,) = _allocate(2)
    constraints.inverse(a, np.array([NO_CHANNEL, NO_CHANNEL]), "no channel")
    solution = constraints.solve()
    assert solution.site[a].tolist() == [-1, -1]
    assert solution.pin_reason(a) == "no channel"


def test_pins_reach_through_equal_and_inverse() -> None:
    constraints, (a, b, c, d) = _allocate(2, 2, 2, 2)
    constraints.equal(a, b, "")
    constraints.inverse(b, c, "")
    constraints.group(np.concatenate([a, d]))
    constraints.pin(a[:1], "an output")
    solution = constraints.solve()
    for variables in (a, b, c):
        assert (solution.site[variables] == -1).tolist() == [True, False]
        assert solution.pin_reason(variables) == "an output"
    assert solution.site[d].tolist() == solution.site[a[1:]].tolist() * 2


def test_pins_do_not_reach_through_groups() -> None:
    constraints, (a, b) = _allocate(2, 2)
    constraints.group(np.concatenate([a, b]))
    constraints.pin(a, "an output")
    solution = constraints.solve()
    assert _numbers(solution, b) == [(0, 0), (0, 1)]
    assert solution.site[a].tolist() == [-1, -1]


def test_pinned_variables_do_not_connect_a_site() -> None:
    constraints, (a, b, c) = _allocate(1, 1, 1)
    constraints.group(np.concatenate([a, b]))
    constraints.group(np.concatenate([b, c]))
    constraints.pin(b, "an output")
    solution = constraints.solve()
    assert _numbers(solution, np.concatenate([a, b, c])) == [(0, 0), (-1, -1), (1, 0)]


def test_the_first_reason_counts() -> None:
    constraints, (a, b) = _allocate(1, 1)
    constraints.equal(a, b, "")
    constraints.pin(b, "first")
    constraints.pin(a, "second")
    constraints.no_shift(a, "one")
    constraints.no_shift(b, "two")
    solution = constraints.solve()
    assert (solution.pin_reason(a), solution.no_shift_reason(b)) == ("first", "one")


def test_no_shift_reaches_through_equal_and_leaves_the_scale_free() -> None:
    constraints, (a, b, c) = _allocate(2, 2, 2)
    constraints.equal(a, b, "")
    constraints.no_shift(b[:1], "padding")
    solution = constraints.solve()
    assert solution.no_shift_reason(a) == solution.no_shift_reason(a[:1]) == "padding"
    assert solution.no_shift_reason(a[1:]) is solution.no_shift_reason(c) is None
    assert (solution.site[:-1] >= 0).all()


def test_no_shift_of_one_side_of_a_product_leaves_the_other_free() -> None:
    constraints, (q, k) = _allocate(1, 1)
    constraints.inverse(q, k, "")
    constraints.no_shift(q, "a rotation")
    solution = constraints.solve()
    assert (solution.no_shift_reason(q), solution.no_shift_reason(k)) == ("a rotation", None)


def test_an_inverse_edge_does_not_pin_invertible_variables() -> None:
    constraints, (a,) = _allocate(2, invertible=True)
    constraints.inverse_edge(a, "Relu reads it")
    assert (constraints.solve().site[a] >= 0).all()


def test_an_inverse_edge_pins_variables_that_are_not_invertible() -> None:
    constraints, (a, b) = _allocate(2, 2)
    constraints.inverse_edge(a[:1], "Relu reads it")
    solution = constraints.solve()
    assert (solution.site[:-1] >= 0).tolist() == [False, True, True, True]
    assert solution.pin_reason(a) == "Relu reads it"
    assert solution.pin_reason(b) is None


def test_one_variable_that_is_not_invertible_pins_all_that_are_equal() -> None:
    constraints = Constraints()
    norm, linear = constraints.allocate(2, invertible=True), constraints.allocate(2)
    constraints.equal(norm[:1], linear[:1], "")
    constraints.inverse_edge(norm, "Relu reads it")
    solution = constraints.solve()
    assert (solution.site[norm] >= 0).tolist() == [False, True]
    assert (solution.site[linear] >= 0).tolist() == [False, True]


def test_equal_alone_needs_no_inverse_edge() -> None:
    constraints = Constraints()
    norm, linear = constraints.allocate(1, invertible=True), constraints.allocate(1)
    constraints.equal(norm, linear, "")
    assert _numbers(constraints.solve(), np.concatenate([norm, linear])) == [(0, 0), (0, 0)]


def test_the_inverse_of_an_invertible_variable_need_not_be_invertible() -> None:
    constraints = Constraints()
    norm, linear = constraints.allocate(1, invertible=True), constraints.allocate(1)
    constraints.inverse(norm, linear, "")
    constraints.inverse_edge(norm, "Relu reads it")
    assert _numbers(constraints.solve(), np.concatenate([norm, linear])) == [(0, 1), (0, 0)]


def test_no_channel_is_in_no_site_and_has_no_reason() -> None:
    constraints, (a,) = _allocate(1)
    constraints.pin(np.array([NO_CHANNEL]), "no channel")
    constraints.inverse_edge(np.array([[NO_CHANNEL]]), "no channel")
    constraints.no_shift(np.array([NO_CHANNEL, 0]), "padding")
    solution = constraints.solve()
    assert (solution.site[NO_CHANNEL], solution.channel[NO_CHANNEL]) == (NO_CHANNEL, NO_CHANNEL)
    assert solution.pin_reason(np.array([NO_CHANNEL])) is None
    assert solution.no_shift_reason(np.array([NO_CHANNEL])) is None
    assert _numbers(solution, a) == [(0, 0)]


def test_variables_of_a_map() -> None:
    assert variables_of(np.array([[3, NO_CHANNEL], [NO_CHANNEL, 1]])).tolist() == [3, 1]


@pytest.mark.parametrize("seed", range(20))
def test_solutions_fulfil_all_constraints(seed: int) -> None:
    """Random constraints: free variables have d_a = d_b or d_a = 1 / d_b as required, whatever the sites' scales."""
    rng = np.random.default_rng(seed)
    constraints, (a,) = _allocate(30)
    pairs = rng.integers(0, 30, (12, 2))
    for index, (left, right) in enumerate(pairs):
        relate = constraints.equal if index % 3 else constraints.inverse
        relate(a[[left]], a[[right]], "")
    constraints.pin(a[:2], "an output")
    for start in range(0, 30, 5):
        constraints.group(a[start : start + 5])
    solution = constraints.solve()
    scales = [np.exp(rng.standard_normal(size)) for size in solution.sizes]
    both = [np.concatenate([scale, 1 / scale]) for scale in scales]
    d = np.array([both[site][channel] if site >= 0 else 1.0 for site, channel in _numbers(solution, a)])
    for index, (left, right) in enumerate(pairs):
        assert d[left] == pytest.approx(d[right] if index % 3 else 1 / d[right])
    assert (d[:2] == 1).all()
    for site, size in enumerate(solution.sizes):
        channels = solution.channel[:-1][solution.site[:-1] == site]
        assert set((channels % size).tolist()) == set(range(size))
    for start in range(0, 30, 5):
        group = solution.site[start : start + 5]
        assert len(set(group[group >= 0].tolist())) <= 1
