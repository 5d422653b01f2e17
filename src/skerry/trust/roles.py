"""The roles that sign a fleet's state, and the keys that they sign with.

    root, targets          offline, on people's machines
      models               offline: prod/model/*/*, prod/policy/*
      canary               canary/model/*/*
      desired              online at central: desired/*
    snapshot, timestamp    online at central

Delegations terminate, and no role is delegated twice: python-tuf keeps a delegated role by its
name alone, so two delegators of one name could be played against each other. All keys are
Ed25519. Offline roles live long enough for a small fleet that signs a few times a year.

Units:   lifetimes in seconds.
Errors:  PublishError, KeyFileError.
Source:  TUF specification 1.0.34; python-tuf 7.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.serialization import DeserializationError

from skerry.base.files import private_folder, write_private
from skerry.base.units import SECONDS_PER_DAY
from skerry.trust._tuf import (
    CryptoSigner,
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    SSlibKey,
    TargetFile,
    Targets,
)
from skerry.trust.errors import KeyFileError, PublishError

SPEC_VERSION = "1.0.34"
PATHS: dict[str, tuple[str, ...]] = {
    "models": ("prod/model/*/*", "prod/policy/*"),
    "canary": ("canary/model/*/*",),
    "desired": ("desired/*",),
}
"""Delegated role to what it may name; a `*` stands for one path segment."""
LIFE_S: dict[str, float] = {
    "root": 365 * SECONDS_PER_DAY,
    "targets": 365 * SECONDS_PER_DAY,
    "models": 180 * SECONDS_PER_DAY,
    "canary": 180 * SECONDS_PER_DAY,
    "desired": 7 * SECONDS_PER_DAY,
    "snapshot": 7 * SECONDS_PER_DAY,
    "timestamp": 1 * SECONDS_PER_DAY,
}
OFFLINE = ("root", "targets", "models", "canary")
ONLINE = ("desired", "snapshot", "timestamp")

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")  # of a target path; becomes a file name
PublicKeys = dict[str, bytes]
"""Role to public key (PEM): what central shows the operator who founds the repository."""


class _Keys:
    """One Ed25519 key per role, each a private file `<role>.pem` of a private folder."""

    _roles: tuple[str, ...]

    def __init__(self, private: dict[str, Ed25519PrivateKey]) -> None:
        self._private = private
        self._signers = {
            role: CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))
            for role, key in private.items()
        }

    @classmethod
    def create(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """Make the keys, or take those that are there; with a passphrase they are sealed."""
        private_folder(folder)
        for role in cls._roles:
            path = folder / f"{role}.pem"
            if not path.exists():
                write_private(path, _new_key_pem(passphrase))
        return cls.load(folder, passphrase=passphrase)

    @classmethod
    def load(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """Read what `create` wrote; raises `KeyFileError`."""
        return cls({role: _read_key(folder / f"{role}.pem", passphrase) for role in cls._roles})

    def public(self) -> PublicKeys:
        """Return the public halves."""
        return {
            role: key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            for role, key in self._private.items()
        }

    def key_id(self, role: str) -> str:
        """Return the id of a role's key, as metadata names it."""
        return self._signers[role].public_key.keyid

    def sign(self, role: str, metadata: Metadata[Any]) -> bytes:
        """Sign metadata with a role's key, replacing older signatures."""
        metadata.sign(self._signers[role])
        return metadata.to_bytes()


class OnlineKeys(_Keys):
    """Central's signing keys: desired, snapshot, timestamp."""

    _roles = ONLINE


class OfflineKeys(_Keys):
    """The keys on an operator's machine: root, targets, models, canary."""

    _roles = OFFLINE

    def found(self, online: PublicKeys, *, now_unix_s: float) -> dict[str, bytes]:
        """Sign a new repository's first root, targets and offline roles: role to bytes.

        `["root"]` is the bootstrap root that every node carries.
        """
        keys = {role: self._signers[role].public_key for role in OFFLINE}
        keys |= {role: _public_from_pem(role, online.get(role, b"")) for role in ONLINE}
        root = Root(
            version=1,
            spec_version=SPEC_VERSION,
            expires=expiry("root", now_unix_s),
            consistent_snapshot=True,
        )
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(keys[role], role)
        delegated = {
            role: DelegatedRole(role, [keys[role].keyid], 1, terminating=True, paths=list(paths))
            for role, paths in PATHS.items()
        }
        targets = _empty_targets("targets", now_unix_s)
        targets.delegations = Delegations({keys[r].keyid: keys[r] for r in PATHS}, delegated)
        first = {
            "root": self.sign("root", Metadata(root)),
            "targets": self.sign("targets", Metadata(targets)),
        }
        for role in ("models", "canary"):
            first[role] = self.sign(role, Metadata(_empty_targets(role, now_unix_s)))
        return first

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
        metadata = self._own(role, current)
        targets: Targets = metadata.signed
        for path, content in add.items():
            targets.targets[path] = TargetFile.from_data(path, content, ["sha256"])
        for path in withdraw:
            if targets.targets.pop(path, None) is None:
                raise PublishError(role, f"{path} is to be withdrawn but is not there")
        lint_paths(role, targets)
        return self._sign_next(role, metadata, now_unix_s)

    def renew(self, role: str, current: bytes, *, now_unix_s: float) -> bytes:
        """Sign an offline role again, unchanged, for another life."""
        return self._sign_next(role, self._own(role, current), now_unix_s)

    def _own(self, role: str, current: bytes) -> Metadata[Any]:
        """Read metadata that this role's own key signed: nothing else is built upon."""
        metadata = read_metadata(role, current)
        key = self._signers[role].public_key
        try:
            key.verify_signature(metadata.signatures[key.keyid], metadata.signed_bytes)
        except (KeyError, UnverifiedSignatureError) as error:
            why = "the published metadata is not signed by this machine's key"
            raise PublishError(role, why) from error
        return metadata

    def _sign_next(self, role: str, metadata: Metadata[Any], now_unix_s: float) -> bytes:
        metadata.signed.version += 1
        metadata.signed.expires = expiry(role, now_unix_s)
        return self.sign(role, metadata)


def expiry(role: str, now_unix_s: float) -> datetime:
    """Return when metadata of a role signed now ends."""
    return datetime.fromtimestamp(int(now_unix_s + LIFE_S[role]), UTC)


def read_metadata(role: str, data: bytes) -> Metadata[Any]:
    """Read metadata, not verified; raises `PublishError`."""
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise PublishError(role, f"it cannot be read: {error}") from error
    wanted = role if role in ("root", "snapshot", "timestamp") else "targets"
    if metadata.signed.type != wanted:
        raise PublishError(role, f"it holds {metadata.signed.type} metadata, wanted {wanted}")
    return metadata


def lint_paths(role: str, targets: Targets) -> None:
    """Refuse a role that names what is not its own; clients would only say *no such target*."""
    allowed = DelegatedRole(role, [], 1, terminating=True, paths=list(PATHS[role]))
    for path in targets.targets:
        plain = all(_SEGMENT.fullmatch(segment) for segment in path.split("/"))
        if not plain or not allowed.is_delegated_path(path):
            raise PublishError(role, f"{path} is not among its paths: {', '.join(PATHS[role])}")
    if targets.delegations is not None and targets.delegations.roles:
        raise PublishError(role, "it delegates further, and only `targets` may")


def lint_delegations(targets: Targets) -> None:
    """Refuse delegations other than the fleet's own: each role once, terminating, own paths."""
    roles = (targets.delegations.roles if targets.delegations else None) or {}
    if set(roles) != set(PATHS):
        raise PublishError("targets", f"it delegates to {sorted(roles)}, wanted {sorted(PATHS)}")
    for name, role in roles.items():
        if not role.terminating or set(role.paths or ()) != set(PATHS[name]):
            raise PublishError("targets", f"its delegation to {name} has other paths or goes on")
    if targets.targets:
        raise PublishError("targets", "it lists files itself, and only delegated roles may")


def _empty_targets(role: str, now_unix_s: float) -> Targets:
    return Targets(version=1, spec_version=SPEC_VERSION, expires=expiry(role, now_unix_s))


def _new_key_pem(passphrase: str | None) -> bytes:
    sealing: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        sealing = serialization.BestAvailableEncryption(passphrase.encode())
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing
    )


def _read_key(path: Path, passphrase: str | None) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(
            path.read_bytes(), passphrase.encode() if passphrase else None
        )
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be read: {error.strerror}") from error
    except TypeError as error:  # sealed and no passphrase, or the other way round
        raise KeyFileError(str(path), f"was opened the wrong way: {error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(str(path), "holds a torn key, or the passphrase is another") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(str(path), "holds a key that is not Ed25519")
    return key


def _public_from_pem(role: str, pem: bytes) -> SSlibKey:
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PublishError(role, "its public key is missing or cannot be read") from error
