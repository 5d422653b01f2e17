"""The authored file to the resolved fleet: every value present, every unit in a name.

Pure: the file and the lock come in, a fleet or findings come out. Every part is
resolved even when another failed, so that one run names everything that is wrong.
"""

import re
from dataclasses import dataclass

from skerry.fleet.findings import Finding, Findings
from skerry.fleet.resolve_models import resolve_classes, resolve_models, resolve_rules
from skerry.fleet.resolve_places import resolve_links, resolve_sites, resolve_tiers
from skerry.fleet.resolve_rollout import resolve_goals, resolve_rollout
from skerry.fleet.resolve_trust import resolve_trust
from skerry.schema.fleet import Fleet
from skerry.schema.fleet_file import FleetFile
from skerry.schema.lock import FleetLock

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,200}}$){_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Resolution:
    """A fleet, or the reasons why there is none; `findings` are errors only."""

    fleet: Fleet | None
    findings: tuple[Finding, ...]


def resolve(file: FleetFile, lock: FleetLock | None = None) -> Resolution:
    """Return the resolved fleet, or every error that the file holds."""
    notes = Findings()
    if not _DOMAIN.fullmatch(file.domain):
        notes.bad_value(
            ("domain",), f"`{file.domain}` is not a domain name, wanted `clinic.example`"
        )
    goals = resolve_goals(file, notes)
    tiers = resolve_tiers(file, notes)
    sites = resolve_sites(file, tiers, notes)
    classes = resolve_classes(file, notes)
    models = resolve_models(file, lock or FleetLock(), notes)
    rules = resolve_rules(file, notes)
    rollout = resolve_rollout(file, sites, notes)
    links = resolve_links(file, sites, tiers, notes)
    trust = resolve_trust(file, notes)
    if notes.failed:
        return Resolution(None, tuple(notes.found))
    fleet = Fleet(
        name=file.name,
        domain=file.domain,
        goals=goals,
        tiers=tiers,
        sites=sites,
        models=models,
        data_classes=classes,
        rules=rules,
        rollout=rollout,
        links=links,
        trust=trust,
    )
    return Resolution(fleet, ())
