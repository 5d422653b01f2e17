"""From options to a report: which simulation answers a question, and what it reads for it.

Errors:  CapacityError, for options that do not go together; ColumnError for files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.batch import Batching, batch_report
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.expression import Expression
from skerry.plan.capacity.headroom import Loss
from skerry.plan.capacity.more import Wishes
from skerry.plan.capacity.report import capacity_report
from skerry.plan.capacity.target import Target
from skerry.plan.capacity.tiers import read_tiers, tier_of, tiers_report
from skerry.plan.capacity.trace import Source, named, read_arrivals, read_work, service_of
from skerry.plan.columns import Number
from skerry.plan.energy.batching import read_curve
from skerry.schema.plan_report import PlanReport
from skerry.schema.run_figures import RunFigures

STEPS_MAX = 1e7

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question about capacity, as its options were given."""

    source: Source
    targets: tuple[Target, ...]
    servers: range | None
    service: str | None
    run: RunFigures | None
    model: str | None
    wishes: Wishes
    steps: str | None
    gpu: str
    curve_path: Path | None
    batch_limit: int
    tiers_path: Path | None
    site: str | None
    fleet_path: Path | None
    tiers: tuple[str, ...]
    seed: int
    write: bool
    inputs: Assumptions
    at_unix_s: float
    """When it was asked."""

    @property
    def wants_more(self) -> bool:
        """Tell whether headroom, hours or an autoscaler are asked for."""
        wishes = self.wishes
        return wishes.loss is not None or wishes.hourly or wishes.autoscaled


def ask(asked: Asked, tell: Tell) -> PlanReport:
    """Answer a question by the simulation that fits it."""
    if asked.fleet_path is not None:
        return _ask_fleet(asked, asked.fleet_path, tell)
    if not asked.targets and asked.servers is None:
        raise CapacityError("nothing is asked", "give --target p99=15s, --servers 3..40, or both")
    if asked.write:
        raise CapacityError("--write is about a fleet", "add --fleet fleet.yaml")
    if asked.wants_more and not asked.targets:
        raise CapacityError("headroom, hours and autoscaling keep targets", "add --target")
    if asked.wants_more and (asked.steps or asked.tiers_path):
        raise CapacityError("headroom, hours and autoscaling are about one plain queue")
    if asked.steps is not None:
        return _ask_batch(asked, asked.steps)
    if asked.tiers_path is not None:
        return _ask_tiers(asked, asked.tiers_path)
    if asked.tiers or asked.site:
        advice = "add --tiers FILE or --fleet FILE"
        raise CapacityError("--tier and --site are about tiers", advice)
    work, _ = read_work(asked.source, service_of(asked.service, asked.run, asked.model))
    return capacity_report(
        work,
        asked.targets,
        servers=asked.servers,
        inputs=asked.inputs,
        wishes=asked.wishes,
        measured=asked.run.goals if asked.run is not None else (),
        at_unix_s=asked.at_unix_s,
        tell=tell,
    )


def _ask_fleet(asked: Asked, fleet_path: Path, tell: Tell) -> PlanReport:
    wishes = asked.wishes
    if asked.service or asked.model or asked.steps or asked.tiers_path:
        advice = "measured times come in by --from-run"
        raise CapacityError("--fleet takes its own tiers, and service times by model", advice)
    if wishes.hourly or wishes.autoscaled or wishes.loss not in (None, Loss.N_PLUS_1):
        advice = "with --fleet, --headroom n+1 adds a node to every site"
        raise CapacityError("--profile, --autoscale and losses are about one queue", advice)
    if asked.source != Source(trace=asked.source.trace):
        advice = "its trace has arrival_s, in seconds from the start"
        raise CapacityError("--arrival and --zone are not for a fleet's trace", advice)
    from skerry.plan.capacity.fleet_report import ask_fleet  # compiles much

    return ask_fleet(
        fleet_path,
        asked.source.trace,
        asked.targets,
        tiers=asked.tiers,
        counts=asked.servers,
        seed=asked.seed,
        spare=0 if wishes.loss is None else 1,
        inputs=asked.inputs,
        run=asked.run,
        at_unix_s=asked.at_unix_s,
        tell=tell,
    )


def _ask_batch(asked: Asked, text: str) -> PlanReport:
    if asked.service or asked.run:
        raise CapacityError("a request has --steps or a service time", "drop one")
    expression = Expression(text)
    columns, arrival_s, _ = read_arrivals(asked.source, expression, {})
    steps = expression(named(columns, expression))
    fits = (steps > 0) & (steps <= STEPS_MAX)  # NaN fits neither
    if not fits.all():
        row = int(fits.argmin())
        found = f"the number of steps {text} is {steps[row]:g}"
        raise columns.error(row, "", found, f"above 0, at most {STEPS_MAX:g}")
    curve, limit = read_curve(asked.curve_path, asked.gpu), asked.batch_limit
    if limit > curve.batch[-1]:
        advice = "beyond it nothing is known; give a --curve that reaches further"
        raise CapacityError(f"{curve.name} ends at a batch of {curve.batch[-1]:g}", advice)
    case = Batching(arrival_s=arrival_s, steps=steps, curve=curve, limit=limit)
    return batch_report(case, asked.targets, asked.servers, asked.inputs)


def _ask_tiers(asked: Asked, tiers_path: Path) -> PlanReport:
    site = asked.site
    if site is None or len(asked.tiers) > 1:
        raise CapacityError(
            "tiers want the site of each request and one tier to size",
            "give --site COLUMN (numbers from 0), and --tier at most once",
        )
    service = service_of(asked.service, asked.run, asked.model)
    tiers = read_tiers(tiers_path)
    tier = tier_of(tiers, asked.tiers[0] if asked.tiers else None)
    last = float(tiers.sites[0] - 1)
    work, columns = read_work(asked.source, service, {site: Number(low=0, high=last)})
    own = columns.numbers[site]
    broken = own % 1 != 0
    if broken.any():
        row = int(broken.argmax())
        raise columns.error(row, site, f"{own[row]:g}", "a whole number")
    return tiers_report(
        work, own.astype(np.int64), tiers, tier, asked.targets, asked.servers, asked.inputs
    )
