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
from skerry.schema.fleet import Fleet
from skerry.schema.model import manifest_target
from skerry.schema.policy import policy_target
from skerry.spine import subjects
from skerry.spine.bus import Bus
from skerry.spine.errors import SpineError
from skerry.trust.errors import PublishError
from skerry.trust.publisher import Publisher
from skerry.trust.roles import PublicKeys

ROLES = ("root", "targets", "models", "canary", "desired", "snapshot", "timestamp")


class _Hashes(msgspec.Struct):
    sha256: str = ""


class _Target(msgspec.Struct):
    hashes: _Hashes


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
        except msgspec.DecodeError as error:
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
