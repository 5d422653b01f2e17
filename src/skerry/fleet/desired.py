"""The resolved fleet to what central seals: one desired document per site, and the policy.

Pure: the same fleet, generation and endpoints give the same bytes, so an unchanged
site keeps its digest and its nodes stay untouched.
"""

from collections.abc import Mapping

from skerry.base.ids import node_name
from skerry.fleet.errors import ModelNotAddedError
from skerry.fleet.links import SAME_SITE_MS, computed_link
from skerry.fleet.place import fallbacks, models_at, standin_at, tiers_of
from skerry.schema.access import AccessPolicy
from skerry.schema.desired import Desired, DesiredModel, Peer
from skerry.schema.fleet import Fleet, Site
from skerry.schema.policy import Place, Policy


def nodes_of(site: Site) -> tuple[str, ...]:
    """Return the names of a site's nodes, `<site>/1` to `<site>/<n>`."""
    return tuple(node_name(site.name, number) for number in range(1, site.nodes + 1))


def desired_documents(
    fleet: Fleet,
    generation: int,
    endpoints: Mapping[str, str],
    policy_sha256: str,
    *,
    generations: Mapping[str, int] | None = None,
) -> dict[str, Desired]:
    """Return the desired document of every site.

    `endpoints` maps a node's name to the URL of its mutual-TLS inference door; nodes
    that have not joined yet are simply no peers. `generations` gives single sites a
    generation of their own, as a rollout does whose rings differ.

    Raises `ModelNotAddedError` if a placed model has no digest in the lock.
    """
    missing = tuple(
        f"{model.name} v{model.version}"
        for model in fleet.models
        if not model.manifest_sha256 and any(site.tier in model.tiers for site in fleet.sites)
    )
    if missing:
        raise ModelNotAddedError(missing)
    round_trips = {frozenset((link.a, link.b)): link.round_trip_ms for link in fleet.links}
    own = generations or {}
    others = fallbacks(fleet)
    return {
        site.name: Desired(
            generation=own.get(site.name, generation),
            fleet=fleet.name,
            domain=fleet.domain,
            region=site.region,
            site=site.name,
            tier=site.tier,
            jurisdiction=site.jurisdiction,
            models=_models(fleet, site),
            policy_sha256=policy_sha256,
            tier_order=tiers_of((site, *others[site.name])),
            peers=_peers(site, others[site.name], endpoints, round_trips),
            rules=fleet.rules,
            goals=fleet.goals,
            gate=fleet.rollout.gate,
            tamper=fleet.trust.tamper,
            clients=fleet.trust.clients,
            site_life_s=fleet.trust.site_life_s,
            custody=fleet.trust.custody,
        )
        for site in fleet.sites
    }


def policy_of(fleet: Fleet, generation: int) -> Policy:
    """Return the residency policy, as the offline role signs it."""
    return Policy(
        fleet=fleet.name,
        generation=generation,
        data_classes=fleet.data_classes,
        model_classes={model.name: model.data_classes for model in fleet.models},
        places={
            site.name: Place(site=site.name, region=site.region, jurisdiction=site.jurisdiction)
            for site in fleet.sites
        },
        provenance_required=fleet.trust.provenance_required,
        builders=fleet.trust.builders,
    )


def access_of(fleet: Fleet, generation: int) -> AccessPolicy:
    """Return who may do what in this fleet, as the offline role signs it."""
    access = fleet.trust.access
    return AccessPolicy(
        fleet=fleet.name,
        generation=generation,
        policies=access.policies,
        people=access.people,
        two_person=access.two_person,
    )


def _models(fleet: Fleet, site: Site) -> tuple[DesiredModel, ...]:
    return tuple(
        DesiredModel(
            name=model.name,
            version=model.version,
            manifest_sha256=model.manifest_sha256,
            standin=standin_at(fleet, site, model),
        )
        for model in models_at(fleet, site)
    )


def _peers(
    site: Site,
    others: tuple[Site, ...],
    endpoints: Mapping[str, str],
    round_trips: Mapping[frozenset[str], float],
) -> tuple[Peer, ...]:
    """Return who may answer: the site's own nodes, its region's, the clouds'."""
    peers = []
    for other in (site, *others):
        if other.name == site.name:
            round_trip_ms = SAME_SITE_MS
        else:
            pair = frozenset((site.name, other.name))
            round_trip_ms = round_trips.get(pair, computed_link(site, other, 0.0).round_trip_ms)
        peers += [
            Peer(
                node=node,
                site=other.name,
                region=other.region,
                tier=other.tier,
                url=endpoints[node],
                round_trip_ms=round_trip_ms,
            )
            for node in nodes_of(other)
            if node in endpoints
        ]
    return tuple(peers)
