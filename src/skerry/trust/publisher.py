"""Central's half of signing: takes offline-signed roles, signs desired state, publishes a folder.

The folder is what mirrors and nodes fetch: `metadata/` and `targets/`. Files are named by version
or digest and `timestamp.json` is written last, so a reader sees the old state or the new one,
whenever the writer dies; what a dead writer left behind is overwritten by the next.

Errors:  PublishError (what was offered breaks a rule; nothing changed).
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from skerry.base.clock import Clock
from skerry.base.files import write_atomic
from skerry.trust._tuf import (
    Metadata,
    MetaFile,
    Snapshot,
    Targets,
    Timestamp,
)
from skerry.trust.bins import DESIRED, desired_roles, family, glance, laid_out
from skerry.trust.errors import PublishError
from skerry.trust.roles import (
    ISSUED,
    LIFE_S,
    ONLINE,
    PATHS,
    SPEC_VERSION,
    OnlineKeys,
    PublicKeys,
    expiry,
    read_metadata,
)
from skerry.trust.standing import standing
from skerry.trust.state_check import StateCheck, named_keys

VERSIONS_KEPT = 16
"""Old numbered metadata left for readers who began before the last publish; root stays for ever."""


class Publisher:
    """A repository folder and the online keys that may change it. One process, one publisher."""

    def __init__(
        self, folder: Path, keys: OnlineKeys, clock: Clock, published: dict[str, bytes]
    ) -> None:
        """Use `found` or `open`."""
        self._folder, self._keys, self._clock = folder, keys, clock
        self._published = published
        self._check = StateCheck(keys, self._place)

    @classmethod
    def found(
        cls, folder: Path, keys: OnlineKeys, first: Mapping[str, bytes], clock: Clock
    ) -> Self:
        """Start a repository from what `OfflineKeys.found` signed, and publish version 1."""
        if (folder / "metadata" / "timestamp.json").exists():
            raise PublishError("root", f"{folder} is a repository already")
        publisher = cls(folder, keys, clock, {})
        publisher._publish(dict(first), {}, {})
        return publisher

    @classmethod
    def open(cls, folder: Path, keys: OnlineKeys, clock: Clock) -> Self:
        """Open a repository that was founded before."""
        metadata = folder / "metadata"
        try:
            published = {"timestamp": (metadata / "timestamp.json").read_bytes()}
            timestamp: Timestamp = read_metadata("timestamp", published["timestamp"]).signed
            version = timestamp.snapshot_meta.version
            published["snapshot"] = (metadata / f"{version}.snapshot.json").read_bytes()
            snapshot: Snapshot = read_metadata("snapshot", published["snapshot"]).signed
            for name, meta in snapshot.meta.items():
                role = name.removesuffix(".json")
                published[role] = (metadata / f"{meta.version}.{name}").read_bytes()
            version = 1
            while (metadata / f"{version}.root.json").exists():
                published["root"] = (metadata / f"{version}.root.json").read_bytes()
                version += 1
        except OSError as error:
            raise PublishError("root", f"{error.filename}: {error.strerror}") from error
        return cls(folder, keys, clock, published)

    def role_bytes(self, role: str) -> bytes:
        """Return a role's published metadata: what an operator extends and signs."""
        if role not in self._published:
            raise PublishError(role, "there is no such role")
        return self._published[role]

    def target_bytes(self, path: str, sha256: str) -> bytes | None:
        """Return a published file with the digest that a role lists; None if it is torn or gone."""
        try:
            data = self._place(path, sha256).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def publish(
        self,
        *,
        signed: Mapping[str, bytes] | None = None,
        targets: Mapping[str, bytes] | None = None,
        desired: Mapping[str, bytes] | None = None,
    ) -> int:
        """Publish offline-signed roles, their new target files, and desired documents, as one step.

        `signed` maps role to metadata one version above the published one; `targets` maps target
        path to content for what they add; `desired` maps target path (`desired/<site>.json`) to
        content, signed here and added to what is there. Returns the snapshot version, the same
        as before if nothing changed.
        """
        return self._publish(dict(signed or {}), dict(targets or {}), dict(desired or {}))

    def check(self, *, signed: Mapping[str, bytes], targets: Mapping[str, bytes]) -> None:
        """Raise what `publish` would refuse of these; changes nothing."""
        self._next_state(signed, targets, {})

    def refresh(self) -> bool:
        """Sign online roles again once half their life is over; returns whether anything changed.

        Call it every few minutes.
        """
        before = self._published["timestamp"]
        self._publish({}, {}, {})
        return self._published["timestamp"] != before

    def go_ahead(
        self,
        steps: int,
        desired: Mapping[str, bytes],
        newer: Mapping[str, tuple[bytes, Mapping[str, bytes]]],
        *,
        bins_min: int = 0,
    ) -> None:
        """Sign the online roles again, `steps` versions on, with offline roles newer than here.

        For a repository that came back from a backup: nodes refuse versions below those they have
        seen. `desired` are documents as in `publish`; `newer` maps targets, models or canary to
        metadata that a mirror still has, with the files it lists by target path. What is not newer
        than here is left out. `bins_min` is how many hash bins nodes may have seen.
        """
        new, files = dict(self._published), dict(desired)
        for role, (data, listed_files) in newer.items():
            if read_metadata(role, data).signed.version > _signed_of(new, role).version:
                new[role] = data
                files |= listed_files
        self._sign_desired(desired, new, bins_min)
        self._check.whole(new, files)
        self._sign_online(new, steps=steps)
        self._write(new, files)
        self._published = new

    def make_successors(self, roles: Iterable[str]) -> PublicKeys:
        """Make fresh online keys for these roles; they sign once root or targets name them."""
        unknown = set(roles) - set(ONLINE)
        if unknown:
            raise PublishError(min(unknown), "its keys are not held here")
        return self._keys.make_successors(roles)

    def stamp(self, life_s: float) -> dict[str, bytes]:
        """Return the online roles' metadata by file name, signed to last `life_s`: for a stick.

        It never lies here. Its versions are passed over by what is published at the same time,
        so a reader of the network cannot be held back with it once it has looked.
        """
        long = dict(self._published)
        self._sign_online(long, life_s=life_s)
        new = dict(long)
        self._sign_online(new)
        self._write(new, {})
        self._published = new
        stamped = {
            f"{_signed_of(long, role).version}.{role}.json": long[role]
            for role in (*desired_roles(long), "snapshot")
        }
        return stamped | {"timestamp.json": long["timestamp"]}

    def _sign_online(
        self, new: dict[str, bytes], *, steps: int = 1, life_s: float | None = None
    ) -> None:
        """Sign every online role again, whatever it holds, for its own life or for `life_s`."""
        for role in desired_roles(new):
            self._sign(role, _signed_of(new, role), new, steps, life_s)
        snapshot_now = Snapshot(spec_version=SPEC_VERSION, meta=_listing(new))
        self._sign("snapshot", snapshot_now, new, steps, life_s)
        snapshot = _listed("snapshot", new["snapshot"])
        timestamp = Timestamp(spec_version=SPEC_VERSION, snapshot_meta=snapshot)
        self._sign("timestamp", timestamp, new, steps, life_s)

    def _publish(
        self, signed: dict[str, bytes], files: dict[str, bytes], desired: dict[str, bytes]
    ) -> int:
        """Verify everything, then write: a refusal leaves the folder as it was."""
        new = self._next_state(signed, files, desired)
        self._sign_snapshot(new)
        self._write(new, files | desired)
        self._published = new
        for role in ONLINE:
            self._keys.settle(role, named_keys(role, new))
        version = read_metadata("snapshot", new["snapshot"]).signed.version
        self._prune()
        return int(version)

    def _next_state(
        self,
        signed: Mapping[str, bytes],
        files: Mapping[str, bytes],
        desired: Mapping[str, bytes],
    ) -> dict[str, bytes]:
        """Return every role as it would be, verified; snapshot and timestamp as they were."""
        new = dict(self._published)
        unknown = set(signed) - {"root", "targets", "models", "canary"}
        if unknown:
            raise PublishError(min(unknown), "it is signed here, or nobody delegates to it")
        for role in ("root", "targets", "models", "canary"):  # delegators first
            if role in signed:
                self._check.offered(role, signed[role], new, self._clock.unix_s())
                new[role] = signed[role]
        self._sign_desired(desired, new)
        self._check.whole(new, {**files, **desired})
        return new

    def _sign_desired(
        self, documents: Mapping[str, bytes], new: dict[str, bytes], bins_min: int = 0
    ) -> None:
        """Sign what these documents change; where `desired` ends soon, all its bins are signed too.

        It ends first, and together they cost each node one snapshot.
        """
        delegator = read_metadata("targets", new["targets"])
        changed = laid_out(new, documents, bins_min)
        again = desired_roles(new) if self._due(DESIRED, new, delegator) else ()
        for role in dict.fromkeys((*again, *changed)):
            self._sign(role, changed.get(role) or _signed_of(new, role), new)

    def _sign_snapshot(self, new: dict[str, bytes]) -> None:
        """Sign snapshot and timestamp, where what they list has changed or they end soon."""
        root = read_metadata("root", new["root"])
        listed = _listing(new)
        if self._due("snapshot", new, root) or listed != _signed_of(new, "snapshot").meta:
            self._sign("snapshot", Snapshot(spec_version=SPEC_VERSION, meta=listed), new)
        snapshot = _listed("snapshot", new["snapshot"])
        if (
            self._due("timestamp", new, root)
            or snapshot != _signed_of(new, "timestamp").snapshot_meta
        ):
            self._sign(
                "timestamp", Timestamp(spec_version=SPEC_VERSION, snapshot_meta=snapshot), new
            )

    def _due(self, role: str, new: Mapping[str, bytes], delegator: Metadata[Any]) -> bool:
        """Say whether an online role must be signed: none yet, half its life over, or new keys."""
        if role not in new:
            return True
        if standing(role, read_metadata(role, new[role]), delegator).missing:
            return True
        left_s = glance(role, new[role]).expires.timestamp() - self._clock.unix_s()
        return left_s < LIFE_S[role] / 2

    def _sign(
        self,
        role: str,
        signed: Targets | Snapshot | Timestamp,
        new: dict[str, bytes],
        steps: int = 1,
        life_s: float | None = None,
    ) -> None:
        # A bin begins at the snapshot's next version: whatever had its name before was below that.
        before = role if role in new else "snapshot"
        signed.version = glance(before, new[before]).version + steps if before in new else 1
        now_s = self._clock.unix_s()
        signed.expires = expiry(family(role), now_s, life_s)
        if role == "timestamp":  # nodes take it for a time that is known to be past
            signed.unrecognized_fields[ISSUED] = int(now_s)
        key = family(role)
        new[role] = self._keys.sign(key, Metadata(signed), named_keys(key, new))

    def _write(self, new: Mapping[str, bytes], files: Mapping[str, bytes]) -> None:
        """Write what changed; the timestamp last, for it is what readers start from."""
        metadata = self._folder / "metadata"
        metadata.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            place = self._place(path, hashlib.sha256(content).hexdigest())
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                write_atomic(place, content)
        for role in ("root", *_below_snapshot(new), "snapshot"):
            if new[role] != self._published.get(role):
                version = glance(role, new[role]).version
                write_atomic(metadata / f"{version}.{role}.json", new[role])
        if new["timestamp"] != self._published.get("timestamp"):
            write_atomic(metadata / "timestamp.json", new["timestamp"])

    def _place(self, path: str, sha256: str) -> Path:
        folder, _, name = path.rpartition("/")
        return self._folder / "targets" / folder / f"{sha256}.{name}"

    def _prune(self) -> None:
        newest = {
            role: glance(role, self._published[role]).version
            for role in (*_below_snapshot(self._published), "snapshot")
        }
        for file in (self._folder / "metadata").glob("*.*.json"):
            version, _, role = file.name.removesuffix(".json").partition(".")
            if version.isdigit() and int(version) < newest.get(role, 0) - VERSIONS_KEPT:
                file.unlink(missing_ok=True)


def _below_snapshot(state: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the roles that a snapshot lists."""
    return tuple(dict.fromkeys(("targets", *PATHS, *desired_roles(state))))


def _listing(state: Mapping[str, bytes]) -> dict[str, MetaFile]:
    """Return what a snapshot says of each role."""
    return {f"{role}.json": _listed(role, state[role]) for role in _below_snapshot(state)}


def _signed_of(state: Mapping[str, bytes], role: str) -> Any:
    return read_metadata(role, state[role]).signed


def _listed(role: str, data: bytes) -> MetaFile:
    return MetaFile.from_data(glance(role, data).version, data, ["sha256"])
