"""Scenarios: read, checked against the fleet, and turned into things that happen.

Shipped scenarios lie in `plan/scenarios` and are named without `.yaml`.

Units:   seconds from the simulation's start inside; quantities with units in the file.
Errors:  ScenarioError, with the file and the key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import numpy as np

from skerry.base.quantity import QuantityError, parse_quantity
from skerry.base.units import BYTES_PER_MIB
from skerry.plan.simulate.errors import ScenarioError
from skerry.plan.simulate.fleet_arrays import FleetArrays, Ints
from skerry.plan.simulate.outages import LINK, SITE, Spells, on_purpose
from skerry.schema.file_errors import Problem
from skerry.schema.simulation import Incident, IncidentKind, Scenario, Sweep
from skerry.schema.yaml_reader import read_yaml

FILE_BYTES_MAX: Final = BYTES_PER_MIB
INCIDENTS_MAX: Final = 10_000
FAILURES_MAX: Final = 1000.0
_CHANGES: Final = {IncidentKind.DEMAND, IncidentKind.PRICE, IncidentKind.CARBON}
_OF_REGIONS: Final = _CHANGES | {IncidentKind.HEAT_WAVE, IncidentKind.LOSE_REGION}
Document = TypeVar("Document", Scenario, Sweep)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Happening:
    """An incident with its places: `sites` and `regions` are numbers of the fleet's columns."""

    kind: IncidentKind
    begins_s: float
    ends_s: float
    sites: Ints
    regions: tuple[int, ...]
    factor: float
    add_c: float


def shipped_scenarios() -> tuple[str, ...]:
    """Return the names of the scenarios that come with skerry."""
    folder = files("skerry.plan").joinpath("scenarios")
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir()))


def scenario_named(name: str, *, beside: Path | None = None) -> Scenario:
    """Return a shipped scenario by name, or read a file (one `beside` a sweep's own)."""
    if name in shipped_scenarios():
        text = files("skerry.plan").joinpath("scenarios", f"{name}.yaml").read_bytes()
        return _decode(text, f"scenario {name}", Scenario)
    path = beside / name if beside is not None else Path(name)
    if path.suffix not in {".yaml", ".yml", ".json"}:
        what = f"`{name}` is neither a shipped scenario nor a .yaml or .json file"
        raise ScenarioError("--scenario", "", what, shipped_scenarios())
    return read_document(path, Scenario)


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read a scenario or a sweep, YAML or JSON; unknown keys are refused."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ScenarioError(str(path), "", error.strerror or str(error)) from error
    if len(data) > FILE_BYTES_MAX:
        raise ScenarioError(str(path), "", f"larger than {FILE_BYTES_MAX} bytes")
    return _decode(data, str(path), kind)


def _decode(data: bytes, where: str, kind: type[Document]) -> Document:
    try:
        return msgspec.convert(read_yaml(data, where).plain(), kind)
    except Problem as problem:
        line = f"{where}:{problem.place.line}" if problem.place else where
        raise ScenarioError(line, "", problem.what) from problem
    except msgspec.ValidationError as error:
        what, _, at = str(error).partition(" - at ")
        raise ScenarioError(where, at.strip("`").removeprefix("$."), what) from error


def happenings(
    scenario: Scenario, fleet: FleetArrays, *, seed: int, span_s: float
) -> tuple[Happening, ...]:
    """Return what a scenario does to a fleet; `share` picks the same sites for one seed."""
    _check(scenario)
    return tuple(
        _happening(scenario.name, number, one, fleet, seed, span_s)
        for number, one in enumerate(scenario.incidents)
    )


def _check(scenario: Scenario) -> None:
    if not 0 <= scenario.failures <= FAILURES_MAX:
        what = f"is {scenario.failures:g}, wanted 0 to {FAILURES_MAX:g}"
        raise ScenarioError(scenario.name, "failures", what)
    if len(scenario.incidents) > INCIDENTS_MAX:
        raise ScenarioError(scenario.name, "incidents", f"more than {INCIDENTS_MAX}")


def _happening(
    name: str, number: int, one: Incident, fleet: FleetArrays, seed: int, span_s: float
) -> Happening:
    key = f"incidents[{number}]"
    begins_s = _seconds(name, f"{key}.at", one.at)
    lasts_s = _seconds(name, f"{key}.lasts", one.lasts)
    if lasts_s <= 0:
        raise ScenarioError(name, f"{key}.lasts", f"is `{one.lasts}`, wanted more than nothing")
    if begins_s >= span_s:
        what = f"is `{one.at}`, after the end of the {span_s / 3600:g} h that are simulated"
        raise ScenarioError(name, f"{key}.at", what)
    if not 0 < one.share <= 1:
        raise ScenarioError(name, f"{key}.share", f"is {one.share:g}, wanted above 0 to 1")
    if one.do in _CHANGES and (one.factor is None or not 0 <= one.factor <= 1000):
        raise ScenarioError(name, f"{key}.factor", f"is {one.factor}, wanted 0 to 1000")
    if one.do not in _CHANGES and one.factor is not None:
        raise ScenarioError(name, f"{key}.factor", f"means nothing for `{one.do}`")
    hot = one.do is IncidentKind.HEAT_WAVE
    if hot and (one.add_c is None or not 0 <= one.add_c <= 60):
        raise ScenarioError(name, f"{key}.add_c", f"is {one.add_c}, wanted 0 to 60 degrees")
    if not hot and one.add_c is not None:
        raise ScenarioError(name, f"{key}.add_c", f"means nothing for `{one.do}`")
    regions, sites = _where(name, f"{key}.where", one, fleet)
    if one.share < 1:
        count = max(1, round(one.share * len(sites)))
        rng = np.random.default_rng((seed, 7000 + number))
        sites = np.sort(rng.choice(sites, count, replace=False))
    return Happening(
        kind=one.do,
        begins_s=begins_s,
        ends_s=begins_s + lasts_s,
        sites=sites,
        regions=regions,
        factor=1.0 if one.factor is None else one.factor,
        add_c=one.add_c or 0.0,
    )


def _where(name: str, key: str, one: Incident, fleet: FleetArrays) -> tuple[tuple[int, ...], Ints]:
    """Return the regions and the sites that a place's name means."""
    by_site = one.where in fleet.site_names
    if by_site and (
        one.do in _CHANGES or one.do in {IncidentKind.HEAT_WAVE, IncidentKind.LOSE_REGION}
    ):
        raise ScenarioError(name, key, f"`{one.where}` is a site, `{one.do}` wants a region or all")
    if by_site:
        site = fleet.site_names.index(one.where)
        return (int(fleet.region_of_site()[site]),), np.array([site])
    if one.where == "all":
        return tuple(range(fleet.regions)), np.arange(fleet.sites)
    if one.where in fleet.region_names:
        region = fleet.region_names.index(one.where)
        return (region,), np.arange(fleet.first_site[region], fleet.first_site[region + 1])
    known = ("all", *fleet.region_names, *fleet.site_names)
    raise ScenarioError(name, key, f"`{one.where}` is no region and no asking site", known)


def spells_of(found: Iterable[Happening], fleet: FleetArrays) -> list[Spells]:
    """Return what a scenario breaks on purpose."""
    spells = []
    for one in found:
        lasts_s = one.ends_s - one.begins_s
        if one.kind in {IncidentKind.WAN_CUT, IncidentKind.RECONNECT_STORM}:
            spells.append(on_purpose(one.sites, LINK, one.begins_s, lasts_s))
        elif one.kind is IncidentKind.LOSE_SITE:
            spells.append(on_purpose(one.sites, SITE, one.begins_s, lasts_s))
        elif one.kind is IncidentKind.LOSE_REGION:
            rooms = np.array([fleet.room_of(region) for region in one.regions])
            spells.append(on_purpose(rooms, SITE, one.begins_s, lasts_s))
    return spells


def storms_of(found: Sequence[Happening]) -> tuple[Happening, ...]:
    """Return what ends with many nodes that come back at once."""
    kinds = {IncidentKind.WAN_CUT, IncidentKind.LOSE_REGION, IncidentKind.RECONNECT_STORM}
    return tuple(one for one in found if one.kind in kinds)


def _seconds(name: str, key: str, text: str) -> float:
    try:
        value = parse_quantity(text, "s")
    except QuantityError as error:
        raise ScenarioError(name, key, str(error)) from error
    if value < 0:
        raise ScenarioError(name, key, f"is `{text}`, wanted 0 or later")
    return value
