"""Signed metadata that this process has verified already, so that it need not do so again.

To verify a role, python-tuf writes it out again in canonical form: 100 ms for 10,000 targets, at
each look for something new. What a signature check says depends on the bytes, the keys, and how
many of them must have signed; where all of those are as before, so is the answer. Everything
that depends on anything else (expiry, versions, what the snapshot lists) is checked as always.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from skerry.trust._tuf import Root, Targets, Updater

Loaded = tuple[Any, bytes, dict[str, Any]]
"""What python-tuf reads from metadata: the signed part, its canonical bytes, the signatures."""


class VerifiedOnce:
    """The last verified content of each role. One thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Loaded]] = {}

    def serve(self, updater: Updater) -> None:
        """Let an updater take what is known here, and leave here what it verifies."""
        trusted = updater._trusted_set
        trusted._load_data = self._remembering(trusted._load_data)

    def _remembering(self, load: Callable[..., Loaded]) -> Callable[..., Loaded]:
        def remembered(
            kind: type[Any],
            data: bytes,
            delegator: Root | Targets | None = None,
            role_name: str | None = None,
        ) -> Loaded:
            if delegator is None or kind is Root:  # a root is verified by two roots; it is small
                return load(kind, data, delegator, role_name)
            name = role_name or kind.type
            question = _question(data, delegator, name)
            known = self._known.get(name)
            if known is not None and known[0] == question:
                return known[1]
            loaded = load(kind, data, delegator, role_name)
            self._known[name] = question, loaded
            return loaded

        return remembered


def _question(data: bytes, delegator: Root | Targets, name: str) -> str:
    """Return a digest of all that the answer of a signature check depends on."""
    role = delegator.get_delegated_role(name)
    keys = [[keyid, _key(delegator, keyid)] for keyid in sorted(role.keyids)]
    rights = json.dumps([name, role.threshold, keys], sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest() + hashlib.sha256(rights).hexdigest()


def _key(delegator: Root | Targets, keyid: str) -> dict[str, Any] | None:
    try:
        return dict(delegator.get_key(keyid).to_dict())
    except ValueError:
        return None  # a role may list a key that is not there; it counts for nothing
