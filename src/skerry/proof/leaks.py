"""A second opinion on residency: records, judged after the fact.

Written apart from `skerry.trust.residency` on purpose and never importing it: the gate
and its judge must not share a mistake. The judge knows only the policy document and
where each request started and was served; whatever it cannot place is a leak.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from skerry.schema.policy import Policy
from skerry.schema.records import Outcome, Summary


@dataclass(frozen=True, slots=True)
class Served:
    """Where requests were received, where they were answered, and what they carried."""

    origin_site: str
    served_site: str
    data_class: str
    count: int = 1


def leaks(served: Iterable[Served], policy: Policy) -> list[Served]:
    """Return everything that was served where its data class may not go."""
    return [one for one in served if one.count > 0 and _why(one, policy)]


def leaked(served: Iterable[Served], policy: Policy) -> int:
    """Return how many requests were served where their data class may not go."""
    return sum(one.count for one in leaks(served, policy))


def served_of(summaries: Iterable[Summary]) -> list[Served]:
    """Return what summaries say about who served whom.

    Only answers count: a refused or failed request was served nowhere. A summary of
    requests that were forwarded *to* a site is left out, for the site that forwarded
    them reports the same requests with their origin.
    """
    return [
        Served(one.site, one.served_site, one.data_class, one.count)
        for one in summaries
        if one.outcome is Outcome.OK and not one.forwarded
    ]


def _why(one: Served, policy: Policy) -> str:
    """Return what is wrong, in a few words; empty where nothing is."""
    home = policy.places.get(one.origin_site)
    away = policy.places.get(one.served_site)
    if home is None or away is None:
        return "a site that the policy does not know"
    rule = policy.data_classes.get(one.data_class)
    if rule is None:
        return "a data class without a rule"
    if home.site == away.site:
        return ""  # it never travelled
    match rule.stays.value:
        case "anywhere":
            return ""
        case "region":
            return "" if home.region == away.region else "out of its region"
        case "jurisdictions":
            inside = away.jurisdiction in rule.jurisdictions
            return "" if inside else "out of its jurisdictions"
        case _:
            return "out of its site"
