"""`skerry plan local`: does answering on the spot really save energy here?

A trace is replayed through the fleet and through its cloud alone. Machines at edge and
onprem sites and in regional rooms draw as `Use` says (dedicated unless told otherwise);
the cloud's are shared, filled to an assumed ratio. What travels costs network energy.
The answer is yes where local draws less at every end of what was assumed, no where it
draws more at every end, and unknown in between.

Units:   Wh per 1,000 answers at the meter; bytes.
Errors:  NothingToPlanError for a fleet without a cloud or where nobody asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_DAY, WH_PER_KWH
from skerry.energy.carbon import per_1k
from skerry.energy.machine_use import Use, machine_wh
from skerry.energy.site_energy import curve_of
from skerry.fleet.desired import policy_of
from skerry.plan.assumptions import Assumptions
from skerry.plan.errors import NothingToPlanError
from skerry.plan.predict import COMPILED_FROM
from skerry.plan.replay import Replayed
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet, Kind
from skerry.trust.residency import ResidencyTable

BYTES_PER_GB: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was assumed: how full shared machines are, and what a byte on its way takes."""

    fill: float
    network_kwh_per_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one way of answering took, in Wh over the trace."""

    idle_wh: float
    """Of it drawn whether anybody asks or not, cooling included."""
    machines_wh: float
    network_wh: float
    answered: int

    @property
    def wh_per_1k(self) -> float:
        """All of it, per 1,000 answers; infinite where there were none."""
        found = per_1k(self.machines_wh + self.network_wh, self.answered)
        return float("inf") if found is None else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One trace, replayed both ways."""

    local: Replayed
    cloud: Replayed


def replayed(fleet: Fleet, trace: Trace, *, services_s: Mapping[str, float], seed: int) -> Pair:
    """Replay a trace through the fleet and through its cloud alone."""
    if len(trace) >= COMPILED_FROM:
        from skerry.plan import replay_compiled as engine
    else:
        from skerry.plan import replay as engine  # type: ignore[no-redef]
    destinations = ResidencyTable(policy_of(fleet, generation=0)).destinations
    return Pair(
        local=engine.replay(
            fleet, trace, services_s=services_s, destinations=destinations, seed=seed
        ),
        cloud=engine.replay_cloud_only(fleet, trace, services_s=services_s, seed=seed),
    )


def spent(fleet: Fleet, run: Replayed, terms: Terms, *, own: Use, kinds: frozenset[Kind]) -> Spent:
    """Return what a replay took; sites of other kinds do not exist in this way of answering."""
    idle_wh = machines_wh = 0.0
    for site in fleet.sites:
        if site.kind not in kinds or not site.nodes:
            continue
        tier, load = fleet.tiers[site.tier], run.load[site.name]
        busy, idle = (
            tier.pue_ratio
            * machine_wh(
                curve_of(tier.machine),
                Use.SHARED if site.kind is Kind.CLOUD else own,
                nodes=site.nodes,
                utilisation=utilisation,
                span_s=run.span_s,
                fill=terms.fill,
            )
            for utilisation in (load, np.zeros_like(load))
        )
        machines_wh, idle_wh = machines_wh + busy, idle_wh + idle
    network_wh = run.upstream_bytes / BYTES_PER_GB * terms.network_kwh_per_gb * WH_PER_KWH
    return Spent(
        idle_wh=idle_wh, machines_wh=machines_wh, network_wh=network_wh, answered=run.answered
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both ways on one set of traces: the middle, and every end of what was assumed."""

    local: Spent
    cloud: Spent
    differences: tuple[float, ...]
    """Local minus cloud in Wh per 1,000, for every trace and every corner of the terms."""
    hangs_on: tuple[str, ...]
    """The assumptions that turn the answer round on their own, the others in the middle."""

    @property
    def saves(self) -> bool | None:
        """Whether local draws less: everywhere, nowhere, or None in between."""
        if all(one < 0 for one in self.differences):
            return True
        return False if all(one > 0 for one in self.differences) else None

    def break_even_per_day(self, span_s: float) -> float | None:
        """Return how many answers a day make local draw as much as the cloud; None: none do."""
        if not self.local.answered or not self.cloud.answered:
            return None
        busy_wh = self.local.machines_wh + self.local.network_wh - self.local.idle_wh
        gained_wh = self.cloud.wh_per_1k / 1000 - busy_wh / self.local.answered
        if gained_wh <= 0:
            return None
        return self.local.idle_wh * SECONDS_PER_DAY / span_s / gained_wh


def compared(fleet: Fleet, pairs: Sequence[Pair], inputs: Assumptions, *, own: Use) -> Compared:
    """Compare both ways; the middle is that of the first trace."""
    fill, network = inputs.row("cloud_fill_ratio"), inputs.row("network_kwh_per_gb")

    def both(pair: Pair, terms: Terms) -> tuple[Spent, Spent]:
        return (
            spent(fleet, pair.local, terms, own=own, kinds=frozenset(Kind)),
            spent(fleet, pair.cloud, terms, own=own, kinds=frozenset({Kind.CLOUD})),
        )

    middle = Terms(fill=fill.value, network_kwh_per_gb=network.value)
    corners = [
        Terms(fill=one, network_kwh_per_gb=other)
        for one, other in product(
            (fill.low, fill.value, fill.high), (network.low, network.value, network.high)
        )
    ]
    ends = [both(pair, terms) for pair in pairs for terms in corners]
    local, cloud = both(pairs[0], middle)

    def turns(*terms: Terms) -> bool:
        signs = set()
        for one in terms:
            mine, theirs = both(pairs[0], one)
            signs.add(mine.wh_per_1k < theirs.wh_per_1k)
        return len(signs) > 1

    hangs_on = [
        name
        for name, low, high in (
            (fill.name, replace(middle, fill=fill.low), replace(middle, fill=fill.high)),
            (
                network.name,
                replace(middle, network_kwh_per_gb=network.low),
                replace(middle, network_kwh_per_gb=network.high),
            ),
        )
        if turns(low, high)
    ]
    return Compared(
        local=local,
        cloud=cloud,
        hangs_on=tuple(hangs_on),
        differences=tuple(mine.wh_per_1k - theirs.wh_per_1k for mine, theirs in ends),
    )


def halves(trace: Trace) -> tuple[Trace, Trace]:
    """Return a trace's first and second half of time, each with a clock of its own."""
    middle_s = trace.span_s / 2
    place = int(np.searchsorted(trace.arrival_s, middle_s))
    if not 0 < place < len(trace):
        advice = "give a longer trace: the choice is made on one half of it, judged on the other"
        raise NothingToPlanError(trace.source, "one half of the trace has no request", advice)

    def part(which: slice, begins_s: float) -> Trace:
        return replace(
            trace,
            span_s=middle_s,
            arrival_s=trace.arrival_s[which] - begins_s,
            site=trace.site[which],
            model=trace.model[which],
            data_class=trace.data_class[which],
            content_bytes=trace.content_bytes[which],
        )

    return part(slice(place), 0.0), part(slice(place, None), middle_s)
