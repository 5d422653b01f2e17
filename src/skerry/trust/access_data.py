"""Where data may be opened: the residency rule of its class, and what policies forbid beyond.

Sites and their jurisdictions come from the signed inventory, never from a machine's own word; a
site that it does not know has no jurisdiction, and is refused.

Errors:  none; a refusal is a `Verdict`.
"""

from functools import lru_cache

from skerry.schema.access import AccessPolicy, Action
from skerry.schema.policy import Policy
from skerry.trust.access import AccessSet, Question, Verdict, Who
from skerry.trust.access_errors import PolicyInvalidError
from skerry.trust.residency import Forbids, Refusal, may_go
from skerry.trust.spiffe import Role, SpiffeId

JOURNEYS_KEPT = 4096


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


def forbids_of(document: AccessPolicy | None, policy: Policy) -> Forbids | None:
    """Return what a fleet's own policies forbid of the journeys of data; None if it has none.

    Where they cannot be used, nothing leaves its site.
    """
    if document is None or not document.policies.strip():
        return None
    try:
        policies = AccessSet(document)
    except PolicyInvalidError as error:
        why = str(error)
        return lambda _, origin, site: (
            None if origin == site else Refusal(PolicyInvalidError.reason, why)
        )

    @lru_cache(JOURNEYS_KEPT)
    def forbids(data_class: str, origin: str, site: str) -> Refusal | None:
        verdict = policies.decide(journey(policy, data_class, origin, site, may=True))
        if verdict.allowed:
            return None
        return Refusal(
            "access-policy", f"{data_class} data from {origin} at {site}: {verdict.text}"
        )

    return forbids


def may_read_target(caller: SpiffeId | None, path: str) -> bool:
    """Say whether a caller may read a target: a node reads desired state of its own site only.

    `path` is as mirrors name it, `<folder>/<sha256>.<name>`.
    """
    if caller is None or caller.role is not Role.NODE or not path.startswith("desired/"):
        return True
    return path.rpartition("/")[2].partition(".")[2] == f"{caller.site}.json"


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
