"""Where data may be opened: the residency rule of its class, and what policies forbid beyond.

Sites and their jurisdictions come from the signed inventory, never from a machine's own word; a
site that it does not know has no jurisdiction, and is refused.

Errors:  none; a refusal is a `Verdict`.
"""

from skerry.schema.access import Action
from skerry.schema.policy import Policy
from skerry.trust.access import AccessSet, Question, Verdict, Who
from skerry.trust.residency import may_go


def explain_data(
    policies: AccessSet, policy: Policy | None, data_class: str, origin: str, site: str
) -> Verdict:
    """Say whether data of a class, received at `origin`, may be opened at `site`."""
    if policy is None:
        return Verdict(False, errors=("no residency policy has been applied yet",))
    refused = may_go(policy, data_class, origin, site)
    verdict = policies.decide(journey(policy, data_class, origin, site, may=refused is None))
    if refused is not None:  # the rule says more than that no policy permits it
        return Verdict(False, (refused.rule, *verdict.policies), said=refused.text)
    return verdict


def journey(policy: Policy, data_class: str, origin: str, site: str, *, may: bool) -> Question:
    """Put a journey of data as a question; what the inventory does not know is left out."""
    near, far = policy.places.get(origin), policy.places.get(site)
    who = Who("Site", site)
    if far is not None:
        who = Who("Site", site, region=far.region, jurisdiction=far.jurisdiction)
    context: tuple[tuple[str, str | bool], ...] = (("origin", origin), ("may_go", may))
    if near is not None:
        context += (("origin_region", near.region), ("origin_jurisdiction", near.jurisdiction))
    return Question(who, Action.OPEN_DATA, ("DataClass", data_class), context)
