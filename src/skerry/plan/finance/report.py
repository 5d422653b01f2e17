"""The report of `skerry plan cost`: what each tier costs, how sure that is, what to choose.

Takes a fleet and a load; gives one `PlanReport`. A tier can be chosen where its answers
meet the latency goal; among those the one that costs least per 1,000 at the inputs'
values comes first. The cost goal it writes is the p90 of the fleet as it stands: a value
that holds in nine of ten draws.

Units:   every figure's key carries its own.
Errors:  NoLoadError; NothingToPlanError; those of the files read.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from skerry.base.errors import Exit
from skerry.base.units import MS_PER_SECOND, SECONDS_PER_DAY
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.assumptions import Assumptions
from skerry.plan.errors import PlanError
from skerry.plan.finance.bounds import check_bounds
from skerry.plan.finance.cash_flow import CashFlowError
from skerry.plan.finance.check import checks_of, corrected
from skerry.plan.finance.demand import demand_of
from skerry.plan.finance.figures import figures
from skerry.plan.finance.found import Found, Tell, found, one
from skerry.plan.finance.goals import goals_of
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.months import Months
from skerry.plan.finance.sections import sections
from skerry.plan.finance.terms import Terms
from skerry.plan.finance.tiers import FLEET, Case, case_of
from skerry.plan.from_run import run_notes
from skerry.plan.predict import prediction_errors
from skerry.plan.services import guessed, services_s
from skerry.plan.trace import Trace, story_trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.plan_report import Advice, PlanReport
from skerry.schema.run_figures import RunFigures

STORY_REQUESTS: Final = 20_000
BILL: Final = (
    "cost and energy are cash flows: PUE over load, spares, software, cost of capital; the short "
    "bill (straight line, stated PUE, no cost of capital): skerry plan, skerry plan compare"
)

_THOUSAND: Final = 1000


class NoLoadError(PlanError):
    """A cost plan that was not told how much is asked.

    A cost per request needs requests: a number, a trace, or months of both.
    """

    code = "E0912"
    exit_code = Exit.WRONG_USE

    def __str__(self) -> str:
        return "no load is given, so there is nothing to divide a cost by"

    @property
    def hint(self) -> str:
        """Name the ways to give one."""
        return "give --requests-per-month N, --trace FILE or --months FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is asked: a number or months; a trace gives the shape, alone also the size."""

    requests_per_month: float | None = None
    trace: Trace | None = None
    months: Months | None = None


def cost_report(
    fleet: Fleet,
    load: Load,
    inputs: Assumptions,
    *,
    terms: Terms,
    draws: int,
    seed: int,
    run: RunFigures | None = None,
    clock: Callable[[], float] = time.time,
    tell: Tell = lambda _share, _what: None,
) -> PlanReport:
    """Return the whole answer."""
    check_bounds(inputs)
    services = services_s(fleet, run.service_ms if run else None)
    if load.months is not None:
        inputs = inputs.with_row(load.months.cloud_price())
    case, shape = _case(fleet, load, services, terms, seed)
    checks = checks_of(case, shape, inputs, services_s=services, seed=seed)
    case = corrected(case, checks)
    errors: dict[str, float] = {}
    if run is not None:
        before = found(case, inputs, checks, draws=draws, seed=seed)
        predicted = goals_of(before, run, clock())
        errors = {
            name.value: error for name, error in prediction_errors(predicted, run.goals).items()
        }
        case = _measured(case, errors)
    facts = found(case, inputs, checks, draws=draws, seed=seed, months=load.months, tell=tell)
    return PlanReport(
        verb="cost",
        question=f"What does an answer of {fleet.name} cost, and on which tier does it cost least?",
        lead=_lead(facts),
        figures=figures(facts, checks),
        advice=_advice(
            facts,
            "no months were given to judge it on (--months)"
            if load.months is None
            else "one tier alone meets the latency goal, so there was nothing to choose",
        ),
        changes=_changes(facts),
        goals=goals_of(facts, run, clock()),
        prediction_error_ratio=errors,
        sections=sections(facts, checks),
        assumptions=facts.used,
        notes=_notes(facts, shape, checks, run),
    )


def _case(
    fleet: Fleet, load: Load, services: Mapping[str, float], terms: Terms, seed: int
) -> tuple[Case, Trace]:
    """Return the case, and the trace that gave the demand its shape."""
    wanted = load.requests_per_month
    if load.months is not None:
        wanted = load.months.requests_per_month()
    elif wanted is None and load.trace is None:
        raise NoLoadError
    if wanted is not None and not 0 < wanted < math.inf:
        raise CashFlowError("requests_per_month", wanted, "above 0")
    daily = STORY_REQUESTS if wanted is None else wanted * SECONDS_PER_DAY / SECONDS_PER_MONTH
    story = max(min(round(daily), STORY_REQUESTS), 1)
    shape = load.trace or story_trace(fleet, requests=story, seed=seed)
    demand = demand_of(shape, services_s=services, requests_per_month=wanted)
    target_s = fleet.goals.get(GoalName.LATENCY_MS_P95, math.inf) / MS_PER_SECOND
    return case_of(fleet, demand, target_s=target_s, terms=terms), shape


def _measured(case: Case, errors: Mapping[str, float]) -> Case:
    """Put a run's measured energy in place of the power curve's."""
    error = errors.get(GoalName.ENERGY_WH_PER_1K.value)
    return case if error is None else replace(case, energy_factor=1 / (1 + error))


def _lead(facts: Found) -> str:
    asked = f"at {facts.case.demand.requests_per_month:,.0f} requests a month"
    fleet = f"{FLEET} as it stands {_range(facts, FLEET)}"
    goal = "" if math.isinf(facts.case.target_s) else " of those that meet the latency goal"
    if not facts.choice.ranked:
        fits = facts.choice.fits_ms
        nearest = min(fits, key=fits.__getitem__) if fits else ""
        would = f" ({nearest} would meet one of {shown(fits[nearest])} ms)" if fits else ""
        return f"{asked} no tier alone meets the latency goal{would}; {fleet}"
    first = facts.choice.ranked[0]
    late = "".join(
        f"; {name} would cost {shown(facts.usd_per_1k[name][1])} but answers "
        f"{one(facts.base[name].in_time_ratio()):.1%} in time"
        for name in facts.choice.slower
        if facts.usd_per_1k[name][1] < facts.usd_per_1k[first][1]
    )
    return f"{asked} {first} alone costs least{goal}, {_range(facts, first)}{late}; {fleet}"


def _range(facts: Found, name: str) -> str:
    low, middle, high = (shown(value) for value in facts.usd_per_1k[name])
    if not math.isfinite(facts.usd_per_1k[name][1]):
        return "answers nothing in time, so no answer has a cost"
    return f"{middle} USD per 1,000 in time (p10 {low}, p90 {high})"


def _advice(facts: Found, why_none: str) -> tuple[Advice, ...]:
    if not facts.choice.ranked:
        return ()
    first, *able = facts.choice.ranked
    others = [*facts.choice.slower, *able]
    cost = facts.base[first]
    reason = (
        f"{shown(facts.usd_per_1k[first][1])} USD per 1,000 in time, "
        f"{100 * one(cost.in_time_ratio()):.4g} % of answers in time; of the tiers that meet "
        f"the goal the cheapest in {100 * facts.choice.first_is_cheapest_ratio:.3g} % of draws"
    )
    if not able:
        reason += "; no other tier alone meets the latency goal"
        if not facts.choice.slower:
            reason += ", nor does a looser goal turn the choice"
    return (
        Advice(
            choice=first,
            reason=reason,
            runner_up=others[0] if others else "",
            flip=_flip(facts),
            regret=facts.choice.regret,
            no_regret="" if facts.choice.regret else why_none,
        ),
    )


def _flip(facts: Found) -> str:
    """Say what would turn the choice round: a looser goal, another load, one input."""
    if facts.choice.slower:
        limit_ms = facts.choice.fits_ms[facts.choice.slower[0]]
        return f"the goal latency_p95 is {shown(limit_ms)} ms or more"
    ways = []
    load = facts.choice.flip_requests
    if load is not None:
        way = "rise to" if load > facts.case.demand.requests_per_month else "fall to"
        ways.append(f"requests {way} {shown(load)} a month")
    if facts.choice.flip_input is not None:
        name, value = facts.choice.flip_input
        row = next(row for row in facts.used if row.name == name)
        way = "rises to" if value > row.value else "falls to"
        ways.append(f"{name} {way} {shown(value)} (now {shown(row.value)})")
    if not ways and len(facts.choice.ranked) > 1:  # no load and no input inside its range does
        first, second = (
            one(facts.base[name].usd_per_1k(facts.rate_per_year))
            for name in facts.choice.ranked[:2]
        )
        ways.append(f"{facts.choice.ranked[0]} costs {shown(second / first)} times what is planned")
    return ", or ".join(ways)


def _changes(facts: Found) -> dict[str, str]:
    high = facts.usd_per_1k[FLEET][2]
    return {"goals.cost_per_1k": f"{_digits(high)} USD"} if math.isfinite(high) else {}


def _notes(
    facts: Found, shape: Trace, checks: Mapping[str, Check], run: RunFigures | None
) -> tuple[str, ...]:
    case = facts.case
    notes = [f"shape of the day: {shape.source}", BILL]
    if not checks and math.isfinite(case.target_s):
        notes.append("answers in time are by formula: no trace of this very load was replayed")
    if math.isinf(case.target_s):
        notes.append("the fleet file has no goal latency_p95, so every answer counts as in time")
    if facts.against.cloud is None:
        notes.append("the fleet has no rented cloud tier, so there is no break-even and no NPV")
    notes.extend(
        f"a site of {name} would draw {one(cost.work.feed_used_ratio):.0%} of its feed at full "
        "load, so it cannot serve this much"
        for name, cost in facts.base.items()
        if name in case.alone and one(cost.work.feed_used_ratio) > 1
    )
    notes.extend(
        f"no service time is known for {model}; the router's own guess stands in"
        for model in guessed(case.fleet, run.service_ms if run else None)
    )
    notes.extend(run_notes(run, case.fleet))
    asked = case.demand.requests_per_month
    notes.extend(
        f"{name} reaches {places.demand.requests_per_month / asked:.0%} of the requests"
        for name, places in case.alone.items()
        if places.demand.requests_per_month < asked * (1 - 1e-9)
    )
    return tuple(notes)


def shown(value: float) -> str:
    """Write a number for people, to three digits that matter: `795,000`, `0.247`."""
    if not math.isfinite(value):
        return "-"
    text = _digits(value)
    return f"{float(text):,.0f}" if abs(value) >= _THOUSAND else text


def _digits(value: float) -> str:
    """Write a number to three digits that matter, as a file takes it: never an exponent."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")
