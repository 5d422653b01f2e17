"""From files to a report: what `skerry plan capacity` reads for each kind of question."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.batching import read_curve
from skerry.plan.capacity_batch import Batching, batch_report
from skerry.plan.capacity_errors import CapacityError
from skerry.plan.capacity_more import Wishes
from skerry.plan.capacity_report import capacity_report
from skerry.plan.capacity_target import Target
from skerry.plan.capacity_tiers import read_tiers, tier_of, tiers_report
from skerry.plan.capacity_trace import Source, named, read_arrivals, read_work
from skerry.plan.columns import Number
from skerry.plan.expression import Expression
from skerry.schema.plan_report import PlanReport

STEPS_MAX = 1e7


def ask_queue(
    source: Source,
    service: Expression,
    targets: Sequence[Target],
    servers: range | None,
    inputs: Assumptions,
    wishes: Wishes,
    tell: Callable[[float], None],
) -> PlanReport:
    """Return the report for one plain queue."""
    work, _ = read_work(source, service)
    return capacity_report(work, targets, servers=servers, inputs=inputs, wishes=wishes, tell=tell)


def ask_batch(
    source: Source,
    steps_text: str,
    curve_path: Path | None,
    gpu: str,
    limit: int,
    targets: Sequence[Target],
    servers: range | None,
) -> PlanReport:
    """Return the report for servers that batch."""
    expression = Expression(steps_text)
    columns, arrival_s, _ = read_arrivals(source, expression, {})
    steps = expression(named(columns, expression))
    fits = (steps > 0) & (steps <= STEPS_MAX)
    if not fits.all():
        row = int(fits.argmin())
        found = f"the number of steps {steps_text} is {steps[row]:g}"
        raise columns.error(row, "", found, f"above 0, at most {STEPS_MAX:g}")
    curve = read_curve(curve_path, gpu)
    if limit > curve.batch[-1]:
        advice = "beyond it nothing is known; give a --curve that reaches further"
        raise CapacityError(f"{curve.name} ends at a batch of {curve.batch[-1]:g}", advice)
    case = Batching(arrival_s=arrival_s, steps=steps, curve=curve, limit=limit)
    return batch_report(case, targets, servers)


def ask_tiers(
    source: Source,
    service: Expression,
    tiers_path: Path,
    site: str | None,
    names: Sequence[str],
    targets: Sequence[Target],
    servers: range | None,
) -> PlanReport:
    """Return the report for tiers that overflow."""
    if site is None or len(names) > 1:
        raise CapacityError(
            "tiers want the site of each request and one tier to size",
            "give --site COLUMN (numbers from 0), and --tier at most once",
        )
    tiers = read_tiers(tiers_path)
    tier = tier_of(tiers, names[0] if names else None)
    last = float(tiers.sites[0] - 1)
    work, columns = read_work(source, service, {site: Number(low=0, high=last)})
    own = columns.numbers[site]
    if (own % 1 != 0).any():
        row = int((own % 1 != 0).argmax())
        raise columns.error(row, site, f"{own[row]:g}", "a whole number")
    return tiers_report(work, own.astype(np.int64), tiers, tier, targets, servers)
