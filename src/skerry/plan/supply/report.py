"""`plan supply`: what may not arrive, who may let you down, and how one comes back.

Takes facts about parts and vendors, and where there is one the fleet file; gives scores,
spares, redundancy, promises, exit costs, the hardware calendar and a recovery plan that
was tried on the simulator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from skerry.plan.assumptions import Assumptions
from skerry.plan.supply.contracts import exit_cost, months_to_earn_back, promise
from skerry.plan.supply.facts import Part, Vendor, read_parts, read_vendors
from skerry.plan.supply.lifecycle import calendar
from skerry.plan.supply.recovery import back_hours, lose_each
from skerry.plan.supply.risk import Score, changes, score_parts, score_vendors
from skerry.plan.supply.sections import (
    moved_section,
    redundancy_section,
    score_row,
    score_section,
    spares_section,
    table_of,
)
from skerry.plan.supply.spares import DAYS_PER_YEAR, demand_mean, k_of_n, stock_for
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet, Site
from skerry.schema.plan_report import Advice, PlanReport, Section

HOURS_PER_YEAR = 8760.0
ALTERNATIVES_TRIED_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What a recovery plan must hold."""

    service_level: float
    loss_usd_per_hour: float
    answered_ratio: float
    hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was read: parts and vendors now, and where given as they were before."""

    parts: tuple[Part, ...]
    vendors: dict[str, Vendor]
    before: "Facts | None" = field(default=None)


def read_facts(
    parts_path: Path,
    vendors_path: Path,
    before_parts_path: Path | None = None,
    before_vendors_path: Path | None = None,
) -> Facts:
    """Read the facts; the earlier files default to today's where only one of them is given."""
    vendors = read_vendors(vendors_path)
    before = None
    if before_parts_path or before_vendors_path:
        old = read_vendors(before_vendors_path or vendors_path)
        before = Facts(parts=read_parts(before_parts_path or parts_path, old), vendors=old)
    return Facts(parts=read_parts(parts_path, vendors), vendors=vendors, before=before)


def supply_report(
    facts: Facts,
    given: Assumptions,
    objectives: Objectives,
    *,
    now_unix_s: float,
    seed: int,
    fleet: Fleet | None = None,
    trace: Trace | None = None,
    redundancy: Sequence[tuple[int, int, float]] = (),
    tell: Callable[[float, str], None] = lambda share, what: None,
) -> PlanReport:
    """Answer the question from the facts; a fleet and its trace add redundancy and recovery."""
    scores = score_parts(facts.parts, facts.vendors, given, now_unix_s=now_unix_s)
    vendor_scores = score_vendors(scores, facts.parts, facts.vendors, given)
    spares = _spares(facts.parts, objectives)
    figures: dict[str, object] = {
        "spares": spares,
        "spares_usd": sum(float(str(row["usd"])) for row in spares),
        "part_scores": [score_row(one) for one in scores],
        "vendor_scores": [score_row(one) for one in vendor_scores],
    }
    sections = [
        score_section(scores, vendor_scores),
        spares_section(spares, objectives.service_level),
    ]
    moved = _moved(facts, scores, given, now_unix_s)
    if moved:
        figures["score_changes"] = [
            {"name": name, "before": old, "after": new} for name, old, new in moved
        ]
        sections.insert(1, moved_section(moved))
    for name, section in (
        ("promises", _promises(facts.vendors, objectives, seed)),
        ("exits", _exits(facts.vendors, given)),
        ("calendar", _calendar(facts.parts, given, now_unix_s)),
    ):
        rows, block = section
        figures[name] = rows
        sections.append(block)
    notes: list[str] = []
    arithmetic = [_k_of_n_row("as asked", k, n, a) for k, n, a in redundancy]
    if fleet is not None:
        arithmetic += _site_redundancy(fleet, facts.parts, given, notes)
    if arithmetic:
        figures["redundancy"] = arithmetic
        sections.append(redundancy_section(arithmetic))
    if fleet is not None and trace is not None:
        rows, block, missed = _recovery(fleet, trace, facts.parts, given, objectives, seed, tell)
        figures["recovery"] = rows
        figures["recovery_missed"] = missed
        sections.append(block)
    worst = scores[0]
    return PlanReport(
        verb="supply",
        question="What may not arrive, and how do we come back?",
        lead=(
            f"{worst.name} carries the most risk ({worst.total:.2f} of 1, mostly {worst.worst});"
            f" spares for a service level of {objectives.service_level:.1%} cost"
            f" {figures['spares_usd']:,.0f} USD"
        ),
        figures=figures,
        advice=(_advice(facts, scores, given, now_unix_s),),
        sections=tuple(sections),
        assumptions=given.used(),
        notes=tuple(notes),
    )


def redundancy_report(redundancy: Sequence[tuple[int, int, float]]) -> PlanReport:
    """Answer by arithmetic alone, without facts about parts and vendors."""
    rows = [_k_of_n_row("as asked", k, n, a) for k, n, a in redundancy]
    return PlanReport(
        verb="supply",
        question="How likely is it that enough units are up?",
        lead="; ".join(
            f"{row['needed']} of {row['units']} are up {row['availability_ratio']:.6%} of the time"
            for row in rows
        ),
        figures={"redundancy": rows},
        sections=(redundancy_section(rows),),
    )


def _advice(facts: Facts, scores: Sequence[Score], given: Assumptions, now_unix_s: float) -> Advice:
    """Say what to secure first, and what would make it second."""
    worst = scores[0]
    second = scores[1] if len(scores) > 1 else None
    why = f"its score is {worst.total:.2f}: " + ", ".join(
        f"{name} {value:.2f}" for name, value in sorted(worst.parts.items(), key=lambda p: -p[1])
    )
    return Advice(
        choice=f"to secure {worst.name} first",
        reason=why,
        runner_up=f"{second.name}, {second.total:.2f}" if second else "",
        flip=_flip(facts, worst, given, now_unix_s) if second else "",
        no_regret="facts about vendors have no months to be judged on",
    )


def _flip(facts: Facts, worst: Score, given: Assumptions, now_unix_s: float) -> str:
    """Find the smallest change of a fact of the worst part that makes it second."""
    part = next(one for one in facts.parts if one.part == worst.name)

    def is_first(**facts_of_it: object) -> bool:
        changed = [
            _replaced(one, facts_of_it) if one.part == part.part else one for one in facts.parts
        ]
        again = score_parts(changed, facts.vendors, given, now_unix_s=now_unix_s)
        return again[0].name == part.part

    for more in range(part.alternatives + 1, part.alternatives + ALTERNATIVES_TRIED_MAX):
        if not is_first(alternatives=more):
            return f"{part.part} has {more} alternatives"
    low, high = 0, int(part.lead_days)
    if is_first(lead_days=0.0):
        return ""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_first(lead_days=float(middle)) else (middle, high)
    return f"{part.part} arrives within {low} days"


def _replaced(part: Part, values: Mapping[str, object]) -> Part:
    return replace(part, **values)  # type: ignore[arg-type]


def _moved(
    facts: Facts, scores: Sequence[Score], given: Assumptions, now_unix_s: float
) -> list[tuple[str, float, float]]:
    if facts.before is None:
        return []
    old = score_parts(facts.before.parts, facts.before.vendors, given, now_unix_s=now_unix_s)
    return changes(old, scores)


def _spares(parts: Sequence[Part], objectives: Objectives) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for part in parts:
        mean = demand_mean(
            part.units, failures_per_year=part.failures_per_year, lead_days=part.lead_days
        )
        stock = stock_for(mean, level=objectives.service_level)
        rows.append(
            {
                "part": part.part,
                "mean_demand_units": mean,
                "stock_units": stock,
                "usd": stock * part.price_usd,
            }
        )
    return rows


def _promises(
    vendors: Mapping[str, Vendor], objectives: Objectives, seed: int
) -> tuple[list[dict[str, object]], Section]:
    found = [
        promise(vendor, loss_usd_per_hour=objectives.loss_usd_per_hour, seed=seed + index)
        for index, vendor in enumerate(vendors.values())
        if vendor.outages_per_year
    ]
    rows: list[dict[str, object]] = [
        {
            "vendor": one.vendor,
            "downtime_hours_per_year": one.downtime_hours_per_year,
            "downtime_hours_p95": one.downtime_hours_p95,
            "availability_ratio": one.availability_ratio,
            "credit_usd_per_year": one.credit_usd_per_year,
            "loss_usd_per_year": one.loss_usd_per_year,
        }
        for one in found
    ]
    heads = (
        "vendor",
        "down, hours a year",
        "in a bad year (p95)",
        "availability",
        "credit, USD a year",
        "your loss, USD a year",
    )
    return rows, Section(
        title="What promises are worth",
        text="Credits that a contract pays for outages, beside what those outages cost at"
        f" {objectives.loss_usd_per_hour:,.0f} USD an hour.",
        blocks=(table_of("Contracts", rows, heads),),
    )


def _exits(
    vendors: Mapping[str, Vendor], given: Assumptions
) -> tuple[list[dict[str, object]], Section]:
    rows: list[dict[str, object]] = []
    for vendor in vendors.values():
        if not (vendor.usd_per_month or vendor.data_gb or vendor.termination_usd):
            continue
        lines = exit_cost(vendor, given)
        total = sum(lines.values())
        rows.append(
            {
                "vendor": vendor.vendor,
                **{f"{name.replace(' ', '_')}_usd": usd for name, usd in lines.items()},
                "exit_usd": total,
                "months_to_earn_back": months_to_earn_back(vendor, total),
                "months_left": vendor.months_left,
            }
        )
    heads = (
        *("vendor", "termination, USD", "parallel, USD", "data out, USD", "conversion, USD"),
        *("qualification, USD", "exit, USD", "months to earn back", "months left"),
    )
    return rows, Section(
        title="What leaving costs",
        text="Today, line by line; a dash where no cheaper alternative is known.",
        blocks=(table_of("Exit", rows, heads),),
    )


def _calendar(
    parts: Sequence[Part], given: Assumptions, now_unix_s: float
) -> tuple[list[dict[str, object]], Section]:
    rows: list[dict[str, object]] = [
        {
            "year": str(due.year),
            "part": due.part,
            "units": due.units,
            "why": due.why + (", overdue" if due.overdue else ""),
            "replacement_usd": due.usd,
            "then": due.then,
            "resale_usd": due.resale_usd,
        }
        for due in calendar(parts, given, now_unix_s=now_unix_s)
    ]
    heads = ("year", "part", "units", "why", "replacement, USD", "then", "resale, USD")
    return rows, Section(
        title="Hardware calendar",
        text="When each kind is due, and what the old ones can still do.",
        blocks=(table_of("Due", rows, heads),),
    )


def _site_redundancy(
    fleet: Fleet, parts: Sequence[Part], given: Assumptions, notes: list[str]
) -> list[dict[str, object]]:
    """Return, for each tier and number of nodes, how likely it is that one node is up."""
    rows: list[dict[str, object]] = []
    seen = set()
    for site in fleet.sites:
        if not site.nodes or (site.tier, site.nodes) in seen:
            continue
        seen.add((site.tier, site.nodes))
        part = _part_of(fleet, site, parts)
        if part is None:
            machine = fleet.tiers[site.tier].machine.name
            notes.append(f"{site.tier}: no part is named {machine}, so its nodes are not judged")
            continue
        hours, _ = back_hours(given, lead_days=part.lead_days)
        each = 1 - min(part.failures_per_year * hours / HOURS_PER_YEAR, 1.0)
        rows.append(_k_of_n_row(f"{site.tier}, {site.nodes} x {part.part}", 1, site.nodes, each))
    return rows


def _k_of_n_row(what: str, needed: int, units: int, each: float) -> dict[str, object]:
    together = k_of_n(needed, units, availability=each)
    return {
        "what": what,
        "needed": needed,
        "units": units,
        "each_ratio": each,
        "availability_ratio": together,
        "down_hours_per_year": (1 - together) * HOURS_PER_YEAR,
    }


def _recovery(
    fleet: Fleet,
    trace: Trace,
    parts: Sequence[Part],
    given: Assumptions,
    objectives: Objectives,
    seed: int,
    tell: Callable[[float, str], None],
) -> tuple[list[dict[str, object]], Section, list[str]]:
    def hours(site: Site) -> tuple[float, float]:
        part = _part_of(fleet, site, parts)
        return back_hours(given, lead_days=part.lead_days if part else DAYS_PER_YEAR)

    rows: list[dict[str, object]] = []
    missed = []
    for loss in lose_each(fleet, trace, back_hours=hours, seed=seed, tell=tell):
        own = loss.own_answered_ratio
        good = (own is None or own >= objectives.answered_ratio) and (
            loss.back_hours <= objectives.hours
        )
        if not good:
            missed.append(loss.place)
        why = max(loss.refused, key=lambda reason: loss.refused[reason], default="")
        rows.append(
            {
                "place": loss.place,
                "own_requests": loss.own_requests,
                "own_answered_ratio": own,
                "all_answered_ratio": loss.all_answered_ratio,
                "latency_ms_p95": loss.latency_ms_p95,
                "refused_for": why,
                "back_hours": loss.back_hours,
                "back_hours_without_spare": loss.back_hours_without_spare,
                "objective": "met" if good else "missed",
            }
        )
    heads = (
        *("place lost", "own requests", "own answered", "all answered", "p95, ms", "refused for"),
        *("back, hours", "without a spare", "objective"),
    )
    return (
        rows,
        Section(
            title="Recovery plan",
            text="Each place lost in turn, the same trace replayed through the production"
            f" decisions. Objective: {objectives.answered_ratio:.0%} of the place's own requests"
            f" still answered, back within {objectives.hours:g} h.",
            blocks=(table_of("Lose a place", rows, heads),),
        ),
        missed,
    )


def _part_of(fleet: Fleet, site: Site, parts: Sequence[Part]) -> Part | None:
    machine = fleet.tiers[site.tier].machine.name
    return next((part for part in parts if part.part == machine), None)
