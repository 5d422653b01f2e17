"""What 1,000 answers cost: the fleet's tables over the requests that met their limit.

Cost is never divided by capacity, only by requests that were answered in time; with
none of those there is no cost per request, and the plan says so.

Units:   USD, USD per 1,000 requests, watt-hours, seconds.
Source:  `energy.site_cost`, on the prices that the fleet file states.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from skerry.energy.carbon import carbon_g, per_1k
from skerry.energy.power_curve import Series
from skerry.energy.site_cost import site_cost
from skerry.energy.site_energy import site_energy_wh
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.goal import Level

SHORT_BILL: Final = (
    "cost and energy are the short bill: straight line, stated PUE, no cost of capital; "
    "cash flows (PUE over load, spares, software, cost of capital): skerry plan cost"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One line of the bill, in USD over the span, and what it rests on."""

    name: str
    usd: float
    level: Level
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Everything that sites used and cost over a span."""

    energy_wh: float
    it_energy_wh: float
    """What the machines themselves used, without cooling and losses."""
    carbon_g: float
    lines: tuple[CostLine, ...]

    @property
    def total_usd(self) -> float:
        """All lines together."""
        return sum(line.usd for line in self.lines)

    @property
    def pue_ratio(self) -> float | None:
        """Energy of the sites over energy of their machines; None where nothing ran."""
        return self.energy_wh / self.it_energy_wh if self.it_energy_wh else None


def bill(
    fleet: Fleet, load: Mapping[str, Series], *, span_s: float, kinds: frozenset[Kind]
) -> Bill:
    """Return what the sites of some kinds used and cost, at the load that each had."""
    energy_wh = it_energy_wh = grams = machine = energy = room = 0.0
    for site in fleet.sites:
        if site.kind not in kinds or not site.nodes:
            continue
        tier = fleet.tiers[site.tier]
        used = site_energy_wh(tier, nodes=site.nodes, utilisation=load[site.name], span_s=span_s)
        cost = site_cost(tier, nodes=site.nodes, energy_wh=used, span_s=span_s)
        energy_wh += used
        it_energy_wh += used / tier.pue_ratio
        grams += carbon_g(used, grid_g_per_kwh=site.grid_g_per_kwh)
        machine += cost.machine_usd
        energy += cost.energy_usd
        room += cost.room_usd
    stated = "fleet file, straight-line, no cost of capital"
    return Bill(
        energy_wh=energy_wh,
        it_energy_wh=it_energy_wh,
        carbon_g=grams,
        lines=(
            CostLine(name="machines", usd=machine, level=Level.STATED, source=stated),
            CostLine(
                name="energy", usd=energy, level=Level.ESTIMATE, source="power curve, price, PUE"
            ),
            CostLine(name="room, link, hands", usd=room, level=Level.STATED, source="fleet file"),
        ),
    )


def cost_usd_per_1k(bill: Bill, requests_in_time: int) -> float | None:
    """Return the cost per 1,000 requests that met their limit; None where none did."""
    return per_1k(bill.total_usd, requests_in_time)
