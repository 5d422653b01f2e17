"""Where data may go: one pure predicate, deny by default.

A request may be answered at a site only if its data class may travel there from the site where it
was received. Unknown classes, models and sites are refused. Data that stays where it was received
does not travel.

    may_go = same site or stays == anywhere
             or stays == region and same region
             or stays == jurisdictions and the destination's is listed

Errors:  none; a `Refusal` is a value, with a reason a person can read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from skerry.schema.policy import Policy, Stays

MODEL_UNKNOWN = "model-unknown"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something may not be done. `rule` is stable; `text` is for people."""

    rule: str
    text: str


Forbids = Callable[[str, str, str], Refusal | None]
"""`forbids(data_class, origin, destination)`: what policies forbid of what the rule allows."""


class ResidencyTable:
    """A policy, prepared: every allowed decision is two lookups in tables made once.

    Sites of one region share one set of destinations, so the table grows with the number of
    sites, not with its square. It answers exactly as `may_go` and `data_class_of` do, and
    refuses what `forbids` forbids on top of it.
    """

    def __init__(self, policy: Policy, forbids: Forbids | None = None) -> None:
        self._policy, self._forbids = policy, forbids
        everywhere = frozenset(policy.places)
        by_region: dict[str, set[str]] = {}
        for site, place in policy.places.items():
            by_region.setdefault(place.region, set()).add(site)
        regions = {region: frozenset(sites) for region, sites in by_region.items()}
        self._destinations: dict[tuple[str, str], frozenset[str]] = {}
        for name, rule in policy.data_classes.items():
            listed = frozenset(
                site
                for site, place in policy.places.items()
                if place.jurisdiction in rule.jurisdictions
            )
            for site, place in policy.places.items():
                match rule.stays:
                    case Stays.SITE:
                        allowed = frozenset((site,))
                    case Stays.REGION:
                        allowed = regions[place.region]
                    case Stays.JURISDICTIONS:
                        allowed = listed if site in listed else listed | {site}
                    case Stays.ANYWHERE:
                        allowed = everywhere
                self._destinations[name, site] = allowed

    def may_go(self, data_class: str, origin: str, destination: str) -> Refusal | None:
        """Return None if data of this class, received at `origin`, may be answered there."""
        if destination in self._destinations.get((data_class, origin), ()):
            return self._forbids(data_class, origin, destination) if self._forbids else None
        return may_go(self._policy, data_class, origin, destination)  # for the reason

    def destinations(self, data_class: str, origin: str) -> frozenset[str]:
        """Return every site that may answer; empty where nothing is known."""
        allowed = self._destinations.get((data_class, origin), frozenset())
        forbids = self._forbids
        if forbids is None:
            return allowed
        return frozenset(site for site in allowed if forbids(data_class, origin, site) is None)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that the policy lists."""
        return tuple(self._policy.model_classes)

    def data_class_of(self, model: str, asked: str | None) -> str | Refusal:
        """Return the class of a request: the one asked for, or the model's first."""
        return data_class_of(self._policy, model, asked)


def travels(stays: Stays, *, same_site: bool, same_region: bool, destination_listed: bool) -> bool:
    """Decide one journey from plain values: the rule itself, without names."""
    return (
        same_site
        or stays == Stays.ANYWHERE
        or (stays == Stays.REGION and same_region)
        or (stays == Stays.JURISDICTIONS and destination_listed)
    )


def may_go(policy: Policy, data_class: str, origin: str, destination: str) -> Refusal | None:
    """Decide by the policy's text alone: what the table must agree with."""
    rule = policy.data_classes.get(data_class)
    if rule is None:
        return Refusal("class-unknown", f"the policy knows no data class {data_class!r}")
    near, far = policy.places.get(origin), policy.places.get(destination)
    if near is None:
        return Refusal("origin-unknown", f"the policy knows no site {origin!r}")
    if far is None:
        return Refusal("destination-unknown", f"the policy knows no site {destination!r}")
    if travels(
        rule.stays,
        same_site=origin == destination,
        same_region=near.region == far.region,
        destination_listed=far.jurisdiction in rule.jurisdictions,
    ):
        return None
    match rule.stays:
        case Stays.SITE:
            limit = f"stays at its site, {origin}"
        case Stays.REGION:
            limit = f"stays in its region, {near.region}"
        case _:
            limit = f"stays in {', '.join(rule.jurisdictions) or 'no jurisdiction'}"
    return Refusal(
        f"{data_class}-{rule.stays}",
        f"{data_class} data from {origin} {limit}; {destination} is in {far.region}, "
        f"{far.jurisdiction}",
    )


def data_class_of(policy: Policy, model: str, asked: str | None) -> str | Refusal:
    """Return the class of a request; unknown models, classes and those not of the model refuse."""
    classes = policy.model_classes.get(model)
    if not classes:
        return Refusal(MODEL_UNKNOWN, f"the policy has no data class for the model {model!r}")
    data_class = classes[0] if asked is None else asked
    if data_class not in policy.data_classes:
        return Refusal("class-unknown", f"the policy knows no data class {data_class!r}")
    if data_class not in classes:
        text = f"{model} takes {', '.join(classes)}, not {data_class}"
        return Refusal("class-not-for-model", text)
    return data_class
