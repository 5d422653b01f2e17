"""Which model runs on which site, and who may answer for whom.

A model runs on every site of the tiers it is placed on. Its stand-in counts at a site
only if it runs there too: a stand-in that has to be fetched first is none.
"""

from skerry.schema.fleet import Fleet, Kind, Model, Site
from skerry.schema.policy import Policy


def models_at(fleet: Fleet, site: Site) -> tuple[Model, ...]:
    """Return the models of a site, in the order of the file."""
    return tuple(model for model in fleet.models if site.tier in model.tiers)


def sites_of(fleet: Fleet, model: Model) -> tuple[Site, ...]:
    """Return the sites that a model runs on, in the order of the file."""
    return tuple(site for site in fleet.sites if site.tier in model.tiers)


def standin_at(fleet: Fleet, site: Site, model: Model) -> str | None:
    """Return the name of a model's stand-in at a site, or None if there is none."""
    here = {other.name for other in models_at(fleet, site)}
    return model.standin if model.standin in here else None


def fallbacks(fleet: Fleet) -> dict[str, tuple[Site, ...]]:
    """Return for every site those that may answer for it, nearest tier first, itself left out.

    Its region, then the clouds. Sites beside it are not asked: their feeds are sized
    for their own work, and a fault in a region would travel along them.
    """
    by_name = {site.name: site for site in fleet.sites}
    clouds = [site for site in fleet.sites if site.kind is Kind.CLOUD]
    return {
        site.name: tuple(
            other
            for other in {s.name: s for s in (by_name[site.region], *clouds)}.values()
            if other.name != site.name
        )
        for site in fleet.sites
    }


def fallbacks_of(fleet: Fleet, site: Site) -> tuple[Site, ...]:
    """Return the sites that may answer for one site; for all sites, ask `fallbacks` once."""
    return fallbacks(fleet)[site.name]


def misplaced(fleet: Fleet, policy: Policy) -> str:
    """Say where a fleet and the signed inventory disagree; empty where they do not.

    What is sealed for a site is sealed for the place that the policy knows, so that data is
    never judged by one jurisdiction and kept in another.
    """
    for site in fleet.sites:
        known = policy.places.get(site.name)
        if known is None:
            return f"the signed policy knows no site {site.name}"
        for what, stated, signed in (
            ("jurisdiction", site.jurisdiction, known.jurisdiction),
            ("region", site.region, known.region),
        ):
            if stated != signed:
                return f"{site.name} has the {what} {stated}, and {signed} is signed"
    for model in fleet.models:
        signed_classes = policy.model_classes.get(model.name)
        if signed_classes != model.data_classes:
            return f"{model.name} takes {model.data_classes}, and {signed_classes} is signed"
    return ""


def tier_order(fleet: Fleet, site: Site) -> tuple[str, ...]:
    """Return the tiers in the order in which they are asked: its own, then its fallbacks'."""
    return tiers_of((site, *fallbacks_of(fleet, site)))


def tiers_of(sites: tuple[Site, ...]) -> tuple[str, ...]:
    """Return the tiers of sites, each once, in order."""
    return tuple(dict.fromkeys(site.tier for site in sites))
