"""Where data may go: the residency policy, as signed and as every decision reads it.

Sites and their jurisdictions come from this signed document, never from what a
machine says of itself.
"""

from enum import StrEnum

import msgspec

POLICY_SCHEMA = "skerry.policy/1"


class Stays(StrEnum):
    """How far a data class may travel from the site it was received at."""

    SITE = "site"
    REGION = "region"
    JURISDICTIONS = "jurisdictions"
    ANYWHERE = "anywhere"


class Residency(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of one data class. `jurisdictions` counts only with `Stays.JURISDICTIONS`."""

    stays: Stays
    jurisdictions: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a site is, in the terms that a residency rule knows."""

    site: str
    region: str
    jurisdiction: str
    """ISO 3166-1 alpha-2, for example `NO`."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The residency policy of a fleet: a signed target, `prod/policy/<fleet>.json`.

    `data_classes` maps class to rule. `model_classes` maps a model to the classes it
    takes; the first is the default for requests that name none.
    """

    schema: str = POLICY_SCHEMA
    fleet: str
    generation: int
    data_classes: dict[str, Residency]
    model_classes: dict[str, tuple[str, ...]]
    places: dict[str, Place]
    provenance_required: bool = False
    """Whether a model without a statement of how it was made is refused."""
    builders: tuple[str, ...] = ()
    """Public keys, base64 of their DER; where there are any, one must have signed it."""


def policy_target(fleet: str) -> str:
    """Return the TUF target path of a fleet's policy."""
    return f"prod/policy/{fleet}.json"
