"""Is it worth it for me? From one log, trace or bill to yes, no or unknown.

Own sites are worth it where they cost less than the cloud in at least 95 % of draws of all
inputs over their ranges, and not worth it where they cost more in 95 %; between the two
the answer is *unknown*, and what to measure next is said. Money alone decides; latency,
residency and outages are other questions (`skerry plan compare`, `skerry plan place`).

Units:   USD a month; ratios; months.
Limits:  a request costs what the mean one costs; one machine type per kind of work.
"""

import csv
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.energy.carbon import REQUESTS_PER_1K
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.demand import Demand, demand_of, halves_of
from skerry.plan.predict import prediction_errors
from skerry.plan.regret import regret
from skerry.plan.usage import Usage, read_usage
from skerry.plan.worth_costs import Costs, Inputs, costs
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Advice, Answer, PlanReport
from skerry.schema.run_figures import RunFigures

Series = NDArray[np.float64]
TABLE: Final = "worth"
OWN, CLOUD = "own sites", "the cloud"
DRAWS: Final = 4000
SCAN_DRAWS: Final = 120
LOADS: Final = np.geomspace(1e-3, 1e5, 161)
"""Multiples of today's load among which the break-even is looked for."""
LOW, HIGH = 5, 95
SHARE: Final = (HIGH - LOW) / 100
NOT_SWUNG: Final = frozenset({"usd_per_bill_unit"})


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The median over draws, and the range that holds 90 % of them."""

    value: float
    low: float
    high: float


class Swing(msgspec.Struct, frozen=True, kw_only=True):
    """What one input moves the monthly saving to, over its range, the others at their values."""

    name: str
    low: float
    high: float
    unit: str
    saving_usd_at_low: float
    saving_usd_at_high: float
    swing_usd_per_month: float
    measure: str


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
    drawn = costs(demand, _draws(rows, DRAWS, seed))
    values = costs(demand, _columns(rows, {}))
    saving = drawn.saving_usd
    low, high = _percentiles(saving)
    answer = Answer.YES if low > 0 else Answer.NO if high < 0 else Answer.UNKNOWN
    scale = _columns(rows, {"traffic_ratio": table["traffic_ratio"] * LOADS})
    scaled = costs(demand, scale)
    rates = np.array([0.0, 0.05, 0.10])
    dear = costs(demand, _columns(rows, {"cost_of_capital_ratio": rates}))
    return Weighed(
        usage=usage,
        demand=demand,
        values=values,
        answer=answer,
        cloud_usd=_spread(drawn.cloud_usd),
        own_usd=_spread(drawn.own_usd),
        saving_usd=_spread(saving),
        chance=float((saving > 0).mean()),
        break_even_cloud_usd=_spread(drawn.own_alone_usd / (1 - drawn.kept_ratio)),
        break_even_load=_break_even(demand, rows, scaled, seed),
        swings=_swings(demand, rows),
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
    from skerry.plan.worth_report import report

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
        table = _measured(table, run)
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


def _columns(rows: Mapping[str, Assumption], changed: Mapping[str, Series]) -> Inputs:
    """Return the inputs at their values, with some of them as a column of other values."""
    count = max((len(one) for one in changed.values()), default=1)
    return {
        name: np.reshape(changed.get(name, np.full(count, row.value)), (-1, 1))
        for name, row in rows.items()
    }


def _draws(rows: Mapping[str, Assumption], count: int, seed: int) -> Inputs:
    """Draw every input between its ends; half of the draws lie on each side of its value."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, row in rows.items():
        uniform = rng.random((count, 1))  # drawn always, so that one fixed input moves no other
        below = row.low + (row.value - row.low) * np.sqrt(np.minimum(2 * uniform, 1))
        above = row.high - (row.high - row.value) * np.sqrt(np.minimum(2 - 2 * uniform, 1))
        found[name] = np.where(uniform < 0.5, below, above)
    return found


def _percentiles(values: Series) -> tuple[float, float]:
    low, high = np.percentile(values, [LOW, HIGH])
    return float(low), float(high)


def _spread(drawn: Series) -> Spread:
    low, high = _percentiles(drawn)
    return Spread(value=float(np.median(drawn)), low=low, high=high)


def _triples(at: Series, found: Costs) -> tuple[tuple[float, float, float], ...]:
    rows = zip(at.tolist(), found.cloud_usd.tolist(), found.own_usd.tolist(), strict=True)
    return tuple(rows)


def _break_even(
    demand: Demand, rows: Mapping[str, Assumption], scaled: Costs, seed: int
) -> Spread | None:
    """Return the load, over today's, from which own sites cost less; None where there is none.

    The value is at the inputs' values; its range is over draws, and one without a break-even
    counts as the end that it lies beyond.
    """
    found = _crossing(scaled.saving_usd)
    if found is None:
        return None
    drawn = _draws(rows, SCAN_DRAWS, seed)
    repeated = {name: np.repeat(one, len(LOADS), axis=0) for name, one in drawn.items()}
    repeated["traffic_ratio"] = repeated["traffic_ratio"] * np.tile(LOADS, SCAN_DRAWS)[:, None]
    savings = costs(demand, repeated).saving_usd.reshape(SCAN_DRAWS, len(LOADS))
    loads = [_crossing(one) or float(LOADS[0 if one[-1] > 0 else -1]) for one in savings]
    low, high = _percentiles(np.array(loads))
    return Spread(value=found, low=min(low, found), high=max(high, found))


def _crossing(saving: Series) -> float | None:
    """Return the load above which the saving stays positive; None where it never does, or always.

    Machines come in whole numbers, so savings jump; the last crossing is the safe one.
    """
    if saving[-1] <= 0 or (saving > 0).all():
        return None
    last = int(np.flatnonzero(saving <= 0)[-1])
    low, high = saving[last], saving[last + 1]
    share = -low / (high - low)
    return float(LOADS[last] * (LOADS[last + 1] / LOADS[last]) ** share)


def _swings(demand: Demand, rows: Mapping[str, Assumption]) -> tuple[Swing, ...]:
    """Return what each input moves the saving by, widest first."""
    names = [name for name, row in rows.items() if row.high > row.low and name not in NOT_SWUNG]
    if not names:
        return ()
    count = 2 * len(names)
    inputs = {name: np.full((count, 1), row.value) for name, row in rows.items()}
    for place, name in enumerate(names):
        inputs[name][2 * place, 0] = rows[name].low
        inputs[name][2 * place + 1, 0] = rows[name].high
    saving = costs(demand, inputs).saving_usd.reshape(-1, 2).tolist()
    found = [
        Swing(
            name=name,
            low=rows[name].low,
            high=rows[name].high,
            unit=rows[name].unit,
            saving_usd_at_low=low,
            saving_usd_at_high=high,
            swing_usd_per_month=abs(high - low),
            measure=how_to_measure()[name],
        )
        for name, (low, high) in zip(names, saving, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: -one.swing_usd_per_month))


@cache
def how_to_measure() -> dict[str, str]:
    """Return for each input how one finds its value, in a sentence."""
    text = files("skerry.plan").joinpath("tables", "worth_measure.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["name"]: row["how"] for row in rows}


def _advice(found: Weighed, table: Assumptions) -> Advice:
    """Choose the cheaper way at the inputs' values, and judge the choice on the second half."""
    choice, other = (OWN, CLOUD) if found.values.saving_usd[0] > 0 else (CLOUD, OWN)
    halves = halves_of(found.usage)
    judged, why = None, "the file is too short to be cut into a part seen and a part unseen"
    if halves is not None:
        seen, unseen, words = halves
        inputs = _columns({name: table.row(name) for name in table}, {})
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
    inputs = _draws(rows, DRAWS, seed)
    drawn = costs(found.demand, inputs)
    thousands = rate * SECONDS_PER_MONTH * inputs["traffic_ratio"][:, 0] / REQUESTS_PER_1K

    def figure(draws: Series) -> Figure:
        spread = _spread(draws / thousands)
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
