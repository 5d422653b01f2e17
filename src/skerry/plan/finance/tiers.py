"""Every tier's cost for the same demand, each tier alone, and the fleet as it stands.

A tier alone serves all whom it can reach. The fleet as it stands serves people where the
file puts them, edge and onprem first, while its other tiers stand by with the machines
they have: what a fleet costs that is built, not one that is chosen.

Units:   USD, USD per 1,000 requests that met the target; never per capacity.
Shapes:  one value, or (draws,) where inputs hold columns of draws.
Errors:  NothingToPlanError, for a fleet in which no tier serves anybody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import WH_PER_KWH
from skerry.plan.errors import NothingToPlanError
from skerry.plan.finance.cash_flow import CashFlow, Row, Series, Value
from skerry.plan.finance.demand import Demand
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.rows import REQUESTS_PER_1K, rows_of
from skerry.plan.finance.terms import Terms
from skerry.plan.finance.work import Places, Work, is_rented, places_of, work_of
from skerry.schema.fleet import Fleet, Kind

FLEET: Final = "this fleet"
IN_TIME_LEAST: Final = 0.95
"""A latency goal is a p95, so this share of answers has to meet it."""
_LOCAL: Final = frozenset({Kind.EDGE, Kind.ONPREM})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cost:
    """What one tier, or the whole fleet, costs, and what it does for it."""

    name: str
    flow: CashFlow
    work: Work

    def monthly_usd(self, rate_per_year: Value) -> Value:
        """Return the level monthly cost."""
        return self.flow.monthly_usd(rate_per_year)

    def usd_per_1k(self, rate_per_year: Value) -> Value:
        """Return the cost per 1,000 requests in time; infinite where none is."""
        in_time = _flat(self.work.in_time)
        monthly = np.asarray(self.monthly_usd(rate_per_year))
        with np.errstate(divide="ignore"):
            found = np.where(in_time > 0, monthly * REQUESTS_PER_1K / in_time, np.inf)
        return float(found) if found.ndim == 0 else found

    def energy_wh_per_1k(self) -> Value:
        """Return the energy per 1,000 requests, answered in time or not."""
        asked = _flat(self.work.requests)
        used_wh = _flat(np.asarray(self.work.it_kwh + self.work.overhead_kwh)) * WH_PER_KWH
        with np.errstate(divide="ignore"):
            found = np.where(asked > 0, used_wh * REQUESTS_PER_1K / asked, np.inf)
        return float(found) if found.ndim == 0 else found

    def is_able(self, in_time_least: float) -> NDArray[np.bool_]:
        """Tell whether enough answers are in time, and the feeds carry the machines."""
        in_time = np.asarray(self.in_time_ratio()) >= in_time_least
        return np.asarray(in_time & (_flat(self.work.feed_used_ratio) <= 1))

    def in_time_ratio(self) -> Value:
        """Return the share of its requests that met the target."""
        asked = _flat(self.work.requests)
        found = np.where(asked > 0, _flat(self.work.in_time) / np.maximum(asked, 1e-12), 0.0)
        return float(found) if found.ndim == 0 else found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A fleet, a demand and the terms; `costs` evaluates it on any inputs."""

    fleet: Fleet
    demand: Demand
    target_s: float
    terms: Terms
    alone: Mapping[str, Places]
    """Tier to where it serves all whom it reaches; those that reach nobody are left out."""
    standing: Mapping[str, Places]
    """Every tier with machines: with its own people, or standing by."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """Tier to what a replay found in time; those not replayed keep the formula's share."""
    in_time_least: float = IN_TIME_LEAST
    """Share of its answers in time with which a tier meets the target."""
    energy_factor: float = 1.0
    """What a run measured over what was predicted; 1 where nothing was measured."""

    def at(self, *, requests_per_month: float | None = None, terms: Terms | None = None) -> "Case":
        """Return the same with another load or other terms."""
        ratio = 1.0
        if requests_per_month is not None:
            ratio = requests_per_month / self.demand.requests_per_month
        return replace(
            self,
            demand=_scaled(self.demand, ratio),
            terms=terms or self.terms,
            alone=_all_scaled(self.alone, ratio),
            standing=_all_scaled(self.standing, ratio),
        )

    def costs(self, inputs: Mapping[str, Value]) -> dict[str, Cost]:
        """Return the fleet's cost, then each tier's alone."""
        return {FLEET: self.fleet_cost(inputs)} | {
            name: self.cost(name, inputs) for name in self.alone
        }

    def cost(self, tier: str, inputs: Mapping[str, Value]) -> Cost:
        """Return what one tier costs alone."""
        return self.costs_under(tier, inputs, (self.terms,))[0]

    def costs_under(
        self, tier: str, inputs: Mapping[str, Value], terms: Iterable[Terms]
    ) -> tuple[Cost, ...]:
        """Return what one tier costs alone under several terms; its work is the same."""
        places = self.alone[tier]
        work = self._work(places, inputs)
        return tuple(
            Cost(name=tier, flow=CashFlow(_rows(places, work, inputs, one), one.months), work=work)
            for one in terms
        )

    def fleet_cost(self, inputs: Mapping[str, Value]) -> Cost:
        """Return what all tiers cost as the file has them."""
        works: list[Work] = []
        rows: list[Row] = []
        for name, places in self.standing.items():
            works.append(self._work(places, inputs))
            own = _rows(places, works[-1], inputs, self.terms)
            rows.extend(replace(row, name=f"{name}: {row.name}") for row in own)
        return Cost(name=FLEET, flow=CashFlow(tuple(rows), self.terms.months), work=_merged(works))

    def clouds(self) -> tuple[str, ...]:
        """Return the rented tiers that serve everybody, which others are held against."""
        return tuple(
            name
            for name, places in self.alone.items()
            if places.tier.kind is Kind.CLOUD and is_rented(places.tier)
        )

    def owned(self) -> tuple[str, ...]:
        """Return the tiers whose machines are bought."""
        return tuple(name for name, one in self.alone.items() if not is_rented(one.tier))

    def _work(self, places: Places, inputs: Mapping[str, Value]) -> Work:
        """Return a month's work, with what a replay and a run have found put in."""
        work = work_of(places, inputs, target_s=self.target_s)
        check = self.checks.get(places.tier.name)
        in_time = work.in_time
        if check is not None:
            ratio = in_time / np.maximum(work.requests, 1e-12)
            in_time = check.corrected(ratio) * work.requests
        return replace(
            work,
            in_time=in_time,
            it_kwh=work.it_kwh * self.energy_factor,
            overhead_kwh=work.overhead_kwh * self.energy_factor,
        )


def case_of(fleet: Fleet, demand: Demand, *, target_s: float, terms: Terms) -> Case:
    """Return a fleet's case; `target_s` is infinite where no latency is asked for."""
    alone, standing = {}, {}
    for name, tier in fleet.tiers.items():
        served = places_of(fleet, tier, demand)
        if not len(served.count):
            continue
        if served.demand.sites:
            alone[name] = served
        local = tier.kind in _LOCAL and served.demand.sites
        standing[name] = served if local else places_of(fleet, tier, None)
    if not alone:
        raise NothingToPlanError(fleet.name, "no tier with a machine serves any site that asks")
    return Case(
        fleet=fleet, demand=demand, target_s=target_s, terms=terms, alone=alone, standing=standing
    )


def _rows(places: Places, work: Work, inputs: Mapping[str, Value], terms: Terms) -> tuple[Row, ...]:
    count = float(places.count.sum())
    return rows_of(places.tier, work, inputs, places=count, terms=terms)


def _scaled(demand: Demand, ratio: float) -> Demand:
    return replace(demand, requests_per_month=demand.requests_per_month * ratio)


def _all_scaled(places: Mapping[str, Places], ratio: float) -> dict[str, Places]:
    return {name: replace(one, demand=_scaled(one.demand, ratio)) for name, one in places.items()}


def _merged(works: Iterable[Work]) -> Work:
    parts = list(works)

    def total(name: str) -> Series:
        return np.asarray(sum(np.asarray(getattr(part, name)) for part in parts))

    return Work(
        machines=total("machines"),
        rated_w=total("rated_w"),
        it_kwh=total("it_kwh"),
        overhead_kwh=total("overhead_kwh"),
        requests=total("requests"),
        in_time=total("in_time"),
        late_ms=total("late_ms"),
        grown_ratio=total("machines") / max(sum(_stated(part) for part in parts), 1.0),
        feed_used_ratio=np.max([np.max(part.feed_used_ratio) for part in parts]),
    )


def _stated(work: Work) -> float:
    """Return the machines that the fleet file has."""
    return float(np.min(work.machines / work.grown_ratio))


def _flat(column: Series) -> Series:
    """Turn a column of draws into what sums over months look like."""
    return column[:, 0] if column.ndim > 1 else column
