"""A day of a fleet as a report: every goal predicted, beside the cloud alone.

The verb `skerry plan` without a subcommand; its figures come from `plan.predict`.
"""

from collections.abc import Mapping, Sequence

from skerry.base.units import SECONDS_PER_HOUR
from skerry.plan.bill import Bill
from skerry.plan.predict import Prediction, meets
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.plan_report import Lines, PlanReport, Section, Stack, Table

SITES_DRAWN_MAX = 6


def day_report(
    fleet: Fleet, plan: Prediction, *, errors: Mapping[GoalName, float], took_s: float
) -> PlanReport:
    """Return a prediction as a report; figures keep the names that goals have."""
    return PlanReport(
        verb="day",
        question=f"What will a day of {fleet.name} be like?",
        lead=_lead(plan),
        figures={
            "fleet": fleet.name,
            "trace": plan.trace,
            "requests": plan.requests,
            "seeds": list(plan.seeds),
            "took_s": round(took_s, 3),
            "pue_ratio": plan.bill.pue_ratio,
            "cloud_only_pue_ratio": plan.cloud_bill.pue_ratio if plan.cloud_bill else None,
            "refused": plan.refused,
            "cost_lines": [
                {"name": line.name, "usd": line.usd, "level": line.level, "source": line.source}
                for line in plan.bill.lines
            ],
        },
        goals=plan.goals,
        prediction_error_ratio={name.value: error for name, error in errors.items()},
        sections=tuple(_sections(fleet, plan)),
        notes=plan.notes,
    )


def _lead(plan: Prediction) -> str:
    stated = [goal for goal in plan.goals if goal.goal is not None]
    met = sum(meets(goal.name, goal.goal, goal.predicted) is True for goal in stated)
    return (
        f"{met} of {len(stated)} stated goals are met over all {len(plan.seeds)} seeds;"
        f" {plan.requests} requests, replayed through the decisions that run in production"
    )


def _sections(fleet: Fleet, plan: Prediction) -> Sequence[Section]:
    limit = fleet.goals.get(GoalName.LATENCY_MS_P95)
    bills = [("this fleet", plan.bill)]
    if plan.cloud_bill is not None:
        bills.append(("cloud only", plan.cloud_bill))
    hour = plan.span_s / SECONDS_PER_HOUR
    busiest = sorted(plan.load, key=lambda name: -sum(plan.load[name]))[:SITES_DRAWN_MAX]
    sections = [
        Section(
            title="Latency",
            text="How long the answers took at most, for every share of them; the first seed.",
            blocks=(
                Lines(
                    title="Latency by percentile",
                    x_unit="percentile",
                    y_unit="ms",
                    series=tuple(
                        (name, points)
                        for name, points in (
                            ("this fleet", plan.latencies_ms),
                            ("cloud only", plan.cloud_latencies_ms),
                        )
                        if points
                    ),
                    limit=limit,
                ),
            ),
        ),
        Section(
            title="Cost of the span",
            text="From the prices that the fleet file states, whether requests come or not.",
            blocks=(_stack(bills), _energy(bills)),
        ),
        Section(
            title="Load",
            blocks=(
                Lines(
                    title="Use of the busiest sites' nodes",
                    x_unit="hours",
                    y_unit="%",
                    series=tuple(
                        (
                            name,
                            tuple(
                                ((step + 0.5) * hour / len(plan.load[name]), 100 * value)
                                for step, value in enumerate(plan.load[name])
                            ),
                        )
                        for name in busiest
                    ),
                ),
            ),
        ),
    ]
    if plan.refused:
        rows = tuple((reason, count) for reason, count in sorted(plan.refused.items()))
        table = Table(title="Requests refused, first seed", heads=("reason", "requests"), rows=rows)
        sections.append(Section(title="Refused", blocks=(table,)))
    return sections


def _stack(bills: Sequence[tuple[str, Bill]]) -> Stack:
    return Stack(
        title="Where the money goes",
        unit="USD",
        parts=tuple(line.name for line in bills[0][1].lines),
        rows=tuple((name, tuple(line.usd for line in bill.lines)) for name, bill in bills),
    )


def _energy(bills: Sequence[tuple[str, Bill]]) -> Table:
    return Table(
        title="Energy and carbon",
        heads=("", "energy, kWh", "machines alone, kWh", "PUE", "carbon, kg"),
        rows=tuple(
            (name, b.energy_wh / 1000, b.it_energy_wh / 1000, b.pue_ratio, b.carbon_g / 1000)
            for name, b in bills
        ),
    )
