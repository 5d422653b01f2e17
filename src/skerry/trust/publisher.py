"""Central's half of signing: takes offline-signed roles, signs desired state, publishes a folder.

The folder is what mirrors and nodes fetch: `metadata/` and `targets/`. Targets and numbered
metadata are written first and `timestamp.json` last, so a reader sees the old state or the new
one, whenever the writer dies.

Errors:  PublishError (what was offered breaks a rule; nothing changed).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from skerry.base.clock import Clock
from skerry.trust.roles import OnlineKeys


class Publisher:
    """A repository folder and the online keys that may change it. One process, one publisher."""

    @classmethod
    def found(
        cls, folder: Path, keys: OnlineKeys, first: Mapping[str, bytes], clock: Clock
    ) -> Self:
        """Start a repository from what `OfflineKeys.found` signed, and publish version 1."""
        raise NotImplementedError

    @classmethod
    def open(cls, folder: Path, keys: OnlineKeys, clock: Clock) -> Self:
        """Open a repository that was founded before."""
        raise NotImplementedError

    def role_bytes(self, role: str) -> bytes:
        """Return a role's published metadata: what an operator extends and signs."""
        raise NotImplementedError

    def publish(
        self,
        *,
        signed: Sequence[bytes] = (),
        targets: Mapping[str, bytes] | None = None,
        desired: Mapping[str, bytes] | None = None,
    ) -> int:
        """Publish offline-signed roles, their new target files, and desired documents, as one step.

        `targets` maps target path to content for what `signed` adds; `desired` maps target path
        (`desired/<site>.json`) to content, signed here. Returns the new snapshot version.
        """
        raise NotImplementedError

    def refresh(self) -> bool:
        """Sign online roles again once half their life is over; returns whether anything changed.

        Call it every few minutes.
        """
        raise NotImplementedError
