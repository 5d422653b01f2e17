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
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR, WH_PER_KWH
from skerry.energy.power_curve import draw_w
from skerry.energy.site_energy import BEND_STATED
from skerry.plan.compiled import compiled, kernel
from skerry.plan.fleet_arrays import HERE, FleetArrays, Floats, Ints
from skerry.plan.simulate_outages import Changes
from skerry.plan.simulate_world import CLOCKS, WEEK_H, World, clock_of, day_chance, quiet

_draw_w = compiled(draw_w)
_HOUR_S: Final = float(SECONDS_PER_HOUR)


class Column(IntEnum):
    """What is kept for each region or cloud and hour."""

    ASKED = 0
    HERE = 1
    ROOM = 2
    CLOUD = 3
    NO_WAY = 4
    CUT = 5
    FULL = 6
    IT_WH = 7
    LOAD_WH = 8
    SOLAR_WH = 9
    IMPORT_WH = 10
    EXPORT_WH = 11
    LOSS_WH = 12
    GRAMS = 13
    USD = 14
    UP_BYTES = 15


class SiteColumn(IntEnum):
    """What is kept for each site."""

    ASKED = 0
    HERE = 1
    REFUSED = 2
    LOAD_WH = 3
    IMPORT_WH = 4
    GRAMS = 5
    PEAK_W = 6
    OVER_FEED_H = 7
    CHARGE_WH = 8


_ASKED, _HERE, _ROOM, _CLOUD = Column.ASKED, Column.HERE, Column.ROOM, Column.CLOUD
COLUMNS: Final = len(Column)
SITE_COLUMNS: Final = len(SiteColumn)


class _Places(NamedTuple):
    """What a kernel reads of the fleet."""

    nodes: Ints
    idle_w: Floats
    busy_w: Floats
    overhead: Floats
    per_hour: Floats
    usd_per_wh: Floats
    feed_w: Floats
    zone: Ints
    clock: Ints
    asked_per_h: Floats
    masks: Ints
    group_share: Floats
    group_bytes: Floats
    solar_w: Floats
    battery_wh: Floats
    battery_w: Floats


class _Hours(NamedTuple):
    """The world, hour by hour."""

    weights: Floats
    weekday_h: int
    day_factor: Floats
    demand: Floats
    warmth: Floats
    solar: Floats
    grid_g_per_wh: Floats
    carbon: Floats
    price: Floats
    charge_ratio: float
    seed: int


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


@kernel
def _battery(
    need_wh: float, charge_wh: float, room_wh: float, power_w: float, ratio: float
) -> tuple[float, float]:
    """Return what a battery gives (or takes, below zero) in an hour, and its charge after.

    `ratio` is lost on the way in and again on the way out.
    """
    if need_wh > 0.0:
        gives = min(need_wh, power_w, charge_wh * ratio)
        return gives, max(charge_wh - gives / ratio, 0.0)
    takes = min(-need_wh, power_w, (room_wh - charge_wh) / ratio)
    return -takes, min(charge_wh + takes * ratio, room_wh)


@kernel
def _up(
    place: int, from_s: float, to_s: float, nodes: int, steps: Changes, state: Ints
) -> tuple[float, float]:
    """Walk one place's outages through an hour: machine-hours, and the part it is up."""
    machines_h, up_h, t = 0.0, 0.0, from_s
    while t < to_s:
        k, end = state[0], steps.first[place + 1]
        while k < end and steps.at_s[k] <= t:
            state[1] += steps.nodes[k]
            state[2] += steps.down[k]
            k += 1
        state[0] = k
        until = to_s if k >= end else min(to_s, steps.at_s[k])
        up = 0 if state[2] > 0 else max(nodes - state[1], 0)
        machines_h += up * (until - t) / _HOUR_S
        if up > 0:
            up_h += (until - t) / _HOUR_S
        t = until
    return machines_h, up_h


@kernel
def _region(
    region: int,
    first: int,
    last: int,
    room: int,
    hours: int,
    places: _Places,
    steps: Changes,
    world: _Hours,
    out: Floats,
    up: Floats,
    sites: Floats,
) -> None:
    """Simulate one region; `out` is (H, columns), `up` is (H, masks): asked of clouds."""
    count = last - first
    state = np.zeros((count, 4), dtype=np.int64)
    for i in range(count):
        state[i, 0] = steps.first[first + i]
    room_state = np.zeros(3, dtype=np.int64)
    room_state[0] = steps.first[room]
    groups = len(places.masks)
    asks = np.zeros(2 * up.shape[1])
    weight = np.zeros(2 * CLOCKS)
    day = np.zeros(2 * CLOCKS, dtype=np.int64)
    for h in range(hours):
        from_s, to_s = h * _HOUR_S, (h + 1) * _HOUR_S
        for o in range(2 * CLOCKS):
            local_h = h + o - CLOCKS + WEEK_H
            weight[o] = (
                world.weights[(local_h + world.weekday_h) % WEEK_H] * world.demand[region, h]
            )
            day[o] = local_h // 24
        asks[:] = 0.0
        asked = here = no_way = cut_off = up_bytes = 0.0
        it_wh = load_wh = solar_wh = import_wh = export_wh = loss_wh = grams = usd = 0.0
        price = world.price[region, h]
        for i in range(count):
            s = first + i
            clock = places.clock[s]
            factor = day_chance(world.day_factor, world.seed, s, day[clock])
            rate = places.asked_per_h[s] * weight[clock] * factor
            done = machines_h = refused = 0.0
            t = from_s
            while t < to_s:
                k, end = state[i, 0], steps.first[s + 1]
                while k < end and steps.at_s[k] <= t:
                    state[i, 1] += steps.nodes[k]
                    state[i, 2] += steps.down[k]
                    state[i, 3] += steps.cut[k]
                    k += 1
                state[i, 0] = k
                until = to_s if k >= end else min(to_s, steps.at_s[k])
                length_h = (until - t) / _HOUR_S
                t = until
                alive = 0 if state[i, 2] > 0 else max(places.nodes[s] - state[i, 1], 0)
                machines_h += alive * length_h
                mine = 0.0
                for g in range(groups):
                    if places.masks[g] & HERE:
                        mine += places.group_share[s, g]
                mine *= rate * length_h
                can = min(mine, alive * places.per_hour[s] * length_h)
                done += can
                left = 1.0 - can / mine if mine > 0.0 else 1.0
                if left <= 0.0 and mine >= rate * length_h * (1.0 - 1e-12):
                    continue
                for g in range(groups):
                    mask = places.masks[g]
                    rest = rate * length_h * places.group_share[s, g]
                    if mask & HERE:
                        rest *= left
                    if mask < 2:
                        no_way += rest
                        refused += rest
                    elif state[i, 3] > 0:
                        cut_off += rest
                        refused += rest
                    else:
                        asks[mask >> 1] += rest
                        up_bytes += rest * places.group_bytes[g]
            asked += rate
            here += done
            used = 0.0
            if machines_h > 0.0:
                used = min(done / (machines_h * places.per_hour[s]), 1.0)
            drawn_wh = machines_h * _draw_w(used, places.idle_w[s], places.busy_w[s], BEND_STATED)
            load = drawn_wh * (1.0 + places.overhead[s] * world.warmth[region, h])
            sun = places.solar_w[s] * world.solar[region, h]
            need = load - sun
            charge = sites[s, 8]
            gives = 0.0
            if places.battery_wh[s] > 0.0:
                gives, after = _battery(
                    need, charge, places.battery_wh[s], places.battery_w[s], world.charge_ratio
                )
                sites[s, 8] = after
                loss_wh += charge - after - gives
            bought = max(need - gives, 0.0)
            export_wh += max(gives - need, 0.0)
            emitted = bought * world.grid_g_per_wh[places.zone[s], h] * world.carbon[region, h]
            it_wh += drawn_wh
            load_wh += load
            solar_wh += sun
            import_wh += bought
            grams += emitted
            usd += bought * places.usd_per_wh[s] * price
            sites[s, 0] += rate
            sites[s, 1] += done
            sites[s, 2] += refused
            sites[s, 3] += load
            sites[s, 4] += bought
            sites[s, 5] += emitted
            sites[s, 6] = max(sites[s, 6], bought)
            if bought > places.feed_w[s]:
                sites[s, 7] += 1.0
        machines_h, up_h = _up(room, from_s, to_s, places.nodes[room], steps, room_state)
        wanted = 0.0
        for mask in range(1, len(asks), 2):
            wanted += asks[mask]
        taken = min(wanted * up_h, machines_h * places.per_hour[room])
        left = 1.0 - taken / wanted if wanted > 0.0 else 1.0
        full = 0.0
        for mask in range(1, len(asks)):
            rest = asks[mask] * (left if mask & 1 else 1.0)
            if mask == 1:
                full += rest
            else:
                up[h, mask >> 1] += rest
        used = 0.0
        if machines_h > 0.0:
            used = min(taken / (machines_h * places.per_hour[room]), 1.0)
        drawn_wh = machines_h * _draw_w(used, places.idle_w[room], places.busy_w[room], BEND_STATED)
        load = drawn_wh * (1.0 + places.overhead[room] * world.warmth[region, h])
        row = out[h]
        row[0], row[1], row[2], row[3] = asked, here, taken, 0.0
        row[4], row[5], row[6] = no_way, cut_off, full
        row[7], row[8], row[9] = it_wh + drawn_wh, load_wh + load, solar_wh
        row[10], row[11], row[12] = import_wh + load, export_wh, loss_wh
        row[13] = (
            grams + load * world.grid_g_per_wh[places.zone[room], h] * (world.carbon[region, h])
        )
        row[14] = usd + load * places.usd_per_wh[room] * price
        row[15] = up_bytes


@kernel
def _clouds(
    first: int,
    hours: int,
    asks: Floats,
    places: _Places,
    steps: Changes,
    world: _Hours,
    out: Floats,
) -> None:
    """Let the clouds take what is left, in order; `asks` is (H, masks), `out` (C, H, columns)."""
    clouds = out.shape[0]
    state = np.zeros((clouds, 3), dtype=np.int64)
    for c in range(clouds):
        state[c, 0] = steps.first[first + c]
    for h in range(hours):
        for c in range(clouds):
            place, bit = first + c, 1 << c
            machines_h, up_h = _up(
                place, h * _HOUR_S, (h + 1) * _HOUR_S, places.nodes[place], steps, state[c]
            )
            wanted = 0.0
            for mask in range(1, asks.shape[1]):
                if mask & bit:
                    wanted += asks[h, mask]
            taken = min(wanted * up_h, machines_h * places.per_hour[place])
            left = 1.0 - taken / wanted if wanted > 0.0 else 1.0
            full = 0.0
            for mask in range(1, asks.shape[1]):
                if mask & bit:
                    asks[h, mask] *= left
                    if mask >> (c + 1) == 0:
                        full += asks[h, mask]
            used = 0.0
            if machines_h > 0.0:
                used = min(taken / (machines_h * places.per_hour[place]), 1.0)
            drawn_wh = machines_h * _draw_w(
                used, places.idle_w[place], places.busy_w[place], BEND_STATED
            )
            load = drawn_wh * (1.0 + places.overhead[place])
            row = out[c, h]
            row[3], row[6], row[7], row[8], row[10] = taken, full, drawn_wh, load, load
            row[13] = load * world.grid_g_per_wh[places.zone[place], h]
            row[14] = load * places.usd_per_wh[place]


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
    told = _Hours(
        weights=world.weights,
        weekday_h=world.weekday * 24,
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
        _region(region, first, last, room, hours, places, changes, told, rows, up, sites)

    with ThreadPoolExecutor(threads) as pool:
        for ended, _ in enumerate(pool.map(one, range(fleet.regions)), 1):
            tell(ended / fleet.regions)
    clouds = np.zeros((fleet.clouds, hours, COLUMNS))
    asks = ups.sum(axis=0)
    if fleet.clouds:
        _clouds(fleet.sites + fleet.regions, hours, asks, places, changes, told, clouds)
    return Year(regions=out, clouds=clouds, sites=sites)


def _places(fleet: FleetArrays, world: World) -> _Places:
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
    weight = fleet.requests_per_day
    mean_s = float(np.average(service_s, weights=weight)) if weight.sum() else service_s.mean()
    above = np.full(fleet.regions + fleet.clouds, mean_s)
    return _Places(
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
        group_share=share,
        group_bytes=group_bytes,
        solar_w=world.solar_w,
        battery_wh=world.battery_wh,
        battery_w=world.battery_w,
    )
