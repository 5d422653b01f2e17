"""Links between sites: stated where the file states them, else computed from coordinates.

    round_trip_ms = 9.5 + 2.3 * (2 * d / 204.19)

d is the great-circle distance in km (haversine, mean Earth radius 6371.0088 km); light
in fibre travels 204,190 km/s (vacuum / 1.468). The base of 9.5 ms and the path factor
of 2.3 are the least-absolute-deviation fit to 9,969 city pairs under 5,000 km; half of
the pairs lie within 26 % of it, so a computed round trip is an *estimate* and a
measured one replaces it. Two sites at the same place get the base alone.

Units:   km, ms, bit/s.
Source:  WonderNetwork pings of 2018-11-10 (ConsenSys/wittgenstein, Apache-2.0), pairs
         below the fibre bound left out. Jitter: their median mean deviation, 0.6 ms.
"""

import math
from collections.abc import Callable

from skerry.schema.fleet import Fleet, Link, Site

EARTH_RADIUS_KM = 6371.0088
FIBRE_KM_PER_MS = 204.19
BASE_MS = 9.5
PATH_FACTOR = 2.3
JITTER_MS = 0.6
SAME_SITE_MS = 0.3
"""Between two nodes of one site: a switch and two network stacks. Stated."""


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the great-circle distance between two points of (latitude, longitude) in degrees."""
    lat_a, lon_a, lat_b, lon_b = (math.radians(value) for value in (*a, *b))
    h = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h)))


def computed_round_trip_ms(distance: float) -> float:
    """Return the estimate of a round trip over a distance in km."""
    return BASE_MS + PATH_FACTOR * 2 * distance / FIBRE_KM_PER_MS


def computed_link(a: Site, b: Site, bandwidth_bit_per_s: float) -> Link:
    """Return the link between two sites as their coordinates suggest it."""
    distance = distance_km((a.latitude_deg, a.longitude_deg), (b.latitude_deg, b.longitude_deg))
    return Link(
        a=a.name,
        b=b.name,
        round_trip_ms=round(computed_round_trip_ms(distance), 1),
        jitter_ms=JITTER_MS,
        bandwidth_bit_per_s=bandwidth_bit_per_s,
        stated=False,
    )


def link_between(fleet: Fleet, a: str, b: str) -> Link:
    """Return the link between two sites, in either direction; compute it if nobody lists it.

    Raises `KeyError` if there is no such site. For many links, ask `link_table` once.
    """
    return link_table(fleet)(a, b)


def link_table(fleet: Fleet) -> Callable[[str, str], Link]:
    """Return `link_between` of a fleet, its sites and links looked up by name."""
    sites = {site.name: site for site in fleet.sites}
    stated: dict[tuple[str, str], Link] = {}
    for link in fleet.links:  # the first that names a pair counts
        stated.setdefault((link.a, link.b), link)
        stated.setdefault((link.b, link.a), link)

    def between(a: str, b: str) -> Link:
        known = stated.get((a, b))
        if known is not None:
            return known
        one, other = sites[a], sites[b]
        if a == b:
            return Link(
                a=a,
                b=b,
                round_trip_ms=SAME_SITE_MS,
                jitter_ms=0.0,
                bandwidth_bit_per_s=1e9,
                stated=False,
            )
        bandwidth = min(
            fleet.tiers[one.tier].uplink_bit_per_s, fleet.tiers[other.tier].uplink_bit_per_s
        )
        return computed_link(one, other, bandwidth)

    return between
