"""What holders are asked to sign: foundings, releases, renewals, and keys that change.

Each function takes what is published and returns a signing file. Whatever a change of keys would
leave with too few signatures is offered again with it, so that one file is one whole step.

Units:   unix seconds.
Errors:  RotationError, PublishError and its kinds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skerry.schema.release import Facts
from skerry.trust._tuf import Metadata, SSlibKey
from skerry.trust.ceremony import Published, SigningFile
from skerry.trust.ceremony_errors import RotationError
from skerry.trust.ceremony_keys import Holder, holder_of, public_key
from skerry.trust.roles import (
    CENTRAL,
    OFFLINE,
    ONLINE,
    PATHS,
    TOP,
    PublicKeys,
    edit_files,
    expiry,
    first_roles,
    read_metadata,
)
from skerry.trust.standing import standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How the keys of some roles change."""

    roles: tuple[str, ...]
    add: Holder | None = None
    """Takes a place, or where the holder has one already, replaces its keys."""
    remove: str = ""
    """A holder who loses the place."""
    threshold: int | None = None
    """Signatures wanted from now on."""

    def words(self) -> str:
        """Return it as one line."""
        parts = [f"keys of {', '.join(self.roles)}"]
        parts += [f"in: {self.add.name}"] if self.add else []
        parts += [f"out: {self.remove}"] if self.remove else []
        parts += [f"threshold {self.threshold}"] if self.threshold else []
        return "; ".join(parts)


def founding(
    fleet: str,
    holders: Sequence[Holder],
    online: PublicKeys,
    thresholds: Mapping[str, int],
    *,
    now_unix_s: float,
) -> SigningFile:
    """Offer a new fleet's first roles."""
    first = first_roles(holders, online, thresholds, now_unix_s=now_unix_s)
    return SigningFile(
        fleet=fleet,
        why=f"found the fleet {fleet}",
        published=Published(),
        offered={role: metadata.to_bytes() for role, metadata in first.items()},
    )


def release(
    fleet: str,
    published: Published,
    role: str,
    add: Mapping[str, bytes],
    *,
    now_unix_s: float,
    withdraw: Sequence[str] = (),
    facts: Mapping[str, Facts] | None = None,
    why: str = "",
) -> SigningFile:
    """Offer files of a release role: models and policies, or canaries."""
    metadata = read_metadata(role, published.roles[role])
    edit_files(role, metadata.signed, add, withdraw, facts or {})
    return SigningFile(
        fleet=fleet,
        why=why or f"release {len(add)} file(s) as {role}",
        published=published,
        offered={role: _next(role, metadata, now_unix_s)},
        files=dict(add),
    )


def renewal(
    fleet: str, published: Published, roles: Sequence[str], *, now_unix_s: float
) -> SigningFile:
    """Offer roles again, unchanged, for another life."""
    _only(roles, OFFLINE)
    return SigningFile(
        fleet=fleet,
        why=f"renew {', '.join(roles)}",
        published=published,
        offered={role: _next(role, _now(published, role), now_unix_s) for role in roles},
    )


def rotation(
    fleet: str,
    published: Published,
    change: Rotation,
    *,
    now_unix_s: float,
    online: PublicKeys | None = None,
) -> SigningFile:
    """Offer other keys for some roles; `online` holds those that central made for its own."""
    _only(change.roles, (*OFFLINE, *ONLINE))
    root, targets = _now(published, "root"), _now(published, "targets")
    for role in change.roles:
        delegator = root.signed if role in TOP else targets.signed
        if role in ONLINE:
            new = public_key(role, (online or {}).get(role, b""), CENTRAL)
            _replace(delegator, role, delegator.get_delegated_role(role).keyids, new)
        else:
            _change(delegator, role, change)
    offered: dict[str, bytes] = {}
    if set(change.roles) & set(TOP):
        offered["root"] = _next("root", root, now_unix_s)
    signed_before = _now(published, "targets")  # what was edited has no signatures to count
    if set(change.roles) & set(PATHS) or standing("targets", signed_before, root).missing:
        offered["targets"] = _next("targets", targets, now_unix_s)
    for role in ("models", "canary"):
        metadata = _now(published, role)
        if standing(role, metadata, targets).missing:
            offered[role] = _next(role, metadata, now_unix_s)
    return SigningFile(fleet=fleet, why=change.words(), published=published, offered=offered)


def successors_of(change: Rotation) -> tuple[str, ...]:
    """Return the roles that central must make new keys for."""
    return tuple(role for role in change.roles if role in ONLINE)


def _change(delegator: Any, role: str, change: Rotation) -> None:
    named = delegator.get_delegated_role(role)
    keys: dict[str, SSlibKey] = {key: delegator.get_key(key) for key in named.keyids}
    leaving = {change.remove} | ({change.add.name} if change.add else set())
    old = [key_id for key_id, key in keys.items() if holder_of(key) in leaving]
    names = sorted(holder_of(key) for key in keys.values())
    if change.remove and change.remove not in names:
        raise RotationError(role, f"{change.remove} holds none; its holders: {', '.join(names)}")
    new = None
    if change.add is not None:
        if role not in change.add.keys:
            raise RotationError(role, f"{change.add.name} brings no key for it")
        new = public_key(change.add.name, change.add.keys[role], change.add.name)
    if new is not None and new.keyid in keys:
        raise RotationError(role, f"{holder_of(new)}'s key is the one in use already")
    if new is None and not old and change.threshold in (None, named.threshold):
        raise RotationError(role, "nothing would change")
    _replace(delegator, role, old, new)
    if change.threshold is not None:
        delegator.get_delegated_role(role).threshold = change.threshold


def _replace(delegator: Any, role: str, old: Sequence[str], new: SSlibKey | None) -> None:
    if new is not None:
        delegator.add_key(new, role)
    for key_id in list(old):
        if new is None or key_id != new.keyid:
            delegator.revoke_key(key_id, role)


def _now(published: Published, role: str) -> Metadata[Any]:
    return read_metadata(role, published.roots[-1] if role == "root" else published.roles[role])


def _next(role: str, metadata: Metadata[Any], now_unix_s: float) -> bytes:
    """Return the next version of a role, signed by nobody yet."""
    metadata.signed.version += 1
    metadata.signed.expires = expiry(role, now_unix_s)
    metadata.signatures.clear()
    return metadata.to_bytes()


def _only(roles: Sequence[str], allowed: Sequence[str]) -> None:
    for role in roles:
        if role not in allowed:
            raise RotationError(role, f"it is none of {', '.join(allowed)}")
