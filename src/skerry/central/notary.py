"""Everything that changes what nodes trust goes through here, one change at a time.

Wraps the publisher (blocking, disk-bound) for the event loop, answers what is signed, and
nudges sites once a change is served.

Errors:  PublishError of `skerry.trust`; NotSignedYetError.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import anyio
import msgspec
from anyio import to_thread

from skerry.central.errors import NotSignedYetError
from skerry.schema.api import Nudge
from skerry.schema.desired import Desired
from skerry.schema.fleet import Fleet
from skerry.schema.model import manifest_target
from skerry.schema.policy import policy_target
from skerry.schema.release import Facts, Release, Statement, release_target
from skerry.spine import subjects
from skerry.spine.bus import Bus
from skerry.spine.errors import SpineError
from skerry.trust.acceptance import named
from skerry.trust.errors import PublishError
from skerry.trust.publisher import Publisher
from skerry.trust.roles import PublicKeys

ROLES = ("root", "targets", "models", "canary", "desired", "snapshot", "timestamp")


class _Hashes(msgspec.Struct):
    sha256: str = ""


class _Target(msgspec.Struct):
    hashes: _Hashes
    length: int = 0
    custom: Facts = Facts()


class _Signed(msgspec.Struct):
    version: int
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct):
    signed: _Signed


_metadata = msgspec.json.Decoder(_Metadata)


class Notary:
    """Signs and publishes, and says so to the sites."""

    def __init__(self, publisher: Publisher, bus: Callable[[], Bus | None]) -> None:
        self._publisher, self._bus = publisher, bus
        self._turn = anyio.Lock()
        self._seen: tuple[bytes, ...] = ()
        self._targets: dict[str, _Target] = {}
        self._releases_of: dict[str, list[Release]] = {}

    def role_bytes(self, role: str) -> bytes:
        """Return a role's published metadata."""
        return self._publisher.role_bytes(role)

    def versions(self) -> dict[str, int]:
        """Return the published version of each role."""
        return {role: _metadata.decode(self.role_bytes(role)).signed.version for role in ROLES}

    def signed_sha256(self, path: str, role: str = "models") -> str:
        """Return the signed digest of a target, empty if nobody signed it."""
        target = _metadata.decode(self.role_bytes(role)).signed.targets.get(path)
        return target.hashes.sha256 if target else ""

    def listed(self, metadata: bytes) -> dict[str, str]:
        """Return what a role's metadata lists, path to digest; raises `PublishError`."""
        try:
            targets = _metadata.decode(metadata).signed.targets
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PublishError("models", f"it cannot be read: {error}") from error
        return {path: target.hashes.sha256 for path, target in targets.items()}

    def target_bytes(self, path: str) -> bytes | None:
        """Return the published bytes of a target of `models`, None where there are none."""
        sha256 = self.signed_sha256(path)
        return self._publisher.target_bytes(path, sha256) if sha256 else None

    def check_signed(self, fleet: Fleet, policy_sha256: str) -> None:
        """Raise `NotSignedYetError` if a node would refuse what this fleet names."""
        wanted = {policy_target(fleet.name): policy_sha256} | {
            manifest_target("prod", model.name, model.version): model.manifest_sha256
            for model in fleet.models
            if model.manifest_sha256
        }
        signed = _metadata.decode(self.role_bytes("models")).signed.targets
        for path, sha256 in wanted.items():
            target = signed.get(path)
            if target is None or target.hashes.sha256 != sha256:
                raise NotSignedYetError(path, sha256)

    def completed(self, desired: Desired) -> Desired:
        """Return a document that says what is signed of each artifact, and of which release.


        It is the oldest release that holds them all and is not withdrawn, so that a newer one
        changes no document that it has nothing new for.
        """
        signed = self._signed()
        wanted = named(desired)
        for release in self._releases(desired.fleet):
            if wanted.items() <= release.members.items():
                desired = msgspec.structs.replace(desired, release=release.release)
                break
        paths = [*wanted]
        if desired.release:
            paths.append(release_target(desired.fleet, desired.release))
        said = {
            path: Statement(sha256=one.hashes.sha256, length_bytes=one.length, hw=one.custom.hw)
            for path in paths
            if (one := signed.get(path)) is not None
        }
        return msgspec.structs.replace(desired, artifacts=said)

    def _signed(self) -> dict[str, _Target]:
        """Return every target of the offline roles; they are read again once they change."""
        data = tuple(self.role_bytes(role) for role in ("models", "canary"))
        if data != self._seen:
            self._seen, self._targets, self._releases_of = data, {}, {}
            for one in data:
                self._targets |= _metadata.decode(one).signed.targets
        return self._targets

    def _releases(self, fleet: str) -> list[Release]:
        """Return the signed releases that may still be installed, the oldest first."""
        signed = self._signed()
        if fleet not in self._releases_of:
            start = release_target(fleet, 0).removesuffix("0.json")
            of = {path: one for path, one in signed.items() if path.startswith(start)}
            least = max((one.custom.min_release for one in of.values()), default=0)
            contents = (
                self._publisher.target_bytes(path, one.hashes.sha256) for path, one in of.items()
            )
            found = [msgspec.json.decode(data, type=Release) for data in contents if data]
            self._releases_of[fleet] = sorted(
                (one for one in found if one.release >= least), key=lambda one: one.release
            )
        return self._releases_of[fleet]

    async def check(self, signed: Mapping[str, bytes], targets: Mapping[str, bytes]) -> None:
        """Raise what `take` would refuse; changes nothing."""
        async with self._turn:
            await to_thread.run_sync(partial(self._publisher.check, signed=signed, targets=targets))

    async def take(self, signed: Mapping[str, bytes], targets: Mapping[str, bytes]) -> None:
        """Publish what offline roles signed, and the files it names."""
        await self._publish(signed=signed, targets=targets)

    async def seal(self, documents: Mapping[str, bytes]) -> None:
        """Sign and publish desired documents by target path."""
        await self._publish(desired=documents)

    async def stamp(self, life_s: float) -> dict[str, bytes]:
        """Sign what is published for a longer time, for a bundle; returned, not published."""
        async with self._turn:
            return await to_thread.run_sync(self._publisher.stamp, life_s)

    async def refresh(self) -> bool:
        """Sign online roles again where half their life is over."""
        async with self._turn:
            return await to_thread.run_sync(self._publisher.refresh)

    async def make_successors(self, roles: Sequence[str]) -> PublicKeys:
        """Make fresh keys for online roles; they sign once root or targets name them."""
        async with self._turn:
            return await to_thread.run_sync(self._publisher.make_successors, tuple(roles))

    async def nudge(self, region: str, site: str, generation: int) -> None:
        """Tell a site and its region to look now; who misses it looks by itself soon."""
        bus = self._bus()
        if bus is None:
            return
        message = msgspec.json.encode(Nudge(generation=generation))
        # The region first: its mirror must be fresh by the time its nodes ask.
        for subject in (subjects.command_region(region), subjects.command(region, site)):
            try:
                await bus.publish(subject, message)
            except SpineError:
                return

    async def _publish(self, **what: Mapping[str, bytes]) -> None:
        async with self._turn:
            await to_thread.run_sync(partial(self._publisher.publish, **what))
