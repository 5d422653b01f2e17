"""A large fleet from a small one: its sites, again and again, with sizes and places drawn.

Regions are copies of the file's, spread over the land around them; each holds as many
sites as the assumption `sites_per_region` says. A copy of a site keeps its original's
machines, prices, models and ways; how far it is from its region, and how much it is asked,
are drawn from the seed.

Units:   degrees; the round trip to the room is what `fleet.links` computes for the distance.
Errors:  SpanError, for a number of sites that cannot be.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from skerry.base.units import MS_PER_SECOND
from skerry.fleet.links import EARTH_RADIUS_KM, computed_round_trip_ms
from skerry.plan.simulate.errors import SpanError
from skerry.plan.simulate.fleet_arrays import FleetArrays, Floats

SITES_MAX: Final = 200_000


def grown(
    fleet: FleetArrays, sites: int, assumed: Mapping[str, float], *, seed: int
) -> FleetArrays:
    """Return a fleet of so many sites, made from another one's."""
    if not 1 <= sites <= SITES_MAX:
        raise SpanError("sites", str(sites), f"1 to {SITES_MAX}")
    rng = np.random.default_rng((seed, 33))
    regions = max(1, round(sites / assumed["sites_per_region"]))
    source_region = np.arange(regions) % fleet.regions
    first_site = np.arange(regions + 1) * sites // regions
    region = np.repeat(np.arange(regions), np.diff(first_site))
    place = np.arange(sites) - first_site[region]
    own = source_region[region]
    held = np.diff(fleet.first_site)[own]
    source = fleet.first_site[own] + place % held
    room = fleet.sites + source_region
    clouds = fleet.sites + fleet.regions + np.arange(fleet.clouds)
    kept = np.concatenate([source, room, clouds])
    latitude_deg, longitude_deg = fleet.latitude_deg[kept], fleet.longitude_deg[kept]
    apart = assumed["region_spread_deg"]
    north, east = rng.normal(0.0, apart, regions), rng.normal(0.0, 2.0 * apart, regions)
    near = assumed["site_spread_deg"]
    latitude_deg[:sites] += north[region] + rng.normal(0.0, near, sites)
    longitude_deg[:sites] += east[region] + rng.normal(0.0, near, sites)
    latitude_deg[sites : sites + regions] += north
    longitude_deg[sites : sites + regions] += east
    latitude_deg = np.clip(latitude_deg, -80.0, 80.0)
    longitude_deg = (longitude_deg + 180.0) % 360.0 - 180.0
    sigma = math.sqrt(math.log1p(assumed["site_size_cv"] ** 2))
    size = rng.lognormal(-(sigma**2) / 2, sigma, sites)
    ups = np.column_stack(
        [sites + region, *(np.full(sites, sites + regions + c) for c in range(fleet.clouds))]
    )
    distance_km = _distance_km(
        latitude_deg[:sites, None],
        longitude_deg[:sites, None],
        latitude_deg[ups],
        longitude_deg[ups],
    )
    names = [f"{fleet.region_names[k]}-{n + 1:03d}" for n, k in enumerate(source_region)]
    return replace(
        fleet,
        name=f"{fleet.name}, grown to {sites} sites",
        site_names=tuple(f"{fleet.site_names[k]}-{n + 1:05d}" for n, k in enumerate(source)),
        region_names=tuple(names) if regions > 1 else fleet.region_names[:1],
        first_site=first_site,
        nodes=fleet.nodes[kept],
        idle_w=fleet.idle_w[kept],
        busy_w=fleet.busy_w[kept],
        pue_ratio=fleet.pue_ratio[kept],
        usd_per_kwh=fleet.usd_per_kwh[kept],
        fixed_usd_per_h=fleet.fixed_usd_per_h[kept],
        feed_w=fleet.feed_w[kept],
        ups_s=fleet.ups_s[kept],
        grid_g_per_kwh=fleet.grid_g_per_kwh[kept],
        zone=fleet.zone[kept],
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        requests_per_day=fleet.requests_per_day[source] * size,
        flow_share=fleet.flow_share[source],
        ways=fleet.ways[source],
        round_trip_s=round_trips_ms(distance_km) / MS_PER_SECOND,
        jitter_s=fleet.jitter_s[source],
        byte_s=fleet.byte_s[source],
    )


def round_trips_ms(distance_km: Floats) -> Floats:
    """Return the estimate of round trips over distances."""
    flat = [computed_round_trip_ms(one) for one in distance_km.ravel().tolist()]
    return np.array(flat).reshape(distance_km.shape)


def _distance_km(lat_a: Floats, lon_a: Floats, lat_b: Floats, lon_b: Floats) -> Floats:
    """Return great-circle distances of arrays, as `fleet.links.distance_km` has them."""
    lat_a, lon_a, lat_b, lon_b = (np.radians(value) for value in (lat_a, lon_a, lat_b, lon_b))
    h = (
        np.sin((lat_b - lat_a) / 2) ** 2
        + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    )
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(1.0, h))))
