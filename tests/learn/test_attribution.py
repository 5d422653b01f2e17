"""Attribution: the laws of Shapley values, held against brute force on small games."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skerry.learn.attribution import Attribution, occlusion, shapley, solve
from skerry.learn.attribution_players import players_of
from skerry.learn.errors import BudgetError

weights = st.lists(st.floats(-10, 10), min_size=1, max_size=30).map(np.array)


def shares(found: Attribution) -> NDArray[np.float64]:
    assert found.values is not None
    return found.values


def game(seed: int, players: int) -> NDArray[np.float64]:
    """A value for each coalition, the coalition's number being its bits."""
    return np.random.default_rng(seed).normal(size=2**players)


def value_in(table: NDArray[np.float64], coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
    return table[(coalitions * 2 ** np.arange(coalitions.shape[1])).sum(axis=1)]


def brute_force(table: NDArray[np.float64], players: int) -> NDArray[np.float64]:
    """The mean gain over every order, written from the definition."""
    found = np.zeros(players)
    for order in itertools.permutations(range(players)):
        number = 0
        for player in order:
            found[player] += table[number | 1 << player] - table[number]
            number |= 1 << player
    return found / math.factorial(players)


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_few_players_are_counted_out_as_the_definition_says(seed: int, players: int) -> None:
    table = game(seed, players)
    rng = np.random.default_rng(seed)
    found = solve(shapley(players, budget=64, rng=rng), lambda c: value_in(table, c))
    assert found.exact
    assert shares(found) == pytest.approx(brute_force(table, players), abs=1e-9)


@given(weights, st.integers(0, 2**32))
@settings(deadline=None)
def test_a_linear_game_is_exact_whatever_is_drawn(weight: NDArray[np.float64], seed: int) -> None:
    """One order and its reverse are enough: every order gives each player its weight."""
    rng, least = np.random.default_rng(seed), max(2, 2 * len(weight))
    found = solve(shapley(len(weight), budget=least, rng=rng), lambda c: c @ weight + 3.0)
    assert shares(found) == pytest.approx(weight, abs=1e-9)
    assert found.base_value == pytest.approx(3.0)


@given(st.integers(0, 2**32), st.integers(2, 10), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_shares_sum_to_what_is_shared_however_few_orders_were_drawn(
    seed: int, players: int, more: int
) -> None:
    table = game(seed, players)
    rng = np.random.default_rng(seed)
    steps = shapley(players, budget=2 * players + more, rng=rng)
    found = solve(steps, lambda c: value_in(table, c))
    assert found.gap == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_who_changes_nothing_gets_nothing_and_equals_get_the_same(seed: int) -> None:
    """Players 0 and 1 are alike, player 2 is a dummy, the rest do as they please."""
    small = game(seed, 4)

    def value_of(c: NDArray[np.bool_]) -> NDArray[np.float64]:
        return value_in(small, np.column_stack([c[:, 0] ^ c[:, 1], c[:, 0] & c[:, 1], c[:, 3:]]))

    rng = np.random.default_rng(seed)
    exact = shares(solve(shapley(5, budget=32, rng=rng), value_of))
    assert exact[0] == pytest.approx(exact[1], abs=1e-9)
    assert exact[2] == pytest.approx(0, abs=1e-12)
    drawn = shares(solve(shapley(5, budget=31, rng=rng), value_of))
    assert drawn[2] == pytest.approx(0, abs=1e-12)


def test_drawn_orders_come_near_the_truth_and_say_how_near() -> None:
    table = game(7, 8)
    rng = np.random.default_rng(1)
    truth = shares(solve(shapley(8, budget=256, rng=rng), lambda c: value_in(table, c)))
    misses = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = solve(shapley(8, budget=200, rng=rng), lambda c: value_in(table, c))
        assert not found.exact
        assert found.standard_error is not None
        misses.append((shares(found) - truth) / found.standard_error)
    spread = float(np.std(misses))
    assert 0.8 < spread < 1.4, "the standard error is off"


def test_the_same_seed_gives_the_same_shares() -> None:
    table = game(3, 9)
    twice = [
        solve(
            shapley(9, budget=100, rng=np.random.default_rng(5)), lambda c: value_in(table, c)
        ).values
        for _ in range(2)
    ]
    np.testing.assert_array_equal(twice[0], twice[1])


@pytest.mark.parametrize("budget", [20, 64, 65, 200])
def test_the_budget_is_never_passed(budget: int) -> None:
    runs = 0

    def value_of(c: NDArray[np.bool_]) -> NDArray[np.float64]:
        nonlocal runs
        runs += len(c)
        return c.sum(axis=1) * 1.0

    solve(shapley(10, budget=budget, rng=np.random.default_rng(0)), value_of)
    assert 20 <= runs <= budget


def test_a_budget_below_the_least_says_what_would_do() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(BudgetError, match="at least 600 for shapley of 300 features"):
        solve(shapley(300, budget=599, rng=rng), lambda c: c.sum(axis=1) * 1.0)
    with pytest.raises(BudgetError, match="at least 302 for occlusion"):
        solve(occlusion(300, budget=301), lambda c: c.sum(axis=1) * 1.0)


def test_out_of_time_it_ends_with_what_it_has() -> None:
    rng = np.random.default_rng(0)
    steps = shapley(20, budget=1000, rng=rng)
    first = steps.send(next(steps).sum(axis=1) * 1.0)
    steps.send(first.sum(axis=1) * 1.0)
    with pytest.raises(StopIteration) as stop:
        steps.send(None)
    found: Attribution = stop.value.value
    assert found.stopped
    assert shares(found) == pytest.approx(np.ones(20))
    assert found.standard_error is None, "one order says nothing of its error"

    steps = shapley(20, budget=1000, rng=rng)
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send(None)
    assert stop.value.value.values is None


def test_occlusion_counts_what_is_lost_without_each_and_says_the_gap() -> None:
    """max(a, b) = 1 for x = (1, 1): neither alone is missed, so the gap is all of it."""
    both = solve(occlusion(2, budget=4), lambda c: c.max(axis=1) * 1.0)
    assert shares(both).tolist() == [0.0, 0.0]
    assert both.gap == 1.0
    alone = solve(occlusion(3, budget=5), lambda c: c @ np.array([1.0, 2.0, 3.0]))
    assert shares(alone).tolist() == [1.0, 2.0, 3.0]
    assert alone.gap == 0.0


def test_elements_that_equal_the_baseline_play_no_part() -> None:
    row, baseline = np.array([1.0, 5.0, 3.0]), np.array([0.0, 5.0, 0.0])
    players = players_of([row], [baseline])
    assert players.count == 2
    assert players.of[0].tolist() == [0, -1, 1]
    (blended,) = players.blend(np.array([[True, False], [False, True]]), [row], [baseline])
    assert blended.tolist() == [[1.0, 5.0, 0.0], [0.0, 5.0, 3.0]]
    assert players.spread(np.array([0.5, 0.25]))[0].tolist() == [0.5, 0.0, 0.25]


@pytest.mark.parametrize("shape", [(3, 32, 40), (32, 40, 3), (32, 40), (1, 3, 32, 40)])
def test_an_image_is_cut_into_patches_with_all_channels_together(shape: tuple[int, ...]) -> None:
    players = players_of([np.ones(shape)], [np.zeros(shape)])
    assert players.grid
    assert players.count == 64
    assert set(np.bincount(players.of[0].reshape(-1))) == {int(np.prod(shape)) // 64}
    spread = players.spread(np.arange(64.0))[0]
    assert spread.shape == shape
    assert spread.sum() == pytest.approx(np.arange(64.0).sum(), rel=1e-5)


def test_a_long_row_is_cut_into_runs_of_neighbours() -> None:
    players = players_of([np.ones(2048)], [np.zeros(2048)])
    assert (players.count, players.grid) == (64, False)
    assert np.all(np.diff(players.of[0]) >= 0)


def test_players_are_numbered_across_inputs_and_nan_is_a_number_like_any() -> None:
    rows = [np.array([1.0, np.nan]), np.array([7])]
    players = players_of(rows, [np.array([0.0, np.nan]), np.array([0])])
    assert [of.tolist() for of in players.of] == [[0, -1], [1]]
