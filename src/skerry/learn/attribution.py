"""Which players an answer is due to: Shapley values, exact or sampled, and occlusion.

A method is a generator that runs nothing itself: it yields coalitions and is sent what
the model answers for each, so the same mathematics serves a test, a batch and a busy
node. Sent None, it ends with what it has.

    steps = shapley(players=4, budget=200, rng=rng)
    values = next(steps)             # coalitions, (runs, players): True takes x, False the baseline
    values = steps.send(f(values))   # (runs,), until StopIteration(Attribution)

Shapley values share f(x) - f(baseline) among the players by their mean marginal
contribution over all orders: they sum to it, players that change nothing get 0, players
that do the same get the same. All coalitions are run where the budget allows it; else
orders are drawn, each with its reverse, whose errors tend to cancel.

Shapes:  coalitions (runs, players) of bool, answers (runs,) of float64.
Errors:  BudgetError, where the budget does not reach for the least that a method needs.
Source:  Castro, Gomez, Tejada: "Polynomial calculation of the Shapley value based on
         sampling", 2009; Mitchell et al.: "Sampling permutations for Shapley value
         estimation", JMLR 23, 2022, on antithetic orders.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.learn.errors import BudgetError

Coalitions = NDArray[np.bool_]
Values = NDArray[np.float64]
Steps = Generator[Coalitions, Values | None, "Attribution"]

EXACT_PLAYERS_MAX = 12
"""Up to here all coalitions (4,096) may be run, if the budget allows it."""
_TOP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What is due to whom. `values` is None where time ran out before there was anything.

    `standard_error` is per player, None where it is not known; 0 where all was counted.
    `top_kept` says how many of the three largest are the same in two halves of the orders.
    """

    base_value: float
    value: float
    values: Values | None
    standard_error: Values | None = None
    top_kept: int | None = None
    exact: bool = False
    stopped: bool = False

    @property
    def gap(self) -> float:
        """How far the shares are from summing to f(x) - f(baseline)."""
        shared = 0.0 if self.values is None else float(self.values.sum())
        return self.value - self.base_value - shared


def shapley(players: int, *, budget: int, rng: np.random.Generator) -> Steps:
    """Return Shapley values of at most `budget` runs, the two ends included."""
    ends = yield _ends(players)
    if ends is None:
        return _nothing()
    base_value, value = float(ends[0]), float(ends[1])
    if players <= 1:
        shares = np.full(players, value - base_value)
        return Attribution(
            base_value=base_value,
            value=value,
            values=shares,
            standard_error=np.zeros(players),
            exact=True,
        )
    if players <= EXACT_PLAYERS_MAX and 2**players <= budget:
        return (yield from _exact(players, base_value, value))
    return (yield from _sampled(players, base_value, value, budget, rng))


def occlusion(players: int, *, budget: int) -> Steps:
    """Return what is lost when each player alone is set to the baseline.

    One run per player. Shares of players that work together are counted more than once
    or not at all, so they need not sum to f(x) - f(baseline): the gap says how far off.
    """
    need = players + 2
    if budget < need:
        raise BudgetError("occlusion", budget, need, players)
    ends = yield _ends(players)
    if ends is None:
        return _nothing()
    base_value, value = float(ends[0]), float(ends[1])
    without = yield ~np.eye(players, dtype=np.bool_)
    return Attribution(
        base_value=base_value,
        value=value,
        values=None if without is None else value - without,
        stopped=without is None,
    )


def solve(steps: Steps, value_of: Callable[[Coalitions], Values]) -> Attribution:
    """Run a method to its end with a function that answers any number of coalitions."""
    coalitions = next(steps)
    while True:
        try:
            coalitions = steps.send(value_of(coalitions))
        except StopIteration as stop:
            found: Attribution = stop.value
            return found


def _ends(players: int) -> Coalitions:
    """Return nobody and everybody."""
    return np.repeat(np.array([[False], [True]]), players, axis=1)


def _nothing() -> Attribution:
    return Attribution(base_value=math.nan, value=math.nan, values=None, stopped=True)


def _exact(players: int, base_value: float, value: float) -> Steps:
    """Run every coalition: coalition number s holds player i where bit i of s is set."""
    numbers = np.arange(2**players)
    coalitions = (numbers[:, None] >> np.arange(players)) & 1 == 1
    found = yield coalitions[1:-1]
    if found is None:
        return Attribution(base_value=base_value, value=value, values=None, stopped=True)
    values = np.concatenate([[base_value], found, [value]])
    sizes = coalitions.sum(axis=1)
    weight = np.array([1 / (players * math.comb(players - 1, size)) for size in range(players)])
    shares = np.empty(players)
    for player in range(players):
        without = numbers[~coalitions[:, player]]
        gained = values[without | (1 << player)] - values[without]
        shares[player] = (weight[sizes[without]] * gained).sum()
    return Attribution(
        base_value=base_value,
        value=value,
        values=shares,
        standard_error=np.zeros(players),
        exact=True,
    )


def _sampled(
    players: int, base_value: float, value: float, budget: int, rng: np.random.Generator
) -> Steps:
    """Draw orders; each and its reverse give one estimate of every share."""
    runs = 2 * (players - 1)
    if budget < runs + 2:
        raise BudgetError("shapley", budget, runs + 2, players)
    estimates: list[Values] = []
    stopped = False
    for _ in range((budget - 2) // runs):
        order = rng.permutation(players)
        found = yield np.concatenate([_prefixes(order), _prefixes(order[::-1])])
        if found is None:
            stopped = True
            break
        there = _gains(order, found[: players - 1], base_value, value)
        back = _gains(order[::-1], found[players - 1 :], base_value, value)
        estimates.append((there + back) / 2)
    return _summed_up(estimates, base_value, value, stopped=stopped)


def _prefixes(order: NDArray[np.int64]) -> Coalitions:
    """Return the coalitions that an order passes through, both ends left out."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    joined: Coalitions = place[None, :] < np.arange(1, len(order))[:, None]
    return joined


def _gains(order: NDArray[np.int64], between: Values, base_value: float, value: float) -> Values:
    """Return what each player added when it joined."""
    gains = np.empty(len(order))
    gains[order] = np.diff(np.concatenate([[base_value], between, [value]]))
    return gains


def _summed_up(
    estimates: list[Values], base_value: float, value: float, *, stopped: bool
) -> Attribution:
    if not estimates:
        return Attribution(base_value=base_value, value=value, values=None, stopped=True)
    table = np.array(estimates)
    error = top_kept = None
    if len(table) > 1:
        error = table.std(axis=0, ddof=1) / math.sqrt(len(table))
        halves = (table[::2].mean(axis=0), table[1::2].mean(axis=0))
        first, second = (set(np.argsort(-np.abs(half))[:_TOP].tolist()) for half in halves)
        top_kept = len(first & second)
    return Attribution(
        base_value=base_value,
        value=value,
        values=table.mean(axis=0),
        standard_error=error,
        top_kept=top_kept,
        stopped=stopped,
    )
