"""A year of a fleet, hour by hour: who answers, what it draws, what the grid emits for it.

Requests are a flow here, not single ones: what a site's machines can do in the hour they
do, the rest goes up the ways that residency leaves open, to the room and then the clouds,
in proportion to what each site asks; what nobody takes is refused. Outages cut an hour
where they begin and end. Solar serves the load first, then the battery, then the grid;
the battery serves what is missing.

    work:    here = min(asked, up machines * 3600 / service_s)
    power:   load = up machines * draw_w(u) * (1 + (PUE - 1) * warmth)
    balance: solar + import + discharge = load + export + charge

Units:   requests, Wh, g, USD per hour of the simulation; power is the mean of an hour.
Shapes:  what comes out per region and hour is (R, H, len(Column)), per cloud and hour
         (C, H, len(Column)), per site (S, len(SiteColumn)).
Limits:  an hour's bursts are not seen (the request kernel sees them); a room that is down
         for a part of an hour takes that part less of what it is asked.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR, WH_PER_KWH
from skerry.plan.simulate.fleet_arrays import HERE, FleetArrays, Floats
from skerry.plan.simulate.kernels_hours import (
    Column,
    Hours,
    Places,
    SiteColumn,
    hours_of_clouds,
    hours_of_region,
)
from skerry.plan.simulate.outages import Changes
from skerry.plan.simulate.world import World, clock_of, quiet

_ROUNDING: Final = 1e-12
_HOUR_S: Final = float(SECONDS_PER_HOUR)
COLUMNS: Final = len(Column)
SITE_COLUMNS: Final = len(SiteColumn)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Year:
    """What the hours came to."""

    regions: Floats
    clouds: Floats
    sites: Floats

    def fleet_hours(self) -> Floats:
        """Return the whole fleet by hour, (H, len(Column)); rows of clouds included."""
        return np.asarray(self.regions.sum(axis=0) + self.clouds.sum(axis=0))

    def totals(self) -> Floats:
        """Return the whole fleet over all hours, (len(Column),)."""
        return np.asarray(self.fleet_hours().sum(axis=0))


def simulate_hours(
    fleet: FleetArrays,
    changes: Changes,
    world: World,
    *,
    seed: int,
    threads: int,
    tell: Callable[[float], None] = quiet,
) -> Year:
    """Simulate every hour of the world; the result does not depend on `threads`."""
    places = _places(fleet, world)
    hours = world.hours
    told = Hours(
        weights=world.weights,
        weekday_h=world.first_week_hour,
        day_factor=world.day_factor(seed),
        demand=world.demand,
        warmth=world.warmth,
        solar=world.solar,
        grid_g_per_wh=world.grid_g_per_kwh / WH_PER_KWH,
        carbon=world.carbon,
        price=world.price,
        charge_ratio=world.charge_ratio,
        seed=seed,
    )
    out = np.zeros((fleet.regions, hours, COLUMNS))
    ups = np.zeros((fleet.regions, hours, 1 << fleet.clouds))
    sites = np.zeros((fleet.sites, SITE_COLUMNS))

    def one(region: int) -> None:
        first, last = int(fleet.first_site[region]), int(fleet.first_site[region + 1])
        room = fleet.sites + region
        rows, up = out[region], ups[region]
        hours_of_region(region, first, last, room, hours, places, changes, told, rows, up, sites)

    with ThreadPoolExecutor(threads) as pool:
        for ended, _ in enumerate(pool.map(one, range(fleet.regions)), 1):
            tell(ended / fleet.regions)
    clouds = np.zeros((fleet.clouds, hours, COLUMNS))
    asks = ups.sum(axis=0)
    if fleet.clouds:
        hours_of_clouds(fleet.sites + fleet.regions, hours, asks, places, changes, told, clouds)
    return Year(regions=out, clouds=clouds, sites=sites)


def _places(fleet: FleetArrays, world: World) -> Places:
    """Return the fleet as the kernels read it."""
    masks = np.unique(fleet.ways)
    member = fleet.ways[:, :, None] == masks
    share = (fleet.flow_share[:, :, None] * member).sum(axis=1)
    carried = (fleet.flow_share * fleet.content_bytes)[:, :, None] * member
    total = share.sum(axis=0)
    group_bytes = np.divide(
        carried.sum(axis=(0, 1)), total, out=np.zeros(len(masks)), where=total > 0
    )
    service_s = fleet.flow_share @ fleet.service_s
    here = share[:, (masks & HERE) > 0].sum(axis=1)
    weight = fleet.requests_per_day
    mean_s = float(np.average(service_s, weights=weight)) if weight.sum() else service_s.mean()
    above = np.full(fleet.regions + fleet.clouds, mean_s)
    return Places(
        nodes=fleet.nodes,
        idle_w=fleet.idle_w,
        busy_w=fleet.busy_w,
        overhead=fleet.pue_ratio - 1.0,
        per_hour=_HOUR_S / np.concatenate([service_s, above]),
        usd_per_wh=fleet.usd_per_kwh / WH_PER_KWH,
        feed_w=fleet.feed_w,
        zone=fleet.zone,
        clock=clock_of(fleet.longitude_deg),
        asked_per_h=fleet.requests_per_day / 24.0,
        masks=masks.astype(np.int64),
        here_share=np.where(here > 1.0 - _ROUNDING, 1.0, here),
        group_share=share,
        group_bytes=group_bytes,
        solar_w=world.solar_w,
        battery_wh=world.battery_wh,
        battery_w=world.battery_w,
    )
