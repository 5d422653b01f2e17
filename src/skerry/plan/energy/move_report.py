"""The report of `skerry plan move`: staying, one good choice, and moving every hour."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.energy.move import (
    Matrix,
    MoveCosts,
    MoveError,
    Outcome,
    along,
    at_home,
    fixed_path,
    followed_path,
    hourly_path,
)
from skerry.plan.energy.signals import Series, Signal
from skerry.plan.regret import regret
from skerry.schema.plan_report import Advice, Answer, Bars, PlanReport, Section, Table

G_PER_KG: Final = 1000
MOVING: Final = "moving every hour"
HOURS_MIN: Final = 14 * 24
"""A signal shorter than two weeks is no basis for a choice and its judgement."""


def move_report(
    signal: Signal,
    zones: Sequence[str],
    inputs: Assumptions,
    *,
    load_kw: float,
    traffic_gb_per_h: float,
    threshold: float,
    forecasts: Mapping[str, Series] | None = None,
    forecast_text: str = "perfect",
) -> PlanReport:
    """Compare the ways of placing one load per zone in a group of zones."""
    if len(zones) < 2 or len(set(zones)) < len(zones):
        raise MoveError(zones, "one zone alone" if len(zones) < 2 else "a zone comes twice")
    costs = MoveCosts(
        load_kw=load_kw,
        state_gb=inputs["move_state_gb"],
        traffic_gb_per_h=traffic_gb_per_h,
        network_kwh_per_gb=inputs["network_kwh_per_gb"],
        egress_usd_per_gb=inputs["egress_usd_per_gb"],
    )
    actual = np.array([signal.factor[zone] for zone in zones])
    seen = actual if forecasts is None else np.array([forecasts[zone] for zone in zones])
    means = actual.mean(axis=1)
    best = int(means.argmin())
    home = at_home(actual, costs)
    fixed = along(f"fixed in {zones[best]}", fixed_path(best, signal.hours), actual, costs)
    hourly = along("hourly, at any cost", hourly_path(seen), actual, costs)
    followed = along("hourly, where it pays", followed_path(seen, costs), actual, costs)
    added = _net(followed, home) - _net(fixed, home)
    worth = _net(fixed, home) >= threshold or _net(followed, home) >= threshold
    usd_per_kg = _usd_per_kg(fixed, followed)
    price = "" if usd_per_kg is None else f", at {usd_per_kg:.3g} USD of egress per kg"
    extra = (
        f"hourly moves add {100 * added:.2f} points after their own cost{price}"
        if added >= threshold
        else f"no gain from hourly moves: {100 * added:+.2f} points after their own cost"
    )
    lead = (
        f"one fixed choice, {zones[best]}, emits {_net(fixed, home):.2%} less than staying at home "
        f"({home.compute_g / actual.size / load_kw:.4g} g/kWh); {extra}"
        if worth
        else f"no gain: the best fixed choice, {zones[best]}, would save {_net(fixed, home):.2%} "
        f"of {home.compute_g / actual.size / load_kw:.4g} g/kWh, less than {threshold:.2%}; {extra}"
    )
    outcomes = (home, fixed, hourly, followed)
    return PlanReport(
        verb="move",
        question=f"Is it worth moving loads between {', '.join(zones)}?",
        lead=lead,
        answer=Answer.YES if worth else Answer.NO,
        figures=_figures(zones, means, best, outcomes, load_kw, threshold, forecast_text),
        advice=(_advice(signal, zones, actual, costs),),
        sections=(
            Section(
                title="Staying, choosing once, moving every hour",
                text=f"{signal.path}, {signal.span()}; {load_kw:g} kW at home in each zone.",
                blocks=(_table(outcomes), _bars(outcomes)),
            ),
            Section(title="The zones", blocks=(_zones(zones, actual),)),
        ),
        assumptions=inputs.used(),
        notes=(
            "average intensity of the grid; what a moved load changes at the margin can differ",
            f"hourly choices made on a {forecast_text} forecast, paid at the actual values",
            "latency and residency may forbid a move; plan place and plan site judge that",
        ),
    )


def _net(one: Outcome, home: Outcome) -> float:
    """Return the share saved with the network's own emissions taken off."""
    return 1 - one.total_g / home.total_g if home.total_g else 0.0


def _usd_per_kg(fixed: Outcome, followed: Outcome) -> float | None:
    """Return the egress price of what hourly moves save over the fixed choice."""
    saved_kg = (fixed.total_g - followed.total_g) / G_PER_KG
    return (followed.egress_usd - fixed.egress_usd) / saved_kg if saved_kg > 0 else None


def _gross(one: Outcome, home: Outcome) -> float:
    return 1 - one.compute_g / home.compute_g if home.compute_g else 0.0


def _figures(
    zones: Sequence[str],
    means: Series,
    best: int,
    outcomes: tuple[Outcome, Outcome, Outcome, Outcome],
    load_kw: float,
    threshold: float,
    forecast_text: str,
) -> dict[str, object]:
    home, fixed, hourly, followed = outcomes
    return {
        "zones": list(zones),
        "origin_g_per_kwh": float(means.mean()),
        "fixed_zone": zones[best],
        "fixed_g_per_kwh": float(means[best]),
        "fixed_saving_ratio": _gross(fixed, home),
        "hourly_saving_ratio": _gross(hourly, home),
        "fixed_net_saving_ratio": _net(fixed, home),
        "hourly_net_saving_ratio": _net(hourly, home),
        "followed_net_saving_ratio": _net(followed, home),
        "hourly_moves": hourly.moves,
        "followed_moves": followed.moves,
        "fixed_network_kg": fixed.network_g / G_PER_KG,
        "hourly_network_kg": hourly.network_g / G_PER_KG,
        "followed_network_kg": followed.network_g / G_PER_KG,
        "fixed_egress_usd": fixed.egress_usd,
        "hourly_egress_usd": hourly.egress_usd,
        "followed_egress_usd": followed.egress_usd,
        "followed_usd_per_kg": _usd_per_kg(fixed, followed),
        "hourly_no_gain": _net(followed, home) - _net(fixed, home) < threshold,
        "load_kw_per_zone": load_kw,
        "threshold_ratio": threshold,
        "forecast": forecast_text,
    }


def _table(outcomes: Sequence[Outcome]) -> Table:
    home = outcomes[0]
    return Table(
        title="Emissions of all loads",
        heads=(
            "how",
            "kg CO2e",
            "of it network",
            "saved % before moving's cost",
            "saved %",
            "moves",
            "egress USD",
        ),
        rows=tuple(
            (
                one.name,
                one.total_g / G_PER_KG,
                one.network_g / G_PER_KG,
                100 * _gross(one, home),
                100 * _net(one, home),
                one.moves,
                one.egress_usd,
            )
            for one in outcomes
        ),
    )


def _bars(outcomes: Sequence[Outcome]) -> Bars:
    return Bars(
        title="Emissions of all loads, CO2e",
        unit="kg",
        rows=tuple(
            (name, one.total_g / G_PER_KG)
            for name, one in zip(
                ("at home", "fixed", "hourly", "where it pays"), outcomes, strict=True
            )
        ),
    )


def _zones(zones: Sequence[str], actual: Matrix) -> Table:
    cleanest = np.bincount(actual.argmin(axis=0), minlength=len(zones)) / actual.shape[1]
    order = np.argsort(actual.mean(axis=1))
    return Table(
        title="Zones, cleanest first",
        heads=("zone", "mean g/kWh", "least", "most", "cleanest % of hours"),
        rows=tuple(
            (
                zones[at],
                float(actual[at].mean()),
                float(actual[at].min()),
                float(actual[at].max()),
                100 * float(cleanest[at]),
            )
            for at in order.tolist()
        ),
    )


def _advice(signal: Signal, zones: Sequence[str], actual: Matrix, costs: MoveCosts) -> Advice:
    """Choose one zone on the first half of the hours, judge it on the second."""
    half = signal.hours // 2
    means = {zone: float(actual[at].mean()) for at, zone in enumerate(zones)}
    if signal.hours < HOURS_MIN:
        choice, runner_up = sorted(means, key=means.__getitem__)[:2]
        return Advice(
            choice=f"{choice} for every load",
            reason=f"its mean is {means[choice]:.4g} g/kWh, the least of the group",
            runner_up=runner_up,
            flip=f"{choice} becomes {means[runner_up] - means[choice]:.4g} g/kWh dirtier",
            no_regret=f"the signal has {signal.hours} hours, fewer than {HOURS_MIN}",
        )

    def costs_of(first: int, last: int) -> dict[str, float]:
        part = actual[:, first:last]
        fixed = {
            zone: along(zone, fixed_path(at, part.shape[1]), part, costs).total_g
            for at, zone in enumerate(zones)
        }
        follow = along("follow", followed_path(part, costs), part, costs).total_g
        size = part.size * costs.load_kw
        return {name: grams / size for name, grams in {**fixed, MOVING: follow}.items()}

    before, after = costs_of(0, half), costs_of(half, signal.hours)
    judged = regret(
        {name: cost for name, cost in before.items() if name != MOVING},
        {name: cost for name, cost in after.items() if name != MOVING},
        unit="g/kWh",
        on=f"{signal.span(half)} of {signal.path}",
    )
    first, second = _ranked(before)
    return Advice(
        choice=f"{judged.chosen} for every load",
        reason=(
            f"the least of the first half, {before[first]:.4g} g/kWh with the move's own energy; "
            f"on the second half moving every hour would have reached "
            f"{after[MOVING]:.4g} where this choice came to {after[first]:.4g}"
        ),
        runner_up=second,
        flip=f"its mean rises by {before[second] - before[first]:.4g} g/kWh against {second}",
        regret=judged,
    )


def _ranked(costs: Mapping[str, float]) -> tuple[str, str]:
    """Return the best and the second best of the fixed choices."""
    first, second = sorted((c for c in costs if c != MOVING), key=costs.__getitem__)[:2]
    return first, second
