"""Whose signatures a role has, and how many it still wants.

Each key counts once, however often its signature is written down, and only for the role that
names it. Counting is ours, beside python-tuf's own check at every node: central must be able to
say *who* is still missing.

Errors:  TooFewSignaturesError.
"""

from dataclasses import dataclass
from typing import Any

from skerry.trust._tuf import Metadata
from skerry.trust.ceremony_errors import TooFewSignaturesError
from skerry.trust.ceremony_keys import holder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a role is signed, by the keys that one delegator names for it."""

    role: str
    threshold: int
    signed: tuple[str, ...]
    """Holders who signed."""
    open: tuple[str, ...]
    """Holders who could still sign."""
    key_ids: tuple[str, ...]
    """Keys that may sign."""

    @property
    def missing(self) -> int:
        """Signatures still wanted."""
        return max(0, self.threshold - len(self.signed))


def standing(role: str, metadata: Metadata[Any], delegator: Metadata[Any]) -> Standing:
    """Count a role's signatures against the keys and threshold that its delegator names."""
    named = delegator.signed.get_delegated_role(role)
    found = delegator.signed.get_verification_result(
        role, metadata.signed_bytes, metadata.signatures
    )
    return Standing(
        role=role,
        threshold=named.threshold,
        signed=tuple(sorted(holder_of(key) for key in found.signed.values())),
        open=tuple(sorted(holder_of(key) for key in found.unsigned.values())),
        key_ids=tuple(named.keyids),
    )


def check_threshold(role: str, metadata: Metadata[Any], delegator: Metadata[Any]) -> None:
    """Refuse a role that fewer of its keys signed than its delegator's threshold wants."""
    found = standing(role, metadata, delegator)
    if found.missing:
        raise TooFewSignaturesError(role, found.threshold, found.signed, found.open)
