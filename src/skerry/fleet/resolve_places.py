"""Tiers, sites and links of the authored file to resolved ones.

What a file leaves out is filled here, and only here: a tier's PUE and energy price
from the assumptions below (the lint says so), a site's jurisdiction from its grid
zone, its carbon from the built-in table, its feed and nodes from its tier, a link's
round trip from coordinates.
"""

import re

from skerry.fleet.findings import Findings
from skerry.fleet.links import JITTER_MS, computed_link
from skerry.fleet.tables import COUNTRIES, grid_zones, machine_types
from skerry.fleet.windows import check_span
from skerry.schema.file_errors import KeyPath
from skerry.schema.fleet import Contact, Kind, Link, Machine, Site, Tier
from skerry.schema.fleet_file import FleetFile, SiteFile, TierFile

PUE_ASSUMED = 1.5
ENERGY_USD_PER_KWH_ASSUMED = 0.25
UPLINK_BIT_PER_S_CLOUD = 10e9
RESERVED_SITES = frozenset({"central"})
"""Names that the spine uses for itself: `central` is central's JetStream domain."""

_NODES = re.compile(r"([1-9][0-9]{0,3}) ?x ?([a-z0-9][a-z0-9-]{0,62})")
_TOKEN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def resolve_tiers(file: FleetFile, notes: Findings) -> dict[str, Tier]:
    """Return the tiers that are sound; notes say what is wrong with the others."""
    machines = dict(machine_types())
    for name, stated in file.machines.items():
        path: KeyPath = ("machines", name)
        check_token(name, "machine", path, notes)
        idle_w = notes.quantity(stated.idle, "W", (*path, "idle"))
        busy_w = notes.quantity(stated.busy, "W", (*path, "busy"), above=True)
        if idle_w > busy_w > 0:
            notes.contradiction((*path, "idle"), f"idles at {idle_w:g} W, above busy {busy_w:g} W")
        if not 0 < stated.life <= 30:
            notes.bad_value((*path, "life"), f"is {stated.life:g} years, wanted 0 to 30")
        machines[name] = Machine(
            name=name,
            idle_w=idle_w,
            busy_w=busy_w,
            price_usd=notes.quantity(stated.price, "USD", (*path, "price")),
            life_years=float(stated.life),
            source=stated.source,
        )
    tiers = {}
    for name, tier in file.tiers.items():
        check_token(name, "tier", ("tiers", name), notes)
        resolved = _tier(name, tier, machines, notes)
        if resolved is not None:
            tiers[name] = resolved
    return tiers


def _tier(name: str, tier: TierFile, machines: dict[str, Machine], notes: Findings) -> Tier | None:
    path: KeyPath = ("tiers", name)
    kinds = [kind.value for kind in Kind]
    if tier.kind not in kinds:
        notes.unknown((*path, "kind"), "kind of tier", tier.kind, kinds)
        return None
    kind = Kind(tier.kind)
    nodes = _NODES.fullmatch(tier.nodes.strip())
    if nodes is None:
        notes.bad_value(
            (*path, "nodes"), f"`{tier.nodes}` is not a count of machines, wanted `2 x mini-pc`"
        )
        return None
    machine = machines.get(nodes[2])
    if machine is None:
        notes.unknown((*path, "nodes"), "machine type", nodes[2], machines)
        return None
    if kind is not Kind.CLOUD:
        for key in ("feed", "uplink"):
            if getattr(tier, key) is None:
                notes.bad_value(path, f"has no `{key}`", f"add `{key}:` to the tier", key=True)
    if not 1.0 <= (tier.pue if tier.pue is not None else PUE_ASSUMED) <= 5.0:
        notes.bad_value(
            (*path, "pue"),
            f"is {tier.pue:g}, wanted 1 to 5",
            "PUE is all power over IT power, so it is never below 1",
        )
    return Tier(
        name=name,
        kind=kind,
        nodes=int(nodes[1]),
        machine=machine,
        feed_w=_optional(tier.feed, "W", 0.0, (*path, "feed"), notes, above=True),
        ups_s=_optional(tier.ups, "s", 0.0, (*path, "ups"), notes),
        uplink_bit_per_s=_optional(
            tier.uplink, "bit/s", UPLINK_BIT_PER_S_CLOUD, (*path, "uplink"), notes, above=True
        ),
        pue_ratio=float(tier.pue) if tier.pue is not None else PUE_ASSUMED,
        energy_usd_per_kwh=_optional(
            tier.energy, "USD/kWh", ENERGY_USD_PER_KWH_ASSUMED, (*path, "energy"), notes
        ),
        usd_per_month=_optional(tier.monthly, "USD", 0.0, (*path, "monthly"), notes),
    )


def _optional(
    text: str | None,
    unit: str,
    default: float,
    path: KeyPath,
    notes: Findings,
    *,
    above: bool = False,
) -> float:
    return default if text is None else notes.quantity(text, unit, path, above=above)


def resolve_sites(file: FleetFile, tiers: dict[str, Tier], notes: Findings) -> tuple[Site, ...]:
    """Return the sites that are sound, in the order of the file."""
    first_at: dict[str, int] = {}
    sites = []
    for index, site in enumerate(file.sites):
        path: KeyPath = ("sites", index)
        if site.name in first_at:
            notes.duplicate(
                (*path, "name"),
                f"site `{site.name}` is there twice",
                f"the first is sites.{first_at[site.name]}; names are unique in a fleet",
            )
        first_at.setdefault(site.name, index)
        if site.name in RESERVED_SITES:
            notes.bad_value((*path, "name"), f"`{site.name}` is a reserved name", "choose another")
        tier = tiers.get(site.tier)
        if tier is None:
            if site.tier not in file.tiers:
                notes.unknown((*path, "tier"), "tier", site.tier, file.tiers)
            _place_of(site, path, notes)
            continue
        sites.append(_site(site, tier, path, notes))
    _check_regions(file, {site.name: site for site in sites}, notes)
    return tuple(sites)


def _site(site: SiteFile, tier: Tier, path: KeyPath, notes: Findings) -> Site:
    latitude, longitude, jurisdiction, zone, carbon, source = _place_of(site, path, notes)
    own_region = tier.kind in (Kind.REGIONAL, Kind.CLOUD)
    if site.hours is not None:
        check_span(site.hours, (*path, "hours"), notes)
    contact = None
    if site.contact is not None:
        contact = Contact(name=site.contact.name, phone=site.contact.phone)
    return Site(
        name=site.name,
        tier=site.tier,
        kind=tier.kind,
        region=site.region or (site.name if own_region else ""),
        latitude_deg=latitude,
        longitude_deg=longitude,
        jurisdiction=jurisdiction,
        grid_zone=zone,
        grid_g_per_kwh=carbon,
        grid_source=source,
        nodes=site.nodes or tier.nodes,
        feed_w=_optional(site.feed, "W", tier.feed_w, (*path, "feed"), notes, above=True),
        hours=site.hours or "",
        contact=contact,
        labels={key: label_text(value) for key, value in site.labels.items()},
    )


def _place_of(
    site: SiteFile, path: KeyPath, notes: Findings
) -> tuple[float, float, str, str, float, str]:
    """Return latitude, longitude, jurisdiction, grid zone, g/kWh and its source."""
    latitude, longitude = float(site.at[0]), float(site.at[1])
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # NaN fails both
        swapped = abs(latitude) <= 180 and abs(longitude) <= 90
        notes.bad_value(
            (*path, "at"),
            f"[{latitude:g}, {longitude:g}] is not a place, wanted [latitude -90 to 90, "
            "longitude -180 to 180]",
            f"did you mean [{longitude:g}, {latitude:g}]?" if swapped else "",
        )
        latitude = longitude = 0.0
    zone = site.grid or ""
    known = grid_zones().get(zone)
    carbon, source = 0.0, ""
    if site.grid_carbon is not None:
        carbon = notes.quantity(site.grid_carbon, "g/kWh", (*path, "grid_carbon"))
        source = site.grid_source or "stated: the fleet file"
    elif known is not None:
        carbon, source = known.g_per_kwh, known.source
    elif zone:
        notes.unknown((*path, "grid"), "grid zone", zone, grid_zones())
    else:
        notes.bad_value(
            path, "has neither `grid` nor `grid_carbon`", "add `grid: NO` or another country"
        )
    country = site.jurisdiction or zone.split("-")[0]
    if site.jurisdiction is not None or not zone:
        where: KeyPath = (*path, "jurisdiction") if site.jurisdiction is not None else path
        check_country(country, where, notes)
    elif country not in COUNTRIES and site.grid_carbon is not None:
        notes.bad_value(
            path,
            f"has no jurisdiction, and its grid zone `{zone}` names no country",
            "add `jurisdiction: NO` or another country",
        )
    return latitude, longitude, country, zone, carbon, source


def _check_regions(file: FleetFile, sites: dict[str, Site], notes: Findings) -> None:
    """Hold the one rule of regions: edge belongs to a region, a region to itself."""
    heads = {name for name, site in sites.items() if site.kind in (Kind.REGIONAL, Kind.CLOUD)}
    for index, authored in enumerate(file.sites):
        site = sites.get(authored.name)
        path: KeyPath = ("sites", index, "region")
        if site is None:
            continue
        if site.name in heads:
            if authored.region not in (None, site.name):
                notes.contradiction(
                    path,
                    f"a {site.kind.value} site is its own region, here it is `{authored.region}`",
                    "remove `region` here",
                )
        elif authored.region is None:
            notes.bad_value(
                ("sites", index),
                f"{site.kind.value} site `{site.name}` has no region",
                f"add `region: {min(heads)}`" if heads else "add a site of a regional tier first",
            )
        elif authored.region in sites and authored.region not in heads:
            kind = sites[authored.region].kind.value
            notes.contradiction(
                path,
                f"`{authored.region}` is an {kind} site, so it cannot be a region",
                f"regions are: {', '.join(sorted(heads)) or 'none yet'}",
            )
        elif authored.region not in sites and authored.region not in {s.name for s in file.sites}:
            notes.unknown(path, "region", authored.region, heads)


def resolve_links(
    file: FleetFile, sites: tuple[Site, ...], tiers: dict[str, Tier], notes: Findings
) -> tuple[Link, ...]:
    """Return site-region, site-cloud and region-cloud links, and whatever the file states."""
    by_name = {site.name: site for site in sites}
    stated: dict[frozenset[str], Link] = {}
    for index, link in enumerate(file.links):
        path: KeyPath = ("links", index)
        ends = [_end(name, by_name, file, (*path, "between", i), notes)
                for i, name in enumerate(link.between)]  # fmt: skip
        round_trip_ms = notes.quantity(link.round_trip, "ms", (*path, "round_trip"), high=5000)
        jitter_ms = _optional(link.jitter, "ms", JITTER_MS, (*path, "jitter"), notes)
        bandwidth = _optional(link.bandwidth, "bit/s", 0.0, (*path, "bandwidth"), notes, above=True)
        one, other = ends
        if one is None or other is None:
            continue
        pair = frozenset((one.name, other.name))
        if len(pair) == 1:
            notes.contradiction((*path, "between"), f"links `{one.name}` with itself")
        elif pair in stated:
            notes.duplicate((*path, "between"), f"{one.name} and {other.name} are linked twice")
        else:
            stated[pair] = Link(
                a=one.name,
                b=other.name,
                round_trip_ms=round_trip_ms,
                jitter_ms=jitter_ms,
                bandwidth_bit_per_s=bandwidth or _narrower(one, other, tiers),
                stated=True,
            )
    links: dict[frozenset[str], Link] = {}
    clouds = [site for site in sites if site.kind is Kind.CLOUD]
    for site in sites:
        region = by_name.get(site.region)
        for other in ([region] if region is not None else []) + clouds:
            pair = frozenset((site.name, other.name))
            if len(pair) == 2 and pair not in links:
                known = stated.pop(pair) if pair in stated else None
                links[pair] = known or computed_link(site, other, _narrower(site, other, tiers))
    return (*links.values(), *stated.values())


def _end(
    name: str, by_name: dict[str, Site], file: FleetFile, path: KeyPath, notes: Findings
) -> Site | None:
    if name not in by_name and name not in {site.name for site in file.sites}:
        notes.unknown(path, "site", name, by_name)
    return by_name.get(name)


def _narrower(a: Site, b: Site, tiers: dict[str, Tier]) -> float:
    return min(tiers[a.tier].uplink_bit_per_s, tiers[b.tier].uplink_bit_per_s)


def label_text(value: str | int | bool) -> str:
    """Write a label's value as a ring names it: `true`, `7`, `pilot`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_token(name: str, kind: str, path: KeyPath, notes: Findings) -> None:
    """Note a name that cannot be part of an address."""
    if not _TOKEN.fullmatch(name):
        notes.bad_value(
            path, f"`{name}` cannot name a {kind}, wanted 1 to 63 of a-z, 0-9 and `-`", key=True
        )


def check_country(code: str, path: KeyPath, notes: Findings) -> None:
    """Note a jurisdiction that is no country code."""
    if code not in COUNTRIES:
        upper = code.upper()
        usual = {"UK": "GB", "EL": "GR"}.get(upper, upper)
        if usual in COUNTRIES:
            advice = f"did you mean `{usual}`?"
        else:
            near = sorted(c for c in COUNTRIES if c[:1] == upper[:1])
            advice = f"country codes with that letter: {', '.join(near)}" if near else ""
        notes.bad_value(path, f"`{code}` is not an ISO 3166-1 country code such as `NO`", advice)
