"""The roles that sign a fleet's state, and the offline keys on people's machines.

    root, targets          offline
      models               offline: prod/model/*, prod/policy/*
      canary               canary/model/*
      desired              online at central: desired/*
    snapshot, timestamp    online at central

Delegations terminate, and no role is delegated twice.

Units:   lifetimes in seconds.
Errors:  PublishError, KeyFileError.
Source:  TUF specification 1.0.34; python-tuf 7.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec


class OnlinePublic(msgspec.Struct, frozen=True, kw_only=True):
    """Public halves of central's online keys, for the operator who founds the repository.

    Maps role (`desired`, `snapshot`, `timestamp`) to PEM.
    """

    keys: dict[str, bytes]


class OnlineKeys:
    """Central's signing keys: desired, snapshot, timestamp."""

    @classmethod
    def load_or_create(cls, folder: Path) -> Self:
        """Read the keys of a private folder, or make them."""
        raise NotImplementedError

    def public(self) -> OnlinePublic:
        """Return what `OfflineKeys.found` needs."""
        raise NotImplementedError


class OfflineKeys:
    """The keys on an operator's machine: root, targets, models, canary."""

    @classmethod
    def create(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """Make the keys as private files of a folder; with a passphrase they are sealed."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """Read what `create` wrote; raises `KeyFileError`."""
        raise NotImplementedError

    def found(self, online: OnlinePublic, *, now_unix_s: float) -> dict[str, bytes]:
        """Sign a new repository's first root, targets and delegated roles: file name to bytes.

        `1.root.json` is the bootstrap root that every node carries.
        """
        raise NotImplementedError

    def sign_models(
        self,
        current: bytes,
        add: Mapping[str, bytes],
        *,
        now_unix_s: float,
        withdraw: Sequence[str] = (),
        role: str = "models",
    ) -> bytes:
        """Sign the next version of the models role (or `canary`) with more targets in it.

        `current` is the metadata now published (central's `Publisher.role_bytes`); it must
        carry this role's own signature. `add` maps target path to content.
        """
        raise NotImplementedError
