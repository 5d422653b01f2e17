"""The four-tier table: one trace, answered by a hyperscale cloud, a region, the edge, on-prem.

Every row is a replay of the whole trace with the models on that tier alone; every cell
knows its formula and inputs (`compare_cells`). Latency and PUE are put beside what such
tiers usually show. The cheapest tier that breaks no rule and no goal is advised.

Units:   ms, USD per 1,000 requests, ratios 0 to 1, seconds.
Limits:  what a tier lends to the others as their fallback is not counted.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from skerry.plan.assumptions import Assumptions
from skerry.plan.bill import Bill
from skerry.plan.tiers import compare_cells as cells
from skerry.plan.tiers.compare_cells import Explained, rows_of
from skerry.plan.tiers.compare_fleet import Setting, settings
from skerry.plan.tiers.flip import (
    Change,
    first_that_flips,
    latency_goal,
    let_travel,
    price_changes,
    together,
)
from skerry.plan.tiers.trial import Journeys, Trial, bill_of, journeys, try_level
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName

AVAILABILITY: Final = 0.999
"""Share of requests that a tier has to answer, where the file has no goal."""
NONE: Final = "none"


class Usual(msgspec.Struct, frozen=True, kw_only=True):
    """A figure beside its usual range; `word` is agrees, below, above or unknown."""

    tier: str
    figure: str
    value: float | None
    low: float
    high: float
    word: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One tier of the table."""

    setting: Setting
    trial: Trial
    bill: Bill
    journeys: Journeys
    cells: dict[str, Explained]
    headroom_ratio: float
    """How many times the busiest step's load fits on what stands."""
    misses: tuple[str, ...]
    """Why the tier cannot be chosen; empty where it can."""

    @property
    def name(self) -> str:
        """Return hyperscale, regional, edge or onprem."""
        return self.setting.name

    @property
    def cost_usd_per_1k(self) -> float:
        """The cost cell; infinite where nobody was answered in time."""
        value = self.cells["cost"].value
        return math.inf if value is None else value


def compare(
    fleet: Fleet,
    trace: Trace,
    table: Assumptions,
    *,
    services_s: Mapping[str, float],
    seed: int,
) -> tuple[Row, ...]:
    """Return the four rows."""
    rows = []
    for setting in settings(fleet, trace, table):
        trial = try_level(
            setting.fleet,
            trace,
            setting.level,
            setting.tiers,
            services_s=services_s,
            seed=seed,
        )
        rows.append(_row(setting, trial, table, services_s))
    return tuple(rows)


def _row(
    setting: Setting, trial: Trial, table: Assumptions, services_s: Mapping[str, float]
) -> Row:
    used = bill_of(setting.fleet, (trial,))
    trip = journeys(setting.fleet, trial)
    peak = trial.peak_load(setting.fleet)
    return Row(
        setting=setting,
        trial=trial,
        bill=used,
        journeys=trip,
        cells={
            "latency": cells.latency(setting, trial, services_s),
            "cost": cells.cost(setting, trial, used),
            "pue": cells.pue(setting, trial),
            "scaling": cells.scaling(setting, trial, table),
            "control": cells.control(setting),
            "privacy": cells.privacy(trial, trip),
        },
        headroom_ratio=1 / peak if peak else math.inf,
        misses=misses(setting.fleet, trial, trip),
    )


def misses(fleet: Fleet, trial: Trial, trip: Journeys) -> tuple[str, ...]:
    """Say which rules and goals a trial breaks."""
    found = []
    if trip.barred:
        found.append(f"residency keeps {', '.join(trip.barred)} data from it")
    elif trip.allowed < trial.sent:
        found.append("not every site has one")
    wanted = fleet.goals.get(GoalName.AVAILABILITY_RATIO, AVAILABILITY)
    if trial.answered_ratio < wanted:
        found.append(f"it answers {trial.answered_ratio:.2%} of requests, wanted {wanted:.2%}")
    limit_ms = fleet.goals.get(GoalName.LATENCY_MS_P95)
    p95_ms = trial.latency_ms(95)
    if limit_ms is not None and trial.run.answered and p95_ms > limit_ms:
        found.append(f"its p95 is {p95_ms:.4g} ms, wanted {limit_ms:g} ms")
    return tuple(found)


def ranked(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return the tiers that may be chosen, cheapest first; own ones win a tie."""
    able = [row for row in rows if not row.misses]
    return tuple(sorted(able, key=lambda row: (row.cost_usd_per_1k, row.setting.usual)))


def usual(rows: tuple[Row, ...]) -> tuple[Usual, ...]:
    """Put latency and PUE beside their usual ranges."""
    by_name = {row.name: row for row in rows}
    found = []
    for line in rows_of("usual_ranges"):
        low, high = float(line["low"]), float(line["high"])
        cell = "pue" if line["figure"] == "pue_ratio" else "latency"
        value = by_name[line["tier"]].cells[cell].value
        word = "unknown"
        if value is not None:
            word = "below" if value < low else "above" if value > high else "agrees"
        found.append(
            Usual(
                tier=line["tier"], figure=line["figure"], value=value, low=low, high=high, word=word
            )
        )
    return tuple(found)


def runner_up(rows: tuple[Row, ...]) -> str:
    """Return the next tier that may be chosen, else the cheapest of those that may not."""
    barred = sorted((row for row in rows if row.misses), key=lambda row: row.cost_usd_per_1k)
    rest = [*ranked(rows)[1:], *barred]
    return rest[0].name if rest else ""


def flip_of(fleet: Fleet, rows: tuple[Row, ...]) -> Change | None:
    """Return a change of the fleet file after which the runner-up is chosen; tried out here."""
    return first_that_flips(
        _changes(fleet, rows),
        lambda change: _first(_again(change.apply(fleet), fleet, rows)),
        to=runner_up(rows),
    )


def _first(rows: tuple[Row, ...]) -> str:
    order = ranked(rows)
    return order[0].name if order else NONE


def _again(changed: Fleet, fleet: Fleet, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Judge the same trials under changed prices, rules or goals."""
    again = []
    for row in rows:
        tiers = {
            name: changed.tiers[name] if changed.tiers.get(name) != fleet.tiers.get(name) else tier
            for name, tier in row.setting.fleet.tiers.items()
        }
        there = msgspec.structs.replace(
            row.setting.fleet, tiers=tiers, goals=changed.goals, data_classes=changed.data_classes
        )
        setting = replace(row.setting, fleet=there)
        used, trip = bill_of(there, (row.trial,)), journeys(there, row.trial)
        again.append(
            replace(
                row,
                setting=setting,
                bill=used,
                journeys=trip,
                cells={**row.cells, "cost": cells.cost(setting, row.trial, used)},
                misses=misses(there, row.trial, trip),
            )
        )
    return tuple(again)


def _changes(fleet: Fleet, rows: tuple[Row, ...]) -> Iterator[Change]:
    """Give candidates: prices, and what would free the runner-up where it is barred."""
    order, second = ranked(rows), next(row for row in rows if row.name == runner_up(rows))
    prices = list(_prices(fleet, order[0], second)) if order else []
    if not second.misses:
        yield from prices
        return
    freed = [let_travel(data_class) for data_class in second.journeys.barred]
    p95_ms = second.trial.latency_ms(95)
    if p95_ms > fleet.goals.get(GoalName.LATENCY_MS_P95, math.inf):
        freed.append(latency_goal(math.ceil(p95_ms)))
    if freed:
        yield together(freed)
        yield from (together([*freed, one]) for one in prices)


def _prices(fleet: Fleet, best: Row, second: Row) -> Iterator[Change]:
    """Make the chosen tier dearer, or the next one cheaper, where they are the file's own."""

    def gap(changed: Fleet) -> float:
        ours, theirs = _again(changed, fleet, (best, second))
        return theirs.cost_usd_per_1k - ours.cost_usd_per_1k

    both = (*best.setting.tiers, *second.setting.tiers)
    yield from price_changes(fleet, (tier for tier in both if tier in fleet.tiers), gap)
