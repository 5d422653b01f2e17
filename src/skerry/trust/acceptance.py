"""From verified targets to what a node may run: desired state with every artifact signed too.

A document is accepted whole or refused whole. Central's online role directs, the offline roles
say what exists (Uptane's director and image repositories): an artifact is taken only if both name
the same path, length, digest and hardware, it is of the release that central names, its needs are
met, and that release is not below the floor. So who holds central's keys alone cannot bring a
model or a policy of his own, and who holds the offline keys alone cannot make a site take one.

Errors:  UpdateRefused subclasses: DIRECTOR_IMAGE_MISMATCH, HW_MISMATCH, NEEDS_UNMET,
         BUNDLE_MISMATCH, RELEASE_BELOW_FLOOR, TARGET_UNREADABLE, ...
Source:  Uptane 2.1, "Full verification".
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import msgspec

from skerry.base.files import write_private
from skerry.schema.desired import Desired, desired_target
from skerry.schema.model import Manifest, Member, manifest_target
from skerry.schema.policy import Policy, policy_target
from skerry.schema.release import Release, Statement, release_target
from skerry.trust.errors import (
    BundleMismatch,
    DirectorImageMismatch,
    HardwareMismatch,
    NeedsUnmet,
    ReleaseBelowFloor,
    TargetUnreadable,
)
from skerry.trust.floor import check_release

if TYPE_CHECKING:  # a worker reads what was accepted, and updates nothing: no TUF in it
    from skerry.trust.update_client import SignedTarget, UpdateClient

_SHA256 = re.compile(r"[0-9a-f]{64}")
_Document = TypeVar("_Document")


class AcceptedDesired(msgspec.Struct, frozen=True, kw_only=True):
    """A site's desired state, verified. Keep it on disk: a cold start needs no network."""

    desired: Desired
    desired_sha256: str
    manifests: dict[str, Manifest]
    """By model name; every model of `desired.models` is here."""
    policy: Policy
    min_release: int = 0
    """No lower release is installed once this one is committed."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_private(path, msgspec.json.encode(self))

    @classmethod
    def load(cls, path: Path) -> "AcceptedDesired | None":
        """Read what `save` wrote; None if there is none or it is torn."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None


def check_provenance(client: "UpdateClient", image: "SignedTarget", policy: Policy) -> None:
    """Refuse a model whose statement of origin is not what the fleet wants of it."""
    from skerry.trust import provenance  # a worker reads what was accepted, and checks nothing

    provenance.check_provenance(client, image, policy)


def accept_desired(
    client: "UpdateClient",
    site: str,
    *,
    held: AcceptedDesired | None = None,
    hardware: str | None = None,
) -> AcceptedDesired:
    """Return the site's desired state, or raise why it is refused. Call `client.refresh` first.

    `held` is what the node runs: if the signed document is the same, it is returned untouched.
    An older generation never wins. `hardware` is the kind of this machine; None where the caller
    only looks and will not run it.
    """
    path = desired_target(site)
    sha256 = client.target_sha256(path)
    if held is not None and held.desired_sha256 == sha256 and held.desired.site == site:
        return held
    desired = _decoded(path, client.target_bytes(path), Desired)
    if desired.site != site:
        raise TargetUnreadable(path, f"it is for the site {desired.site}")
    _check_generation(client, path, desired.generation)
    wanted = named(desired)
    signed: dict[str, SignedTarget] = {}
    for artifact, digest in wanted.items():
        said = desired.artifacts.get(artifact)
        signed[artifact] = check_signed(path, artifact, digest, said, client.target(artifact))
    for image in signed.values():
        check_hardware(image, hardware)
        check_needs(client, image, wanted)
    min_release = max((image.facts.min_release for image in signed.values()), default=0)
    check_release(path, desired.release, max(client.release_floor(), min_release))
    contents = fetch_named(client, wanted)
    policy_path = policy_target(desired.fleet)
    policy = _decoded(policy_path, contents[policy_path], Policy)
    _check_generation(client, policy_path, policy.generation)
    if desired.release:
        release_path = release_target(desired.fleet, desired.release)
        release = _decoded(release_path, contents[release_path], Release)
        check_together(path, release, desired)
    manifests: dict[str, Manifest] = {}
    for model in desired.models:
        model_path = manifest_target(model.channel, model.name, model.version)
        manifest = _decoded(model_path, contents[model_path], Manifest)
        if (manifest.name, manifest.version) != (model.name, model.version):
            raise TargetUnreadable(model_path, f"it is for {manifest.name} v{manifest.version}")
        _check_members(model_path, manifest)
        check_provenance(client, signed[model_path], policy)
        manifests[model.name] = manifest
    client.raise_floor(policy_path, policy.generation)
    client.raise_floor(path, desired.generation)
    return AcceptedDesired(
        desired=desired,
        desired_sha256=sha256 or "",
        manifests=manifests,
        policy=policy,
        min_release=min_release,
    )


def named(desired: Desired) -> dict[str, str]:
    """Return what a document tells its site to run: target path to SHA-256, and nothing else."""
    wanted = {policy_target(desired.fleet): desired.policy_sha256} | {
        manifest_target(model.channel, model.name, model.version): model.manifest_sha256
        for model in desired.models
    }
    if desired.release:
        path = release_target(desired.fleet, desired.release)
        said = desired.artifacts.get(path)
        wanted[path] = said.sha256 if said else ""
    return wanted


def fetch_named(client: "UpdateClient", wanted: Mapping[str, str]) -> dict[str, bytes]:
    """Return the bytes of what a document names; nothing else that is signed is fetched."""
    return {path: client.target_bytes(path) for path in wanted}


def check_signed(
    named_by: str, path: str, sha256: str, said: Statement | None, image: "SignedTarget | None"
) -> "SignedTarget":
    """Return the artifact, or refuse it if central's role and the offline one differ about it.

    `said` is what central says of it. A central that says nothing beyond the digest is believed
    as long as there is nothing more to say.
    """
    if image is None:
        why = f"{named_by} names it, and no role that may sign it lists it"
        raise DirectorImageMismatch(path, why)
    said = said or Statement(sha256=sha256, length_bytes=image.length_bytes)
    for what, central, offline in (
        ("sha256", sha256, image.sha256),
        ("sha256", said.sha256, image.sha256),
        ("length_bytes", said.length_bytes, image.length_bytes),
        ("hw", sorted(said.hw), sorted(image.facts.hw)),
    ):
        if central != offline:
            why = f"{named_by} names {what} {central}, and {offline} is signed"
            raise DirectorImageMismatch(path, why)
    return image


def check_hardware(image: "SignedTarget", hardware: str | None) -> None:
    """Refuse an artifact that is signed for other kinds of machine."""
    if hardware is not None and image.facts.hw and hardware not in image.facts.hw:
        mine = hardware or "of no named kind"
        raise HardwareMismatch(
            image.path, f"it is for {', '.join(image.facts.hw)}; this machine is {mine}"
        )


def check_needs(client: "UpdateClient", image: "SignedTarget", wanted: Mapping[str, str]) -> None:
    """Refuse an artifact whose needs are not all signed and named, before any is fetched."""
    for path, sha256 in image.facts.needs.items():
        need = client.target(path)
        if need is None:
            raise NeedsUnmet(image.path, f"it needs {path}, which nobody who may has signed")
        if sha256 and need.sha256 != sha256:
            why = f"it needs {path} with sha256 {sha256[:12]}, and {need.sha256[:12]} is signed"
            raise NeedsUnmet(image.path, why)
        if path not in wanted:
            raise NeedsUnmet(image.path, f"it needs {path}, which is not to run here")


def check_together(named_by: str, release: Release, desired: Desired) -> None:
    """Refuse artifacts that are not all members of the one release that is named."""
    path = release_target(desired.fleet, desired.release)
    if (release.fleet, release.release) != (desired.fleet, desired.release):
        raise BundleMismatch(path, f"it is release {release.release} of {release.fleet}")
    for member, sha256 in named(desired).items():
        if member != path and release.members.get(member) != sha256:
            why = f"{named_by} names {member}, which is no member with these bytes"
            raise BundleMismatch(path, why)


def _decoded(path: str, data: bytes, kind: type[_Document]) -> _Document:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TargetUnreadable(path, str(error)) from error


def _check_generation(client: "UpdateClient", path: str, generation: int) -> None:
    floor = client.generation_floor(path)
    if generation < floor:
        raise ReleaseBelowFloor(path, f"generation {generation}, and {floor} was accepted before")


def _check_members(path: str, manifest: Manifest) -> None:
    """Refuse a manifest whose files could land outside their folder or have no end."""
    for member in manifest.members:
        place = PurePosixPath(member.path)
        if (
            place.is_absolute()
            or ".." in place.parts
            or str(place) != member.path
            or not place.parts
        ):
            raise TargetUnreadable(path, f"a file of it is called {member.path!r}")
        if not _SHA256.fullmatch(member.sha256) or member.length_bytes < 0:
            raise TargetUnreadable(path, f"{member.path} has no digest or no length")
        if member.chunks and not _covered(member):
            raise TargetUnreadable(path, f"the chunks of {member.path} do not cover it")


def _covered(member: Member) -> bool:
    """Tell whether chunks of the stated size, each with a digest, are exactly the whole file."""
    if member.chunk_bytes <= 0 or not all(_SHA256.fullmatch(chunk) for chunk in member.chunks):
        return False
    return len(member.chunks) == -(-member.length_bytes // member.chunk_bytes)
