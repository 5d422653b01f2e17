"""What a fleet demands of machines, keys and people, resolved: every value is present.

`skerry.schema.trust_file` is how people write it.
"""

import msgspec

from skerry.schema.access import TWO_PERSON, Action
from skerry.schema.attestation import Mode
from skerry.schema.clients import SITE_LIFE_S, ClientPolicy
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


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """What machines must show before they join and renew (`skerry.schema.attestation`)."""

    mode: Mode = Mode.OFF
    makers: str = ""
    """File, beside the fleet file, with the makers' certificates."""
    reference: str = ""
    """File, beside the fleet file, with reference values."""
    files_sha256: str = ""
    """Digest over both files, so that a change in one is a change of the fleet."""
    secure_boot: bool = True
    report_s: float = 300.0
    holds_s: float = 30 * 86_400.0


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved `trust:` part of a fleet."""

    access: Access = Access()
    tamper: TamperPolicy = TamperPolicy()
    clients: ClientPolicy = ClientPolicy()
    site_life_s: float = SITE_LIFE_S
    custody: CustodyPolicy = CustodyPolicy()
    updates: Updates = Updates()
    attestation: Attestation = Attestation()
    provenance_required: bool = False
    builders: tuple[str, ...] = ()
