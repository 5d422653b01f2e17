"""Whether a data class may go from one site to another, for the lint.

The same words as the signed policy. Requests are judged at run time by
`skerry.trust`, from the signed document; here a file is judged before it is signed.
"""

from skerry.schema.fleet import Site
from skerry.schema.policy import Residency, Stays


def may_go(rule: Residency, origin: Site, target: Site) -> bool:
    """Tell whether data received at `origin` may be answered at `target`."""
    if origin.name == target.name:
        return True
    if rule.stays is Stays.ANYWHERE:
        return True
    if rule.stays is Stays.REGION:
        return origin.region == target.region
    if rule.stays is Stays.JURISDICTIONS:
        return target.jurisdiction in rule.jurisdictions
    return False
