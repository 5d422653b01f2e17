"""What a fleet demands of machines, keys and people, resolved: every value is present.

`skerry.schema.trust_file` is how people write it.
"""

import msgspec

from skerry.schema.access import TWO_PERSON, Action
from skerry.schema.custody import CustodyPolicy
from skerry.schema.tamper import TamperPolicy


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what, beyond the shipped policies (`skerry.schema.access`)."""

    people: dict[str, tuple[str, ...]] = {}
    two_person: tuple[Action, ...] = TWO_PERSON
    policies: str = ""


class Updates(msgspec.Struct, frozen=True, kw_only=True):
    """What nodes may install; signed beside the artifacts (`skerry.schema.release`)."""

    min_release: int = 0
    hw: dict[str, tuple[str, ...]] = {}
    needs: dict[str, tuple[str, ...]] = {}


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved `trust:` part of a fleet."""

    access: Access = Access()
    tamper: TamperPolicy = TamperPolicy()
    custody: CustodyPolicy = CustodyPolicy()
    updates: Updates = Updates()
