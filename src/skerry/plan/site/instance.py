"""An instance of site selection: the JSON that people write, read and checked.

Candidates are places where a site could be opened, demands are places that ask. Rules say
which candidate may serve which demand; each has its field, and one that is not stated
does not bind. `docs/reference/plan-files.md` lists every field.

A `description` may state the round trip and the unit cost as formulas in words
(`RTT = 3.0 + 0.0166*km`, `unit_cost = price*1.4*1.2*8760 + 6*RTT`), and `residency` may be
a sentence (`demand in an EU country must be served from an EU country`); fields win.

Units:   km, ms, kW, USD a year, days; capacity and demand in the instance's own units.
Errors:  SiteFileError, with the path of the field.
"""

import csv
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from skerry.base.units import BYTES_PER_MIB
from skerry.fleet.tables import COUNTRIES
from skerry.plan.site.errors import SiteFileError

FILE_BYTES_MAX: Final = 512 * BYTES_PER_MIB
PAIRS_MAX: Final = 20_000_000

Name = str | int
Positive = Annotated[float, Meta(gt=0)]
AtLeast0 = Annotated[float, Meta(ge=0)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Share = Annotated[float, Meta(ge=0, le=1)]
Countries = str | tuple[str, ...]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; a field that it does not know is an error."""


class Candidate(_Written, frozen=True, kw_only=True):
    """A place where a site could be opened."""

    id: Name
    lat: Latitude
    lon: Longitude
    fixed_usd_yr: AtLeast0
    usd_kwh: AtLeast0 = 0.0
    capacity: AtLeast0 | None = None
    city: str = ""
    country: str = ""
    risk: Share = 0.0
    vendor: str = ""
    permit_kw: AtLeast0 | None = None
    """What the grid connection may draw, cooling included."""
    permit_lead_days: AtLeast0 = 0.0
    connectivity_lead_days: AtLeast0 = 0.0


class Demand(_Written, frozen=True, kw_only=True):
    """A place that asks."""

    id: Name
    lat: Latitude
    lon: Longitude
    demand: AtLeast0 | None = None
    demand_by_month: tuple[AtLeast0, ...] | None = None
    city: str = ""
    country: str = ""
    rtt_slo_ms: Positive | None = None
    served_from: Countries = ()
    vendors_refused: tuple[str, ...] = ()


class ResidencyRule(_Written, frozen=True, kw_only=True):
    """Demand in some countries stays in some countries; each a code, a bloc or a list."""

    demand_in: Countries
    served_from: Countries


class StatedLatency(_Written, frozen=True, kw_only=True):
    """A round trip from distance, in place of the fitted model."""

    base_ms: AtLeast0
    ms_per_km: AtLeast0


class Instance(_Written, frozen=True, kw_only=True):
    """The whole file."""

    candidates: tuple[Candidate, ...]
    demands: tuple[Demand, ...]
    description: str = ""
    rtt_slo_ms: Positive | None = None
    residency: str | tuple[ResidencyRule, ...] = ()
    risk_max: Share | None = None
    lead_days_max: AtLeast0 | None = None
    vendors_refused: tuple[str, ...] = ()
    sites: Annotated[int, Meta(ge=1)] | None = None
    """Exactly so many sites; as many as pay where it is not stated."""
    latency: StatedLatency | None = None
    rtt_ms: tuple[tuple[AtLeast0, ...], ...] | None = None
    """Measured round trips: a row per candidate, a column per demand."""
    kw_per_unit: Positive | None = None
    pue_ratio: Annotated[float, Meta(ge=1)] | None = None
    kwh_per_unit_yr: AtLeast0 | None = None
    usd_per_unit_ms_yr: AtLeast0 | None = None


_RTT = re.compile(r"RTT\s*=\s*([\d.]+)\s*\+\s*([\d.]+)\s*\*\s*km")
_COST = re.compile(r"unit_cost\s*=\s*price((?:\s*\*\s*[\d.]+)+)\s*\+\s*([\d.]+)\s*\*\s*RTT")
_STAYS = re.compile(r"^demand in an? (\w+) country must be served from an? (\w+) country\.?$")


def read_instance(path: Path) -> Instance:
    """Read and check an instance; what its words state becomes fields."""
    where = str(path)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SiteFileError(where, "", "a larger file", f"at most {FILE_BYTES_MAX} bytes")
        instance = msgspec.json.decode(path.read_bytes(), type=Instance)
    except OSError as error:
        raise SiteFileError(where, "", error.strerror or str(error), "a JSON file") from error
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        raise SiteFileError(where, place.strip("`.") or "", what, "an instance") from error
    except msgspec.DecodeError as error:
        raise SiteFileError(where, "", str(error), "JSON") from error
    instance = _from_words(where, instance)
    _check(where, instance)
    return instance


def demand_of(demand: Demand) -> float:
    """Return a demand's size: the mean of its months where it has some."""
    if demand.demand_by_month is not None:
        return math.fsum(demand.demand_by_month) / len(demand.demand_by_month)
    return demand.demand or 0.0


def peak_of(demand: Demand) -> float:
    """Return what a demand needs room for: its largest month where it has some."""
    return max(demand.demand_by_month) if demand.demand_by_month else demand_of(demand)


def blocs() -> dict[str, tuple[str, ...]]:
    """Return the countries that each name of several stands for."""
    text = files("skerry.plan").joinpath("tables", "blocs.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["bloc"]: tuple(row["countries"].split()) for row in rows}


def countries_of(written: Countries, known: dict[str, tuple[str, ...]]) -> frozenset[str]:
    """Return the country codes that a code, a bloc or a list of them stands for."""
    names = (written,) if isinstance(written, str) else written
    return frozenset(code for name in names for code in known.get(name, (name,)))


def _from_words(where: str, instance: Instance) -> Instance:
    fields: dict[str, object] = {}
    text = instance.description
    if "RTT =" in text and instance.latency is None and instance.rtt_ms is None:
        found = _RTT.search(text)
        if found is None:
            raise SiteFileError(where, "description", "RTT in other words", "RTT = 3.0 + 0.0166*km")
        base, slope = map(float, found.groups())
        fields["latency"] = StatedLatency(base_ms=base, ms_per_km=slope)
    if "unit_cost =" in text and instance.kwh_per_unit_yr is None:
        found = _COST.search(text)
        if found is None:
            wanted = "unit_cost = price*1.4*1.2*8760 + 6*RTT"
            raise SiteFileError(where, "description", "unit_cost in other words", wanted)
        factors = [float(word) for word in found[1].split("*") if word.strip()]
        fields["kwh_per_unit_yr"] = math.prod(factors)
        if instance.usd_per_unit_ms_yr is None:
            fields["usd_per_unit_ms_yr"] = float(found[2])
    if isinstance(instance.residency, str):
        said = _STAYS.match(instance.residency.strip())
        if said is None:
            wanted = (
                "a list of rules, or: demand in an EU country must be served from an EU country"
            )
            raise SiteFileError(where, "residency", repr(instance.residency[:60]), wanted)
        fields["residency"] = (ResidencyRule(demand_in=said[1], served_from=said[2]),)
    return msgspec.structs.replace(instance, **fields)


def _check(where: str, instance: Instance) -> None:
    """Refuse what no field's own bounds can: duplicates, unknown countries, odd shapes."""

    def bad(place: str, found: str, wanted: str) -> SiteFileError:
        return SiteFileError(where, place, found, wanted)

    pairs = len(instance.candidates) * len(instance.demands)
    if not pairs:
        raise bad("", "no candidate or no demand", "at least one of each")
    if pairs > PAIRS_MAX:
        raise bad("", f"{pairs} pairs", f"at most {PAIRS_MAX}")
    for kind in ("candidates", "demands"):
        seen: dict[Name, int] = {}
        for index, one in enumerate(getattr(instance, kind)):
            if one.id in seen:
                raise bad(f"{kind}[{index}].id", f"{one.id!r} again", "an id used once")
            seen[one.id] = index
            _check_country(where, f"{kind}[{index}].country", one.country)
    known = blocs()
    for index, rule in enumerate(instance.residency):
        assert isinstance(rule, ResidencyRule)  # noqa: S101 - words became rules above
        for name in ("demand_in", "served_from"):
            _check_countries(where, f"residency[{index}].{name}", getattr(rule, name), known)
    stays = bool(instance.residency)
    for kind in ("candidates", "demands") if stays else ():
        for index, one in enumerate(getattr(instance, kind)):
            if not one.country:
                raise bad(f"{kind}[{index}].country", "nothing", "a country: residency is ruled")
    months: set[int] = set()
    for index, demand in enumerate(instance.demands):
        place = f"demands[{index}]"
        _check_countries(where, f"{place}.served_from", demand.served_from, known)
        if (demand.demand is None) == (demand.demand_by_month is None):
            raise bad(place, "both or neither", "either demand or demand_by_month")
        if demand.demand_by_month is not None:
            months.add(len(demand.demand_by_month))
            if len(months) > 1 or 0 in months:
                found = f"{len(demand.demand_by_month)} months"
                raise bad(f"{place}.demand_by_month", found, "as many as the others, at least 1")
    if months and any(demand.demand_by_month is None for demand in instance.demands):
        raise bad("demands", "some with months, some without", "months for all or for none")
    if not any(map(demand_of, instance.demands)):
        raise bad("demands", "a demand of 0 everywhere", "something to serve")
    if instance.sites is not None and instance.sites > len(instance.candidates):
        raise bad("sites", str(instance.sites), f"at most {len(instance.candidates)} candidates")
    if instance.rtt_ms is not None:
        wide = [len(row) for row in instance.rtt_ms]
        if len(wide) != len(instance.candidates) or set(wide) != {len(instance.demands)}:
            shape = f"{len(instance.candidates)} rows of {len(instance.demands)}"
            raise bad("rtt_ms", f"{len(wide)} rows of {wide[0] if wide else 0}", shape)


_SLIPS: Final = {"UK": "GB", "EL": "GR"}


def _check_country(where: str, place: str, code: str) -> None:
    if code and code not in COUNTRIES:
        wanted = _SLIPS.get(code, "an ISO 3166 code of two capital letters, such as DE")
        raise SiteFileError(where, place, f"no country {code[:20]!r}", wanted)


def _check_countries(
    where: str, place: str, written: Countries, known: dict[str, tuple[str, ...]]
) -> None:
    for code in countries_of(written, known):
        _check_country(where, place, code)
