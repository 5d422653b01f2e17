"""Rules for metadata before anybody relies on it: at central, and before a holder signs.

    only `targets` delegates, each role once, and with the fleet's own paths; `desired` to its bins
    each key signs for one role; no role wants more signatures than it has keys
    nothing has ended, and nothing lives longer than its role may

A client meets a breach as *no such file* or worse, long after; here it has a name.

Units:   unix seconds.
Errors:  PublishError and its kinds in `ceremony_errors`.
Source:  TUF specification 1.0.34; python-tuf keeps a delegated role by its name alone.
"""

from collections.abc import Iterator
from typing import Any

from skerry.base.units import SECONDS_PER_DAY
from skerry.trust._tuf import Metadata, Role, Root, Targets
from skerry.trust.ceremony_errors import (
    DelegatedTwiceError,
    KeySharedError,
    LifeUnsoundError,
    ThresholdUnreachableError,
)
from skerry.trust.ceremony_keys import holder_of
from skerry.trust.errors import PublishError
from skerry.trust.roles import LIFE_S, PATHS, TOP

LIFE_SLACK_S = SECONDS_PER_DAY
"""How far the clock of the machine that signed may be ahead."""


def lint_delegations(targets: Targets) -> None:
    """Refuse delegations other than the fleet's own: all roles, terminating, own paths."""
    roles = (targets.delegations.roles if targets.delegations else None) or {}
    if set(roles) != set(PATHS):
        raise PublishError("targets", f"it delegates to {sorted(roles)}, wanted {sorted(PATHS)}")
    for name, role in roles.items():
        if not role.terminating or set(role.paths or ()) != set(PATHS[name]):
            raise PublishError("targets", f"its delegation to {name} has other paths or goes on")
    if targets.targets:
        raise PublishError("targets", "it lists files itself, and only delegated roles may")


def lint_delegated_once(role: str, signed: Any) -> None:
    """Refuse a role that delegates though it may not: its delegate would have two delegators.

    `desired` may, to its own bins: see `lint_bins`. One role that names a delegate twice is
    refused where it is read, by python-tuf.
    """
    delegations = getattr(signed, "delegations", None)
    if delegations is not None and role not in ("targets", "desired"):
        names = ", ".join(delegations.roles or ()) or "hash bins"
        raise DelegatedTwiceError(role, f"it delegates to {names}, and only `targets` may")


def lint_keys(root: Root, targets: Targets) -> None:
    """Refuse a key that signs for two roles, a holder with two keys of one, and a threshold
    above the number of keys.
    """
    owner: dict[str, str] = {}
    for delegator, role, named in _roles(root, targets):
        if named.threshold > len(named.keyids):
            why = f"it wants {named.threshold} signatures of {len(named.keyids)} keys"
            raise ThresholdUnreachableError(role, why)
        for key_id in named.keyids:
            # By the key itself: under two ids, one key would count twice towards a threshold.
            public = str(delegator.get_key(key_id).keyval.get("public", "")).strip()
            if public in owner:
                raise KeySharedError(role, f"its key {key_id[:8]} signs for {owner[public]} too")
            owner[public] = f"{role} as {key_id[:8]}"
    for delegator, role, named in _roles(root, targets):
        names = [holder_of(delegator.get_key(key_id)) for key_id in named.keyids]
        for name in names:
            if names.count(name) > 1:  # one person would count twice, or an impostor for them
                raise KeySharedError(role, f"{name} is named for {names.count(name)} of its keys")


def lint_life(role: str, metadata: Metadata[Any], now_unix_s: float) -> None:
    """Refuse a role that has ended, or that would live longer than its kind may."""
    ends = metadata.signed.expires
    left_s = ends.timestamp() - now_unix_s
    if left_s <= 0:
        raise LifeUnsoundError(role, f"it ended {ends:%Y-%m-%d %H:%M} UTC")
    if left_s > LIFE_S[role] + LIFE_SLACK_S:
        days = LIFE_S[role] / SECONDS_PER_DAY
        why = f"it would live until {ends:%Y-%m-%d}, and {days:.0f} days are the most"
        raise LifeUnsoundError(role, why)


def _roles(root: Root, targets: Targets) -> Iterator[tuple[Root | Targets, str, Role]]:
    """Every role of the fleet, with who delegates to it."""
    yield from ((root, role, root.get_delegated_role(role)) for role in TOP)
    delegated = (targets.delegations.roles if targets.delegations else None) or {}
    yield from ((targets, role, named) for role, named in delegated.items())
