"""The loop over hours, compiled: outages, who answers, what is drawn, sun and battery.

`plan.simulate_hours` says what is simulated, and calls it. Power and battery are the
functions of the energy room (`draw_w`, `battery_step`).

Units:   requests, Wh, g, USD per hour of the simulation.
Shapes:  as `plan.simulate_hours` says; columns are those of `Column` and `SiteColumn`.
"""

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy import battery, power_curve
from skerry.energy.site_energy import BEND_STATED
from skerry.plan.compiled import compiled, kernel, part
from skerry.plan.simulate.fleet_arrays import HERE, Floats, Ints
from skerry.plan.simulate.outages import Changes
from skerry.plan.simulate.world import CLOCKS, WEEK_H, day_chance

_draw_w = compiled(power_curve.draw_w)
_battery_step = compiled(battery.battery_step)
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


_ASKED, _HERE = Column.ASKED.value, Column.HERE.value
_ROOM, _CLOUD = Column.ROOM.value, Column.CLOUD.value
_NO_WAY, _CUT, _FULL = Column.NO_WAY.value, Column.CUT.value, Column.FULL.value
_IT, _LOAD, _SOLAR = Column.IT_WH.value, Column.LOAD_WH.value, Column.SOLAR_WH.value
_IMPORT, _EXPORT, _LOSS = Column.IMPORT_WH.value, Column.EXPORT_WH.value, Column.LOSS_WH.value
_GRAMS, _USD, _BYTES = Column.GRAMS.value, Column.USD.value, Column.UP_BYTES.value
_S_ASKED, _S_HERE, _S_REFUSED = 0, 1, 2
_S_LOAD, _S_IMPORT, _S_GRAMS = 3, 4, 5
_S_PEAK, _S_OVER, _CHARGE = 6, 7, 8


class Places(NamedTuple):
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
    here_share: Floats
    group_share: Floats
    group_bytes: Floats
    solar_w: Floats
    battery_wh: Floats
    battery_w: Floats


class Hours(NamedTuple):
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


class _Sites(NamedTuple):
    """Where a region's sites stand, one entry each: next change, what is lost, up machines."""

    step: Ints
    due_s: Floats
    lost: Ints
    alive: Floats
    chance: Floats


@part
def _moved(place: int, i: int, at_s: float, nodes: int, steps: Changes, now: _Sites) -> None:
    """Take in what changes at one place up to a time; `lost` holds nodes, places, links."""
    k, end = now.step[i], steps.first[place + 1]
    while k < end and steps.at_s[k] <= at_s:
        now.lost[i, 0] += steps.nodes[k]
        now.lost[i, 1] += steps.down[k]
        now.lost[i, 2] += steps.cut[k]
        k += 1
    now.step[i] = k
    now.due_s[i] = steps.at_s[k] if k < end else np.inf
    now.alive[i] = 0.0 if now.lost[i, 1] > 0 else float(max(nodes - now.lost[i, 0], 0))


@part
def _fresh(first: int, count: int, places: Places, steps: Changes) -> _Sites:
    """Return some places as they stand at the start: all up."""
    now = _Sites(
        np.empty(count, dtype=np.int64),
        np.empty(count),
        np.zeros((count, 3), dtype=np.int64),
        np.empty(count),
        np.ones(count),
    )
    for i in range(count):
        now.step[i] = steps.first[first + i]
        _moved(first + i, i, -1.0, places.nodes[first + i], steps, now)
    return now


@part
def _spill(
    s: int, asked: float, left: float, cut: bool, places: Places, asks: Floats, lost: Floats
) -> float:
    """Send what a site does not answer up the ways that are open; return what is refused.

    `left` is the part of its own work that it could not do; `lost` adds up requests without
    a way, requests cut off, and the bytes that are sent.
    """
    refused = 0.0
    for g in range(len(places.masks)):
        mask = places.masks[g]
        rest = asked * places.group_share[s, g]
        if mask & HERE:
            rest *= left
        if mask < 2:
            lost[0] += rest
            refused += rest
        elif cut:
            lost[1] += rest
            refused += rest
        else:
            asks[mask >> 1] += rest
            lost[2] += rest * places.group_bytes[g]
    return refused


@part
def _up_in(
    place: int, i: int, from_s: float, to_s: float, nodes: int, steps: Changes, now: _Sites
) -> tuple[float, float]:
    """Walk a place through an hour: the machine-hours that are up, and the part it is up."""
    if now.due_s[i] >= to_s:
        return now.alive[i], 1.0 if now.alive[i] > 0.0 else 0.0
    machines_h, up_h, t = 0.0, 0.0, from_s
    while t < to_s:
        _moved(place, i, t, nodes, steps, now)
        until = min(to_s, now.due_s[i])
        machines_h += now.alive[i] * (until - t) / _HOUR_S
        if now.alive[i] > 0.0:
            up_h += (until - t) / _HOUR_S
        t = until
    return machines_h, up_h


@part
def _power(
    work: float,
    machines_h: float,
    per_hour: float,
    idle_w: float,
    busy_w: float,
    overhead: float,
) -> tuple[float, float]:
    """Return what machines draw in an hour of some work, and that with their cooling."""
    if machines_h <= 0.0:
        return 0.0, 0.0
    used = min(work / (machines_h * per_hour), 1.0)
    it_wh = machines_h * _draw_w(used, idle_w, busy_w, BEND_STATED)
    return it_wh, it_wh * (1.0 + overhead)


@kernel
def hours_of_region(
    region: int,
    first: int,
    last: int,
    room: int,
    hours: int,
    places: Places,
    steps: Changes,
    world: Hours,
    out: Floats,
    up: Floats,
    sites: Floats,
) -> None:
    """Simulate one region; `out` is (H, columns), `up` is (H, masks): asked of clouds."""
    count = last - first
    now = _fresh(first, count, places, steps)
    above = _fresh(room, 1, places, steps)
    asks = np.zeros(2 * up.shape[1])
    lost = np.zeros(3)
    weight = np.zeros(2 * CLOCKS)
    # Looked up once: each look into a tuple of arrays would count references.
    due_s, alive, cuts, chance = now.due_s, now.alive, now.lost, now.chance
    clocks, zones, feed_w = places.clock, places.zone, places.feed_w
    asked_per_h, here_share, per_hour = places.asked_per_h, places.here_share, places.per_hour
    idle_w, busy_w, overhead = places.idle_w, places.busy_w, places.overhead
    solar_w, battery_wh, battery_w = places.solar_w, places.battery_wh, places.battery_w
    usd_per_wh, grid_g_per_wh = places.usd_per_wh, world.grid_g_per_wh
    for h in range(hours):
        from_s, to_s = h * _HOUR_S, (h + 1) * _HOUR_S
        for o in range(2 * CLOCKS):
            hour_of_week = (h + o - CLOCKS + WEEK_H + world.weekday_h) % WEEK_H
            weight[o] = world.weights[hour_of_week] * world.demand[region, h]
        asks[:] = 0.0
        lost[:] = 0.0
        warmth, sun = world.warmth[region, h], world.solar[region, h]
        carbon, price = world.carbon[region, h], world.price[region, h]
        all_asked = all_here = all_it = all_load = all_solar = 0.0
        all_import = all_export = all_loss = all_grams = all_usd = 0.0
        for i in range(count):
            s = first + i
            local_h = h + clocks[s] - CLOCKS + WEEK_H + world.weekday_h
            if h == 0 or local_h % 24 == 0:
                chance[i] = day_chance(world.day_factor, world.seed, s, local_h // 24)
            asked = asked_per_h[s] * weight[clocks[s]] * chance[i]
            mine, refused = asked * here_share[s], 0.0
            if due_s[i] >= to_s:
                machines_h = alive[i]
                done = min(mine, machines_h * per_hour[s])
                if done < asked:
                    left = 1.0 - done / mine if mine > 0.0 else 1.0
                    refused = _spill(s, asked, left, cuts[i, 2] > 0, places, asks, lost)
            else:
                machines_h, done, t = 0.0, 0.0, from_s
                while t < to_s:
                    _moved(s, i, t, places.nodes[s], steps, now)
                    until = min(to_s, due_s[i])
                    part_h = (until - t) / _HOUR_S
                    machines_h += alive[i] * part_h
                    did = min(mine * part_h, alive[i] * part_h * per_hour[s])
                    left = 1.0 - did / (mine * part_h) if mine * part_h > 0.0 else 1.0
                    cut = cuts[i, 2] > 0
                    refused += _spill(s, asked * part_h, left, cut, places, asks, lost)
                    done += did
                    t = until
            it_wh, load_wh = _power(
                done, machines_h, per_hour[s], idle_w[s], busy_w[s], overhead[s] * warmth
            )
            solar_wh = solar_w[s] * sun
            surplus_wh = solar_wh - load_wh
            bought_wh, sold_wh = max(-surplus_wh, 0.0), max(surplus_wh, 0.0)
            if battery_wh[s] > 0.0:
                before_wh = sites[s, _CHARGE]
                after_wh, sold_wh, bought_wh = _battery_step(
                    before_wh, surplus_wh, battery_wh[s], battery_w[s], world.charge_ratio
                )
                sites[s, _CHARGE] = after_wh
                all_loss += surplus_wh + bought_wh - sold_wh + before_wh - after_wh
            grams = bought_wh * grid_g_per_wh[zones[s], h] * carbon
            all_asked += asked
            all_here += done
            all_it += it_wh
            all_load += load_wh
            all_solar += solar_wh
            all_import += bought_wh
            all_export += sold_wh
            all_grams += grams
            all_usd += bought_wh * usd_per_wh[s] * price
            sites[s, _S_ASKED] += asked
            sites[s, _S_HERE] += done
            sites[s, _S_REFUSED] += refused
            sites[s, _S_LOAD] += load_wh
            sites[s, _S_IMPORT] += bought_wh
            sites[s, _S_GRAMS] += grams
            sites[s, _S_PEAK] = max(sites[s, _S_PEAK], bought_wh)
            if bought_wh > feed_w[s]:
                sites[s, _S_OVER] += 1.0
        machines_h, up_h = _up_in(room, 0, from_s, to_s, places.nodes[room], steps, above)
        wanted = asks[1::2].sum()
        taken = min(wanted * up_h, machines_h * places.per_hour[room])
        left = 1.0 - taken / wanted if wanted > 0.0 else 1.0
        for mask in range(2, len(asks)):
            up[h, mask >> 1] += asks[mask] * (left if mask & 1 else 1.0)
        it_wh, load_wh = _power(
            taken, machines_h, per_hour[room], idle_w[room], busy_w[room], overhead[room] * warmth
        )
        row = out[h]
        row[_ASKED], row[_HERE], row[_ROOM] = all_asked, all_here, taken
        row[_NO_WAY], row[_CUT], row[_BYTES] = lost[0], lost[1], lost[2]
        row[_FULL] = asks[1] * left
        row[_IT], row[_LOAD] = all_it + it_wh, all_load + load_wh
        row[_SOLAR], row[_IMPORT] = all_solar, all_import + load_wh
        row[_EXPORT], row[_LOSS] = all_export, all_loss
        row[_GRAMS] = all_grams + load_wh * grid_g_per_wh[zones[room], h] * carbon
        row[_USD] = all_usd + load_wh * usd_per_wh[room] * price


@kernel
def hours_of_clouds(
    first: int,
    hours: int,
    asks: Floats,
    places: Places,
    steps: Changes,
    world: Hours,
    out: Floats,
) -> None:
    """Let the clouds take what is left, in order; `asks` is (H, masks), `out` (C, H, columns)."""
    clouds = out.shape[0]
    now = _fresh(first, clouds, places, steps)
    for h in range(hours):
        for c in range(clouds):
            place, bit = first + c, 1 << c
            machines_h, up_h = _up_in(
                place, c, h * _HOUR_S, (h + 1) * _HOUR_S, places.nodes[place], steps, now
            )
            wanted = 0.0
            for mask in range(1, asks.shape[1]):
                if mask & bit:
                    wanted += asks[h, mask]
            taken = min(wanted * up_h, machines_h * places.per_hour[place])
            left = 1.0 - taken / wanted if wanted > 0.0 else 1.0
            row = out[c, h]
            for mask in range(bit, asks.shape[1]):
                if mask & bit:
                    asks[h, mask] *= left
                    if mask >> (c + 1) == 0:  # no cloud after this one may answer
                        row[_FULL] += asks[h, mask]
            it_wh, load_wh = _power(
                taken,
                machines_h,
                places.per_hour[place],
                places.idle_w[place],
                places.busy_w[place],
                places.overhead[place],
            )
            row[_CLOUD], row[_IT], row[_LOAD], row[_IMPORT] = taken, it_wh, load_wh, load_wh
            row[_GRAMS] = load_wh * world.grid_g_per_wh[places.zone[place], h]
            row[_USD] = load_wh * places.usd_per_wh[place]
