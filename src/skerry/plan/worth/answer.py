"""Is it worth it for me? From one log, trace or bill to yes, no or unknown.

Own sites are worth it where they cost less than the cloud in at least 95 % of draws of all
inputs over their ranges, and not worth it where they cost more in 95 %; between the two
the answer is *unknown*, and what to measure next is said. Money alone decides; latency,
residency and outages are other questions (`skerry plan compare`, `skerry plan place`).

Units:   USD a month; ratios; months.
Limits:  a request costs what the mean one costs; one machine type per kind of work.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.energy.carbon import REQUESTS_PER_1K
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.predict import prediction_errors
from skerry.plan.regret import regret
from skerry.plan.worth.costs import Costs, costs
from skerry.plan.worth.demand import Demand, demand_of, halves_of
from skerry.plan.worth.ranges import (
    LOADS,
    SHARE,
    Spread,
    Swing,
    break_even_load,
    drawn_inputs,
    input_columns,
    percentiles,
    spread_of,
    swings_of,
)
from skerry.plan.worth.usage import Usage, read_usage, without_durations
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Advice, Answer, PlanReport
from skerry.schema.run_figures import RunFigures

Series = NDArray[np.float64]
TABLE: Final = "worth"
OWN, CLOUD = "own sites", "the cloud"
DRAWS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighed:
    """Everything that was found out."""

    usage: Usage
    demand: Demand
    values: Costs
    """At the inputs' values: one draw."""
    answer: Answer
    cloud_usd: Spread
    own_usd: Spread
    saving_usd: Spread
    chance: float
    """Share of draws in which own sites cost less."""
    break_even_cloud_usd: Spread
    """What the cloud has to cost a month, for today's load, before own sites cost less."""
    break_even_load: Spread | None
    swings: tuple[Swing, ...]
    by_load: tuple[tuple[float, float, float], ...]
    """Load ratio, cloud and own USD a month."""
    by_rate: tuple[tuple[float, float, float], ...]
    """Cost of capital, cloud and own USD a month."""


def weigh(usage: Usage, table: Assumptions, *, seed: int) -> Weighed:
    """Compare both ways; `table` holds every input's value and range."""
    demand = demand_of(usage)
    rows = {name: table.row(name) for name in table}
    drawn = costs(demand, drawn_inputs(rows, DRAWS, seed))
    values = costs(demand, input_columns(rows, {}))
    saving = drawn.saving_usd
    low, high = percentiles(saving)
    answer = Answer.YES if low > 0 else Answer.NO if high < 0 else Answer.UNKNOWN
    scale = input_columns(rows, {"traffic_ratio": table["traffic_ratio"] * LOADS})
    scaled = costs(demand, scale)
    rates = np.array([0.0, 0.05, 0.10])
    dear = costs(demand, input_columns(rows, {"cost_of_capital_ratio": rates}))
    return Weighed(
        usage=usage,
        demand=demand,
        values=values,
        answer=answer,
        cloud_usd=spread_of(drawn.cloud_usd),
        own_usd=spread_of(drawn.own_usd),
        saving_usd=spread_of(saving),
        chance=float((saving > 0).mean()),
        break_even_cloud_usd=spread_of(drawn.own_alone_usd / (1 - drawn.kept_ratio)),
        break_even_load=break_even_load(demand, rows, scaled, seed),
        swings=swings_of(demand, rows),
        by_load=_triples(LOADS, scaled),
        by_rate=_triples(rates, dear),
    )


def worth(
    path: Path,
    *,
    assume_path: Path | None = None,
    settings: tuple[str, ...] = (),
    run: RunFigures | None = None,
    took_unit: str = "",
    path_prefix: str = "",
    seed: int = 7,
    clock: Callable[[], float] = time.time,
    tell: Callable[[float, str], None] | None = None,
) -> PlanReport:
    """Answer for one file; a run's measurements replace the service time and are compared."""
    from skerry.plan.worth.report import report

    table = assumptions(TABLE, path=assume_path, settings=settings)
    told = any(one.partition("=")[0].strip() == "usd_per_bill_unit" for one in settings)
    usage = read_usage(
        path,
        took_unit=took_unit,
        path_prefix=path_prefix,
        usd_per_unit=table["usd_per_bill_unit"] if told else None,
        tell=tell,
    )
    if run is not None and run.service_ms:
        table, usage = _measured(table, run), without_durations(usage)
    found = weigh(usage, table, seed=seed)
    goals = _goals(found, table, seed, clock())
    errors = prediction_errors(goals, run.goals) if run else {}
    return report(
        found,
        goals=goals,
        advice=_advice(found, table),
        errors={name.value: error for name, error in errors.items()},
        used=_used(found, table),
    )


def _used(found: Weighed, table: Assumptions) -> tuple[Assumption, ...]:
    """Return the inputs that bear on this file's answer, widest swing first."""
    return tuple(table.row(one.name) for one in found.swings if one.swing_usd_per_month > 0)


def _measured(table: Assumptions, run: RunFigures) -> Assumptions:
    """Put a run's service times in place of the table's: the mean, and the range over models."""
    times = list(run.service_ms.values())
    rows = {name: table.row(name) for name in table}
    rows["service_ms"] = msgspec.structs.replace(
        rows["service_ms"],
        value=sum(times) / len(times),
        low=min(times),
        high=max(times),
        level=Level.MEASURED,
        source="--from-run",
    )
    return Assumptions(rows.values())


def _triples(at: Series, found: Costs) -> tuple[tuple[float, float, float], ...]:
    rows = zip(at.tolist(), found.cloud_usd.tolist(), found.own_usd.tolist(), strict=True)
    return tuple(rows)


def _advice(found: Weighed, table: Assumptions) -> Advice:
    """Choose the cheaper way at the inputs' values, and judge the choice on the second half."""
    choice, other = (OWN, CLOUD) if found.values.saving_usd[0] > 0 else (CLOUD, OWN)
    halves = halves_of(found.usage)
    judged, why = None, "the file is too short to be cut into a part seen and a part unseen"
    if halves is not None:
        seen, unseen, words = halves
        inputs = input_columns({name: table.row(name) for name in table}, {})
        judged = regret(
            _both(costs(seen, inputs)), _both(costs(unseen, inputs)), unit="USD a month", on=words
        )
        why = ""
    return Advice(
        choice=choice,
        reason=f"{found.chance:.0%} of draws find own sites cheaper",
        runner_up=other,
        flip=_flip(found, choice),
        regret=judged,
        no_regret=why,
    )


def _both(found: Costs) -> dict[str, float]:
    return {CLOUD: float(found.cloud_usd[0]), OWN: float(found.own_usd[0])}


def _flip(found: Weighed, choice: str) -> str:
    """Name the load, the cloud's cost or the one input at which the other way wins."""
    if found.break_even_load is not None:
        word = "falls below" if choice == OWN else "grows beyond"
        return f"the load {word} {times_text(found.break_even_load.value)} times today's"
    if choice == CLOUD:
        usd = float(found.values.own_alone_usd[0] / (1 - found.values.kept_ratio[0]))
        return f"the cloud costs more than {usd:,.0f} USD a month for the same load"
    for one in found.swings:
        for end, saving in ((one.low, one.saving_usd_at_low), (one.high, one.saving_usd_at_high)):
            if (saving > 0) != (choice == OWN):
                return f"{one.name} is {end:g} {one.unit}"
    return ""


def times_text(ratio: float) -> str:
    """Write a multiple to three digits, a large one in full."""
    return f"{ratio:,.0f}" if ratio >= 1000 else f"{ratio:.3g}"


def _goals(found: Weighed, table: Assumptions, seed: int, now_s: float) -> tuple[GoalRecord, ...]:
    """Return cost and energy per 1,000 requests; none where no request was counted."""
    rate = found.demand.requests_per_s
    if math.isnan(rate):
        return ()
    rows = {name: table.row(name) for name in table}
    inputs = drawn_inputs(rows, DRAWS, seed)
    drawn = costs(found.demand, inputs)
    thousands = rate * SECONDS_PER_MONTH * inputs["traffic_ratio"][:, 0] / REQUESTS_PER_1K

    def figure(draws: Series) -> Figure:
        spread = spread_of(draws / thousands)
        return Figure(
            value=spread.value,
            low=spread.low,
            high=spread.high,
            level=Level.ESTIMATE,
            source=f"{len(draws)} draws over the inputs' ranges",
            at_unix_s=now_s,
            confidence=SHARE,
            samples=len(found.usage.requests) if found.usage.requests else None,
        )

    return (
        GoalRecord(
            name=GoalName.COST_USD_PER_1K,
            goal=None,
            predicted=figure(drawn.own_usd),
            baseline=figure(drawn.cloud_usd),
            reason="predicted, not measured",
        ),
        GoalRecord(
            name=GoalName.ENERGY_WH_PER_1K,
            goal=None,
            predicted=figure(drawn.own_energy_wh),
            reason="predicted, not measured",
        ),
    )
