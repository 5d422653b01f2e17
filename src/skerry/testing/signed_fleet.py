"""A small fleet's signed state on a clock that tests move, with mirrors that lie when told to.

One site, `oslo`, one model and one policy; keys of every role, so that a test can do what their
thief would. Nodes are `UpdateClient`s over the mirrors, in folders of their own.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from skerry.schema.desired import Desired, DesiredModel, Gate, desired_target
from skerry.schema.model import Manifest, Member, manifest_target
from skerry.schema.policy import Place, Policy, Residency, Stays, policy_target
from skerry.schema.release import Facts, Release, Statement, release_target
from skerry.testing.clock import ManualClock
from skerry.trust.publisher import Publisher
from skerry.trust.roles import ONLINE, OfflineKeys, OnlineKeys, read_metadata
from skerry.trust.update_client import UpdateClient

FLEET, SITE, DOMAIN = "clinic", "oslo", "clinic.example"
MODEL = manifest_target("prod", "magika", 1)
MODEL_2 = manifest_target("prod", "magika", 2)
POLICY_PATH = policy_target(FLEET)
DESIRED = desired_target(SITE)


def content_of(version: int) -> bytes:
    """Return the bytes of a version of the model."""
    return b"the bytes of version %d" % version


def manifest_of(version: int) -> bytes:
    """Return the manifest of a version of the model."""
    content = content_of(version)
    member = Member(
        path="model.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        length_bytes=len(content),
    )
    return msgspec.json.encode(Manifest(name="magika", version=version, members=(member,)))


def policy_of(version: int) -> bytes:
    """Return the policy that belongs to a version of the model."""
    policy = Policy(
        fleet=FLEET,
        generation=version,
        data_classes={"health": Residency(stays=Stays.SITE)},
        model_classes={"magika": ("health",)},
        places={SITE: Place(site=SITE, region="eu", jurisdiction="NO")},
    )
    return msgspec.json.encode(policy)


Lie = Callable[[], Iterator[bytes]]


class Mirror:
    """One way to the published files. `lies` maps a path to what it says instead."""

    def __init__(self, files: Path) -> None:
        self._files = files
        self.lies: dict[str, Lie] = {}
        self.served: list[str] = []
        self.bytes_served = 0

    def fetch(self, path: str, length_max: int) -> Iterator[bytes]:
        """Yield a file, or the lie that is told about it."""
        self.served.append(path)
        source = self.lies.get(path)
        chunks = source() if source else iter([(self._files / path).read_bytes()])
        for chunk in chunks:
            self.bytes_served += len(chunk)
            yield chunk

    def lie(self, path: str, data: bytes) -> None:
        """Say this instead of what is published."""
        self.lies[path] = lambda: iter([data])

    def die(self, path: str = "metadata/timestamp.json") -> None:
        """Break off whenever this file is asked for."""

        def cut() -> Iterator[bytes]:
            raise ConnectionResetError("cut")
            yield b""

        self.lies[path] = cut


class Counter:
    """A TPM's counter, which outlives the disk."""

    def __init__(self) -> None:
        self.count = 0

    def read(self) -> int:
        """Return the count."""
        return self.count

    def raise_to(self, count: int) -> int:
        """Raise the count, never lower it; return it."""
        self.count = max(self.count, count)
        return self.count


@dataclass
class SignedFleet:
    """Keys, a publisher, a mirror, and clients of it."""

    folder: Path
    clock: ManualClock
    offline: OfflineKeys
    online: OnlineKeys
    first: dict[str, bytes]
    publisher: Publisher
    mirror: Mirror
    also: list[Mirror] = field(default_factory=list)
    """Further mirrors, for nodes that are made from then on."""

    @classmethod
    def found(cls, folder: Path) -> Self:
        """Found a fleet in a folder."""
        clock = ManualClock()
        offline = OfflineKeys.create(folder / "offline")
        online = OnlineKeys.create(folder / "online")
        first = offline.found(online.public(), now_unix_s=clock.unix_s())
        files = folder / "repository"
        publisher = Publisher.found(files, online, first, clock)
        return cls(folder, clock, offline, online, first, publisher, Mirror(files))

    @property
    def files(self) -> Path:
        """The published folder."""
        return self.folder / "repository"

    def client(self, name: str = "node", **more: Any) -> UpdateClient:
        """Return the update client of a node; the same name is the same disk."""
        mirrors = [one.fetch for one in self.also]
        more = {"mirrors": mirrors} | more
        root, fetch = self.first["root"], self.mirror.fetch
        return UpdateClient(self.folder / name, root, fetch, self.clock, **more)

    # -- what its people do -------------------------------------------------------------------

    def add(
        self,
        files: Mapping[str, bytes],
        role: str = "models",
        facts: Mapping[str, Facts] | None = None,
    ) -> None:
        """Sign files offline, and publish them."""
        signed = self.offline.sign_models(
            self.publisher.role_bytes(role),
            files,
            now_unix_s=self.clock.unix_s(),
            role=role,
            facts=facts,
        )
        self.publisher.publish(signed={role: signed}, targets=files)

    def release(self, **changes: Any) -> Desired:
        """Sign model and policy offline, and have central name them, as one that counts nothing."""
        self.add({MODEL: manifest_of(1), POLICY_PATH: policy_of(1)})
        desired = self.desired(**changes)
        self.send(desired)
        return desired

    def release_bundle(
        self, release: int, facts: Mapping[str, Facts], generation: int = 1, version: int = 1
    ) -> Desired:
        """Sign a release of model and policy, and have central name it, as it does."""
        model = manifest_target("prod", "magika", version)
        files = {model: manifest_of(version), POLICY_PATH: policy_of(version)}
        members = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        document = Release(fleet=FLEET, release=release, members=members)
        files[release_target(FLEET, release)] = msgspec.json.encode(document)
        self.add(files, facts={path: facts.get(path, Facts()) for path in files})
        desired = self.desired(
            version=version,
            generation=generation,
            release=release,
            artifacts={path: statement(data, facts.get(path)) for path, data in files.items()},
        )
        self.send(desired)
        return desired

    def desired(self, version: int = 1, **changes: Any) -> Desired:
        """Return the site's document, unsigned."""
        whole = Desired(
            generation=1,
            fleet=FLEET,
            domain=DOMAIN,
            region="eu",
            site=SITE,
            tier="closet",
            jurisdiction="NO",
            models=(
                DesiredModel(
                    name="magika",
                    version=version,
                    manifest_sha256=statement(manifest_of(version)).sha256,
                ),
            ),
            policy_sha256=statement(policy_of(version)).sha256,
            tier_order=("closet",),
            peers=(),
            gate=Gate(hold_s=1),
        )
        return msgspec.structs.replace(whole, **changes)

    def send(self, desired: Desired) -> None:
        """Have central sign the site's document."""
        self.publisher.publish(desired={DESIRED: msgspec.json.encode(desired)})

    # -- what their thieves do ----------------------------------------------------------------

    def forge(self, role: str, edit: Callable[[Any], None], keys: Any = None) -> bytes:
        """Sign a changed role with its own key, or with others; one version up."""
        metadata = read_metadata(role, self.publisher.role_bytes(role))
        metadata.signed.version += 1
        edit(metadata.signed)
        keys = keys or (self.online if role in ONLINE else self.offline)
        return bytes(keys.sign(role, metadata))

    def plant(self, **roles: bytes) -> None:
        """Serve forged roles under a snapshot and a timestamp signed with stolen online keys."""
        files = self.files / "metadata"

        def list_roles(snapshot: Any) -> None:
            for role, data in roles.items():
                version = json.loads(data)["signed"]["version"]
                _names_only(snapshot.meta[f"{role}.json"], version)
                (files / f"{version}.{role}.json").write_bytes(data)

        snapshot = self.forge("snapshot", list_roles)
        version = json.loads(snapshot)["signed"]["version"]
        (files / f"{version}.snapshot.json").write_bytes(snapshot)

        def list_snapshot(timestamp: Any) -> None:
            _names_only(timestamp.snapshot_meta, version)

        (files / "timestamp.json").write_bytes(self.forge("timestamp", list_snapshot))

    def copy(self, name: str) -> Path:
        """Keep the published folder as it is now, to serve it later."""
        return Path(shutil.copytree(self.files, self.folder / name))

    def restore(self, name: str) -> None:
        """Serve an older copy again."""
        shutil.rmtree(self.files)
        shutil.copytree(self.folder / name, self.files)


def _names_only(listed: Any, version: int) -> None:
    """Have metadata list a version, whatever its bytes."""
    listed.version, listed.length, listed.hashes = version, None, None


def statement(data: bytes, facts: Facts | None = None) -> Statement:
    """Return what an honest central says of these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return Statement(sha256=digest, length_bytes=len(data), hw=facts.hw if facts else ())
