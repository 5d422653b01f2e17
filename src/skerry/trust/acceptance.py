"""From verified targets to what a node may run: desired state with every artifact signed too.

A document that names an artifact which the offline role has not signed, with those bytes, is
refused whole: who holds central's online key still cannot bring a model or a policy of his own.

Errors:  UpdateRefused subclasses: RELEASE_BELOW_FLOOR, TARGET_UNSIGNED, TARGET_UNREADABLE, ...
"""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import msgspec

from skerry.base.files import write_private
from skerry.schema.desired import Desired, desired_target
from skerry.schema.model import Manifest, manifest_target
from skerry.schema.policy import Policy, policy_target
from skerry.trust.errors import ReleaseBelowFloor, TargetUnreadable, TargetUnsigned

if TYPE_CHECKING:  # a worker reads what was accepted, and updates nothing: no TUF in it
    from skerry.trust.update_client import UpdateClient

_SHA256 = re.compile(r"[0-9a-f]{64}")
_Document = TypeVar("_Document")


class AcceptedDesired(msgspec.Struct, frozen=True, kw_only=True):
    """A site's desired state, verified. Keep it on disk: a cold start needs no network."""

    desired: Desired
    desired_sha256: str
    manifests: dict[str, Manifest]
    """By model name; every model of `desired.models` is here."""
    policy: Policy

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_private(path, msgspec.json.encode(self))

    @classmethod
    def load(cls, path: Path) -> "AcceptedDesired | None":
        """Read what `save` wrote; None if there is none or it is torn."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None


def accept_desired(
    client: "UpdateClient", site: str, *, held: AcceptedDesired | None = None
) -> AcceptedDesired:
    """Return the site's desired state, or raise why it is refused. Call `client.refresh` first.

    `held` is what the node runs: if the signed document is the same, it is returned untouched.
    An older generation never wins.
    """
    path = desired_target(site)
    sha256 = client.target_sha256(path)
    if held is not None and held.desired_sha256 == sha256 and held.desired.site == site:
        return held
    desired = _read(client, path, Desired)
    if desired.site != site:
        raise TargetUnreadable(path, f"it is for the site {desired.site}")
    _check_generation(client, path, desired.generation)
    policy_path = policy_target(desired.fleet)
    _check_signed(client, path, policy_path, desired.policy_sha256)
    policy = _read(client, policy_path, Policy)
    _check_generation(client, policy_path, policy.generation)
    manifests: dict[str, Manifest] = {}
    for model in desired.models:
        model_path = manifest_target(model.channel, model.name, model.version)
        _check_signed(client, path, model_path, model.manifest_sha256)
        manifest = _read(client, model_path, Manifest)
        if (manifest.name, manifest.version) != (model.name, model.version):
            raise TargetUnreadable(model_path, f"it is for {manifest.name} v{manifest.version}")
        _check_members(model_path, manifest)
        manifests[model.name] = manifest
    client.raise_floor(policy_path, policy.generation)
    client.raise_floor(path, desired.generation)
    return AcceptedDesired(
        desired=desired, desired_sha256=sha256 or "", manifests=manifests, policy=policy
    )


def _read(client: "UpdateClient", path: str, kind: type[_Document]) -> _Document:
    data = client.target_bytes(path)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise TargetUnreadable(path, str(error)) from error


def _check_generation(client: "UpdateClient", path: str, generation: int) -> None:
    floor = client.generation_floor(path)
    if generation < floor:
        raise ReleaseBelowFloor(path, f"generation {generation}, and {floor} was accepted before")


def _check_signed(client: "UpdateClient", named_by: str, path: str, sha256: str) -> None:
    """Refuse an artifact that is not signed, or is signed with other bytes than are named."""
    signed = client.target_sha256(path)
    if signed is None:
        raise TargetUnsigned(path, f"{named_by} names it, and no role that may sign it lists it")
    if signed != sha256:
        why = f"{named_by} names sha256 {sha256[:12]}, and {signed[:12]} is signed"
        raise TargetUnsigned(path, why)


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
