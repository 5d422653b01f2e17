"""The roles that sign a fleet's state, and the keys that they sign with.

    root, targets          offline, on people's machines
      models               offline: prod/model/*/*, prod/policy/*
      canary               canary/model/*/*
      desired              online at central: desired/*
    snapshot, timestamp    online at central

Each offline role has one key per holder and a threshold of how many must sign; a small fleet has
one holder and thresholds of one. Delegations terminate, and no role is delegated twice. Keys are
Ed25519, or P-256 where a token has no other. Offline roles live long enough for a small fleet
that signs a few times a year.

Units:   lifetimes in seconds.
Errors:  PublishError, KeyFileError, TokenKeyError.
Source:  TUF specification 1.0.34; python-tuf 7.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.serialization import DeserializationError

from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.release import Facts
from skerry.trust._tuf import (
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Signer,
    SSlibKey,
    TargetFile,
    Targets,
)
from skerry.trust.ceremony_keys import (
    HOLDER_FILE,
    Holder,
    Seal,
    TokenPlace,
    add_signature,
    create_keys,
    public_key,
    public_pem,
    read_holder,
    read_key,
    read_keys,
    read_retired,
    retire_key,
    write_holder,
)
from skerry.trust.errors import KeyFileError, PublishError

SPEC_VERSION = "1.0.34"
TOP = ("root", "targets", "snapshot", "timestamp")
"""Roles whose keys root names; `targets` names those of the others."""
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
ISSUED = "issued_unix_s"
"""The field of a timestamp in which central signs when it signed."""
OFFLINE = ("root", "targets", "models", "canary")
ONLINE = ("desired", "snapshot", "timestamp")
SOLE_HOLDER, CENTRAL = "operator", "central"
"""Who holds the offline keys where nobody else is named, and who the online ones."""

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")  # of a target path; becomes a file name
PublicKeys = dict[str, bytes]
"""Role to public key (PEM): what central shows the operator who founds the repository."""


class OnlineKeys:
    """Central's signing keys: desired, snapshot, timestamp; and those about to take their place.

    A successor (`<role>.next.pem`) signs from the moment that root or targets name it, and then
    becomes the key in use; so it does not matter when central dies.
    """

    def __init__(self, folder: Path, keys: dict[str, Signer], successors: dict[str, Signer]):
        self._folder, self._keys, self._next = folder, keys, successors

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make the keys, or take those that are there."""
        create_keys(folder, ONLINE, Seal(None))
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `create` wrote; raises `KeyFileError`."""
        keys = read_keys(folder, ONLINE, Seal(None))
        _all_there(folder, ONLINE, keys)
        successors = {
            role: key
            for role in ONLINE
            if (key := read_key(folder / f"{role}.next.pem", Seal(None))) is not None
        }
        return cls(folder, keys, successors)

    def public(self) -> PublicKeys:
        """Return the public halves."""
        return {role: public_pem(key) for role, key in self._keys.items()}

    def make_successors(self, roles: Iterable[str]) -> PublicKeys:
        """Make fresh keys for these roles, for root to name; successors made before are lost."""
        for role in roles:
            path = self._folder / f"{role}.next.pem"
            path.unlink(missing_ok=True)
            create_keys(self._folder, (f"{role}.next",), Seal(None))
            made = read_key(path, Seal(None))
            assert made is not None  # noqa: S101 - written the line before
            self._next[role] = made
        return {role: public_pem(self._next[role]) for role in roles}

    def holds(self, role: str, key_ids: Collection[str]) -> bool:
        """Say whether one of these keys is held here for the role."""
        return self._of(role, key_ids) is not None

    def sign(
        self, role: str, metadata: Metadata[Any], key_ids: Collection[str] | None = None
    ) -> bytes:
        """Sign with the role's key, or the one of its keys that is named; old signatures go."""
        signer = self._keys[role] if key_ids is None else self._of(role, key_ids)
        if signer is None:
            raise PublishError(role, "no key held here is one that is named for it")
        add_signature(metadata, signer, append=False)
        return metadata.to_bytes()

    def settle(self, role: str, key_ids: Collection[str]) -> None:
        """Put a successor that is named now in the place of its predecessor, which is deleted."""
        successor = self._next.get(role)
        if successor is None or successor.public_key.keyid not in key_ids:
            return
        (self._folder / f"{role}.next.pem").replace(self._folder / f"{role}.pem")
        self._keys[role] = self._next.pop(role)

    def _of(self, role: str, key_ids: Collection[str]) -> Signer | None:
        for keys in (self._next, self._keys):
            if role in keys and keys[role].public_key.keyid in key_ids:
                return keys[role]
        return None


class OfflineKeys:
    """One holder's keys of offline roles: files or a token, retired ones included."""

    def __init__(self, folder: Path, holder: str, keys: dict[str, Signer], retired: list[Signer]):
        self.folder, self.holder, self._keys, self._retired = folder, holder, keys, retired

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        passphrase: str | None = None,
        holder: str = SOLE_HOLDER,
        roles: Sequence[str] = OFFLINE,
        place: TokenPlace | None = None,
    ) -> Self:
        """Make the keys, or take those that are there; with a passphrase (or PIN) they are sealed.

        `place` makes them on a token instead of in files.
        """
        seal = Seal(passphrase)
        create_keys(folder, roles, seal, place=place)
        keys = cls._load(folder, holder, seal)
        keys._write_holder()
        return keys

    @classmethod
    def load(cls, folder: Path, *, passphrase: str | None = None) -> Self:
        """Read what `create` wrote; raises `KeyFileError`."""
        described = folder / HOLDER_FILE
        holder = read_holder(described).name if described.exists() else SOLE_HOLDER
        return cls._load(folder, holder, Seal(passphrase))

    @classmethod
    def _load(cls, folder: Path, holder: str, seal: Seal) -> Self:
        keys = read_keys(folder, OFFLINE, seal)
        if not keys:
            _all_there(folder, OFFLINE, keys)
        return cls(folder, holder, keys, read_retired(folder, seal))

    def public(self) -> PublicKeys:
        """Return the public halves of the keys in use."""
        return {role: public_pem(key) for role, key in self._keys.items()}

    def public_holder(self) -> Holder:
        """Return what founds or rotates with these keys: name and public halves."""
        return Holder(name=self.holder, keys=self.public())

    def renew_key(
        self, role: str, *, passphrase: str | None = None, place: TokenPlace | None = None
    ) -> None:
        """Make a new key for a role; the old one is set aside, to sign its successor in."""
        if role not in self._keys:
            raise PublishError(role, f"{self.holder} holds no key of it")
        old = self._keys[role]
        retire_key(self.folder, role, old.public_key.keyid)
        self._retired.append(old)
        create_keys(self.folder, (role,), Seal(passphrase), place=place)
        self._keys |= read_keys(self.folder, (role,), Seal(passphrase))
        self._write_holder()

    def key_id(self, role: str) -> str:
        """Return the id of a role's key, as metadata names it."""
        return str(self._signer(role).public_key.keyid)

    def all_signers(self) -> dict[str, Signer]:
        """Return every key held, retired ones too, by its id."""
        return {key.public_key.keyid: key for key in (*self._retired, *self._keys.values())}

    def own_ids(self) -> set[str]:
        """Return the ids of all keys held."""
        return set(self.all_signers())

    def found(self, online: PublicKeys, *, now_unix_s: float) -> dict[str, bytes]:
        """Sign a new repository's first root, targets and offline roles, as its one holder.

        `["root"]` is the bootstrap root that every node carries.
        """
        first = first_roles([self.public_holder()], online, {}, now_unix_s=now_unix_s)
        return {role: self.sign(role, metadata) for role, metadata in first.items()}

    def sign(self, role: str, metadata: Metadata[Any]) -> bytes:
        """Sign metadata with a role's key, replacing older signatures."""
        add_signature(metadata, self._signer(role), append=False)
        return metadata.to_bytes()

    def sign_models(
        self,
        current: bytes,
        add: Mapping[str, bytes],
        *,
        now_unix_s: float,
        withdraw: Sequence[str] = (),
        role: str = "models",
        facts: Mapping[str, Facts] | None = None,
    ) -> bytes:
        """Sign the next version of the models role (or `canary`) with more targets in it.

        `current` is the metadata now published (central's `Publisher.role_bytes`); it must
        carry this role's own signature. `add` maps target path to content, `facts` to what
        else is signed of it, for paths of `add` and for such as are signed already.
        """
        metadata = self._own(role, current)
        edit_files(role, metadata.signed, add, withdraw, facts or {})
        return self._sign_next(role, metadata, now_unix_s)

    def renew(self, role: str, current: bytes, *, now_unix_s: float) -> bytes:
        """Sign an offline role again, unchanged, for another life."""
        return self._sign_next(role, self._own(role, current), now_unix_s)

    def _own(self, role: str, current: bytes) -> Metadata[Any]:
        """Read metadata that this role's own key signed: nothing else is built upon."""
        metadata = read_metadata(role, current)
        key = self._signer(role).public_key
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

    def _signer(self, role: str) -> Signer:
        if role not in self._keys:
            raise KeyFileError(str(self.folder / f"{role}.pem"), "is not there")
        return self._keys[role]

    def _write_holder(self) -> None:
        write_holder(self.folder / HOLDER_FILE, self.public_holder())


def first_roles(
    holders: Sequence[Holder],
    online: PublicKeys,
    thresholds: Mapping[str, int],
    *,
    now_unix_s: float,
) -> dict[str, Metadata[Any]]:
    """Return a new repository's root, targets and offline roles, signed by nobody yet.

    Every holder signs for the roles it has a key of; a role that `thresholds` leaves out wants
    one signature.
    """
    keys: dict[str, list[SSlibKey]] = {
        role: [public_key(h.name, h.keys[role], h.name) for h in holders if role in h.keys]
        for role in OFFLINE
    }
    for role in ONLINE:
        try:
            keys[role] = [public_key(role, online.get(role, b""), CENTRAL)]
        except KeyFileError as error:
            why = "its public key is missing or cannot be read"
            raise PublishError(role, why) from error
    for role in OFFLINE:
        if not keys[role]:
            raise PublishError(role, "no holder has a key of it")
    root = Root(
        version=1,
        spec_version=SPEC_VERSION,
        expires=expiry("root", now_unix_s),
        consistent_snapshot=True,
    )
    for role in TOP:
        for key in keys[role]:
            root.add_key(key, role)
        root.roles[role].threshold = thresholds.get(role, 1)
    targets = empty_targets("targets", now_unix_s)
    targets.delegations = Delegations(
        {key.keyid: key for role in PATHS for key in keys[role]},
        {
            role: DelegatedRole(
                role,
                [key.keyid for key in keys[role]],
                thresholds.get(role, 1),
                terminating=True,
                paths=list(paths),
            )
            for role, paths in PATHS.items()
        },
    )
    first: dict[str, Metadata[Any]] = {"root": Metadata(root), "targets": Metadata(targets)}
    first |= {role: Metadata(empty_targets(role, now_unix_s)) for role in ("models", "canary")}
    return first


def edit_files(
    role: str,
    targets: Targets,
    add: Mapping[str, bytes],
    withdraw: Sequence[str],
    facts: Mapping[str, Facts],
) -> None:
    """Add and withdraw files of a role, in place; refuses paths that are not its own."""
    for path, content in add.items():
        targets.targets[path] = TargetFile.from_data(path, content, ["sha256"])
    for path in withdraw:
        if targets.targets.pop(path, None) is None:
            raise PublishError(role, f"{path} is to be withdrawn but is not there")
    for path, said in facts.items():
        if path not in targets.targets:
            raise PublishError(role, f"something is said of {path}, which is not there")
        targets.targets[path].unrecognized_fields["custom"] = msgspec.to_builtins(said)
    lint_paths(role, targets)


def lint_paths(role: str, targets: Targets) -> None:
    """Refuse a role that names what is not its own; clients would only say *no such target*."""
    allowed = DelegatedRole(role, [], 1, terminating=True, paths=list(PATHS[role]))
    for path in targets.targets:
        plain = all(_SEGMENT.fullmatch(segment) for segment in path.split("/"))
        if not plain or not allowed.is_delegated_path(path):
            raise PublishError(role, f"{path} is not among its paths: {', '.join(PATHS[role])}")


def expiry(role: str, now_unix_s: float, life_s: float | None = None) -> datetime:
    """Return when metadata of a role signed now ends: after `life_s`, or as the role has it."""
    life_s = LIFE_S[role] if life_s is None else life_s
    return datetime.fromtimestamp(int(now_unix_s + life_s), UTC)


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


def empty_targets(role: str, now_unix_s: float) -> Targets:
    """Return a role that lists nothing yet."""
    return Targets(version=1, spec_version=SPEC_VERSION, expires=expiry(role, now_unix_s))


def _all_there(folder: Path, roles: Sequence[str], keys: Mapping[str, Signer]) -> None:
    for role in roles:
        if role not in keys:
            raise KeyFileError(str(folder / f"{role}.pem"), "is not there")
