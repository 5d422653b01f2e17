"""From verified targets to what a node may run: desired state with every artifact signed too.

Errors:  UpdateRefused subclasses: RELEASE_BELOW_FLOOR, TARGET_UNSIGNED, TARGET_FORGED, ...
"""

from pathlib import Path

import msgspec

from skerry.schema.desired import Desired
from skerry.schema.model import Manifest
from skerry.schema.policy import Policy
from skerry.trust.update_client import UpdateClient


class AcceptedDesired(msgspec.Struct, frozen=True, kw_only=True):
    """A site's desired state, verified. Keep it on disk: a cold start needs no network."""

    desired: Desired
    desired_sha256: str
    manifests: dict[str, Manifest]
    """By model name; every model of `desired.models` is here."""
    policy: Policy

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "AcceptedDesired | None":
        """Read what `save` wrote; None if there is none or it is torn."""
        raise NotImplementedError


def accept_desired(
    client: UpdateClient, site: str, *, held: AcceptedDesired | None = None
) -> AcceptedDesired:
    """Return the site's desired state, or raise why it is refused. Call `client.refresh` first.

    `held` is what the node runs: if the signed document is the same, it is returned untouched.
    An older generation never wins.
    """
    raise NotImplementedError
