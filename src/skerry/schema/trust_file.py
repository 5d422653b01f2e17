"""The `trust:` part of the fleet file: what a fleet demands of machines, keys and people.

Every part is optional, and what is left out has the default that its field names.
"""

import msgspec

from skerry.schema.access import TWO_PERSON
from skerry.schema.authored import Authored, Name


class AccessFile(Authored, frozen=True, kw_only=True):
    """Who may do what: roles of operators, what takes two people, policies of the fleet's own."""

    people: dict[Name, list[str]] = {}
    """Name in an operator's certificate to roles; nobody named: each operator holds all roles."""
    two_person: list[str] = msgspec.field(default_factory=lambda: list(TWO_PERSON))
    """Actions that a second person must approve; `apply` may be added."""
    policies: str = ""
    """Cedar policies, added to the shipped ones."""


class TrustFile(Authored, frozen=True, kw_only=True):
    """What the fleet demands; each part is explained in `docs/reference/fleet-file.md`."""

    access: AccessFile = AccessFile()
