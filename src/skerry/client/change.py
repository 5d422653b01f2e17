"""Sending a change: sign what is new with the offline keys here, hand it to central, apply.

    models of the fleet -> blobs to central
    manifests, policy   -> signed here by the offline `models` role -> central publishes
    fleet               -> central seals it ring by ring with its online role

Blocking. Nothing reaches a node before all of it is there, and what central already has
is not sent again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import Exit, SkerryError
from skerry.client.operator import Operator
from skerry.client.provenance import envelope_for
from skerry.client.release import CHANNEL, ROLE, NextRelease, newest_release, next_release
from skerry.client.signing import sign_release
from skerry.fleet.attestation import reference_of
from skerry.fleet.desired import access_of, policy_of
from skerry.schema.access import AccessPolicy, access_target
from skerry.schema.api import ApplyReply
from skerry.schema.attestation import Mode, Reference, reference_target
from skerry.schema.fleet import Fleet, Model
from skerry.schema.model import Manifest, manifest_target
from skerry.schema.policy import Policy, policy_target
from skerry.schema.provenance import provenance_target
from skerry.schema.release import Facts, Release, release_target
from skerry.schema.trust import Access
from skerry.trust.roles import OfflineKeys

MANIFEST_FILE = "manifest.json"


class ModelMissingError(SkerryError):
    """The fleet file names a model version whose bytes are not in the model repository.

    `skerry model add` puts them there and pins their digest in `fleet.lock`.
    """

    code = "E1312"
    exit_code = Exit.FILE_INVALID

    def __init__(self, model: str, version: int, why: str) -> None:
        super().__init__(model, version, why)
        self.model, self.version, self.why = model, version, why

    def __str__(self) -> str:
        return f"model {self.model} version {self.version}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the command."""
        return (
            f"add it with: skerry model add FILE --name {self.model} --version {self.version}  "
            "(the clinic template's own models need no file: skerry model add magika)"
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was signed and sent."""

    targets: int
    blobs: int
    blob_bytes: int
    policy_sha256: str
    release: int
    """The signed release that holds all of it."""


def check_models(fleet: Fleet, repository: Path) -> None:
    """Raise `ModelMissingError` if the bytes of a model that the fleet names are not here."""
    for model in fleet.models:
        _manifest(model, repository)


def seal(
    fleet: Fleet, repository: Path, keys: OfflineKeys, central: Operator, *, clock: Clock
) -> Sealed:
    """Sign what central does not have yet, and upload it. Raises `ModelMissingError`.

    Where several holders must sign, raises `SignaturesPendingError` and goes on from there the
    next time.
    """
    current = central.role_metadata(ROLE)
    signed = msgspec.json.decode(current, type=_Metadata).signed.targets
    new: dict[str, bytes] = {}
    provenance: dict[str, str] = {}
    blobs = blob_bytes = 0
    for model in fleet.models:
        data, manifest = _manifest(model, repository)
        path = manifest_target(CHANNEL, model.name, model.version)
        if path not in signed or not signed[path].custom.provenance:
            folder = repository / model.name / str(model.version)
            envelope = envelope_for(folder, CHANNEL, keys)
            if envelope is not None:
                provenance[path] = provenance_target(CHANNEL, model.name, model.version)
                new[provenance[path]] = envelope
        if path in signed and signed[path].hashes.sha256 == model.manifest_sha256:
            continue
        for member in manifest.members:
            content = (repository / model.name / str(model.version) / member.path).read_bytes()
            central.put_blob(member.sha256, content)
            blobs, blob_bytes = blobs + 1, blob_bytes + len(content)
        new[path] = data
    policy, policy_sha256 = _policy(fleet, signed.get(policy_target(fleet.name)), central)
    if policy is not None:
        new[policy_target(fleet.name)] = policy
    access = _access(fleet, signed.get(access_target(fleet.name)), central)
    if access is not None:
        new[access_target(fleet.name)] = access
    reference = _reference(fleet, repository.parent, signed, central)
    if reference is not None:
        new[reference_target(fleet.name)] = reference
    release = _release(fleet, policy_sha256, signed, central, provenance)
    new |= release.files
    if new or release.facts:
        sign_release(
            fleet.name,
            ROLE,
            new,
            keys,
            central,
            folder=repository.parent,
            clock=clock,
            facts=release.facts,
            withdraw=release.withdraw,
        )
    return Sealed(len(new), blobs, blob_bytes, policy_sha256, release.number)


def apply(
    fleet: Fleet,
    repository: Path,
    keys: OfflineKeys,
    central: Operator,
    *,
    expected_generation: int,
    reason: str,
    clock: Clock,
) -> ApplyReply:
    """Seal, upload and apply a fleet on top of the generation that its author looked at."""
    sealed = seal(fleet, repository, keys, central, clock=clock)
    return central.apply(
        fleet,
        expected_generation=expected_generation,
        policy_sha256=sealed.policy_sha256,
        reason=reason,
    )


class _Hashes(msgspec.Struct):
    sha256: str = ""


class _Target(msgspec.Struct):
    hashes: _Hashes
    custom: Facts = Facts()


class _Signed(msgspec.Struct):
    version: int
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct):
    """As much of a TUF targets role as is looked at here."""

    signed: _Signed


def _release(
    fleet: Fleet,
    policy_sha256: str,
    signed: Mapping[str, _Target],
    central: Operator,
    provenance: Mapping[str, str],
) -> NextRelease:
    """Return the release that the fleet needs, beside what is signed and published now."""
    facts = {path: target.custom for path, target in signed.items()}
    newest, last = newest_release(fleet.name, facts), None
    if newest:
        path = release_target(fleet.name, newest)
        last = msgspec.json.decode(central.target(path, signed[path].hashes.sha256), type=Release)
    return next_release(fleet, policy_sha256, facts, last, provenance)


def _manifest(model: Model, repository: Path) -> tuple[bytes, Manifest]:
    path = repository / model.name / str(model.version) / MANIFEST_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelMissingError(model.name, model.version, f"{path} is not there") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != model.manifest_sha256:
        found, wanted = digest[:12], model.manifest_sha256[:12] or "nothing"
        raise ModelMissingError(
            model.name, model.version, f"{path} is {found}, fleet.lock pins {wanted}"
        )
    return data, msgspec.json.decode(data, type=Manifest)


def _access(fleet: Fleet, published: _Target | None, central: Operator) -> bytes | None:
    """Return the access policy to sign, where it changed; a fleet that never had one needs none."""
    if published is None:
        return None if fleet.trust.access == Access() else msgspec.json.encode(access_of(fleet, 1))
    data = central.target(access_target(fleet.name), published.hashes.sha256)
    known = msgspec.json.decode(data, type=AccessPolicy)
    if access_of(fleet, known.generation) == known:
        return None
    return msgspec.json.encode(access_of(fleet, known.generation + 1))


def _policy(fleet: Fleet, published: _Target | None, central: Operator) -> tuple[bytes | None, str]:
    """Return the policy to sign, if it changed, and the digest of the one to name."""
    generation = 1
    if published is not None:
        digest = published.hashes.sha256
        known = msgspec.json.decode(central.target(policy_target(fleet.name), digest), type=Policy)
        if policy_of(fleet, known.generation) == known:
            return None, digest
        generation = known.generation + 1
    data = msgspec.json.encode(policy_of(fleet, generation))
    return data, hashlib.sha256(data).hexdigest()


def _reference(
    fleet: Fleet, home: Path, signed: dict[str, _Target], central: Operator
) -> bytes | None:
    """Return the reference values to sign, if they changed; a fleet without them signs none."""
    path = reference_target(fleet.name)
    if path not in signed:
        wanted = reference_of(fleet, home, 1)
        return None if wanted.mode is Mode.OFF else msgspec.json.encode(wanted)
    known = msgspec.json.decode(central.target(path, signed[path].hashes.sha256), type=Reference)
    if reference_of(fleet, home, known.generation) == known:
        return None
    return msgspec.json.encode(reference_of(fleet, home, known.generation + 1))
