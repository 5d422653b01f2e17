"""Signing across people: a file that travels from holder to holder and gathers signatures.

    rotate, renew, release  ->  a signing file: what is published, what is offered, why
    each holder             ->  sees the difference, signs with own keys, passes the file on
    publish                 ->  central takes it once every threshold is met

Whoever makes the file need not be trusted. Its published part is checked from a root that the
holder has seen before (or has signed, or confirms by voice the first time), so the difference
shown is the true one; its offered part must pass the same lint as at central.

Units:   unix seconds.
Errors:  SigningFileError, NotAHolderError, PublishError and its kinds.
Source:  TUF specification 1.0.34, section 6.1; tuf-on-ci for signing across people.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec

from skerry.trust._tuf import Metadata, Signer
from skerry.trust.ceremony_errors import NotAHolderError, SigningFileError
from skerry.trust.ceremony_keys import add_signature
from skerry.trust.errors import PublishError
from skerry.trust.publish_lint import lint_delegated_once, lint_delegations, lint_keys, lint_life
from skerry.trust.roles import OFFLINE, PATHS, lint_paths, read_metadata
from skerry.trust.standing import Standing, check_threshold, standing

FILE_BYTES_MAX = 32 * 1024 * 1024
ROOTS_MAX = 1024


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet has published: every version of root, oldest first, and the offline roles."""

    roots: tuple[bytes, ...] = ()
    roles: dict[str, bytes] = {}


class SigningFile(msgspec.Struct, frozen=True, kw_only=True):
    """What holders are asked to sign, and what it is signed on top of. Not secret."""

    schema: Literal["skerry.signing/1"] = "skerry.signing/1"
    fleet: str
    why: str
    published: Published
    """Empty for the founding of a fleet."""
    offered: dict[str, bytes]
    """Role to metadata, with the signatures gathered so far."""
    files: dict[str, bytes] = {}
    """Target path to content, for what the offered roles add."""


class Known(StrEnum):
    """Why the published part is believed."""

    SEEN = "seen before"
    SIGNED = "signed by this holder before"
    FIRST_USE = "first use"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Signatures of one role as one set of keys wants them; a new root wants two sets."""

    standing: Standing
    by: str
    """`present keys` or `new keys` for root, else empty."""

    def __str__(self) -> str:
        found = self.standing
        who = f"{found.role} ({self.by})" if self.by else found.role
        signed, open_ = ", ".join(found.signed) or "nobody", ", ".join(found.open) or "nobody"
        count = f"{len(found.signed)} signed, {found.threshold} wanted"
        return f"{who}: {count}; by {signed}; open: {open_}"


def read_signing(data: bytes) -> SigningFile:
    """Read a signing file from anywhere; raises `SigningFileError`."""
    if len(data) > FILE_BYTES_MAX:
        raise SigningFileError("the signing file", f"it has more than {FILE_BYTES_MAX} bytes")
    try:
        file = msgspec.json.decode(data, type=SigningFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SigningFileError("the signing file", f"it cannot be read: {error}") from error
    unknown = (set(file.offered) | set(file.published.roles)) - set(OFFLINE)
    if unknown or not file.offered or len(file.published.roots) > ROOTS_MAX:
        raise SigningFileError("the signing file", f"it wants {', '.join(OFFLINE)} signed, or less")
    return file


def write_signing(file: SigningFile) -> bytes:
    """Return a signing file's bytes."""
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


def check_published(
    published: Published, anchor: bytes | None = None, own: Collection[str] = ()
) -> Known:
    """Verify what is said to be published, from a root that is known here.

    `anchor` is the newest root seen before, `own` the ids of the holder's own keys: a root that
    they signed will do as well. `Known.FIRST_USE` says that neither helped, and a human has to
    compare the first root's fingerprint.
    """
    if not published.roots:
        return Known.FIRST_USE
    try:
        roots = [read_metadata("root", data) for data in published.roots]
        start, known = _start(roots, anchor, own)
        check_threshold("root", roots[start], roots[start])
        for before, root in zip(roots[start:], roots[start + 1 :], strict=False):
            check_threshold("root", root, before)
            check_threshold("root", root, root)
        targets = read_metadata("targets", published.roles.get("targets", b""))
        check_threshold("targets", targets, roots[-1])
        for role in ("models", "canary"):
            metadata = read_metadata(role, published.roles.get(role, b""))
            check_threshold(role, metadata, targets)
    except (PublishError, ValueError) as error:
        raise SigningFileError("the published state in this file", str(error)) from error
    return known


def check_offered(file: SigningFile, now_unix_s: float) -> None:
    """Refuse what central would refuse anyway, signatures apart, before anybody signs it."""
    try:
        _lint_offered(file, now_unix_s)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # metadata of odd form
        raise SigningFileError("what this file offers", f"it is malformed: {error}") from error


def _lint_offered(file: SigningFile, now_unix_s: float) -> None:
    after = _after(file)
    for role, data in file.offered.items():
        metadata = read_metadata(role, data)
        before = _version_before(file.published, role)
        if metadata.signed.version != before + 1:
            why = f"version {metadata.signed.version} is offered, wanted {before + 1}"
            raise PublishError(role, why)
        lint_life(role, metadata, now_unix_s)
        lint_delegated_once(role, metadata.signed)
        if role in PATHS:
            lint_paths(role, metadata.signed)
    targets = read_metadata("targets", after["targets"])
    lint_delegations(targets.signed)
    lint_keys(read_metadata("root", after["root"]).signed, targets.signed)


def wanted(file: SigningFile) -> list[Wanted]:
    """Say who signed what and who still can; a new root needs the present keys' consent too."""
    found = []
    for role, data in file.offered.items():
        metadata = read_metadata(role, data)
        for by, delegator in _delegators(file, role):
            found.append(Wanted(standing(role, metadata, delegator), by))
    return found


def check_complete(file: SigningFile) -> None:
    """Raise `TooFewSignaturesError` unless every threshold is met."""
    for role, data in file.offered.items():
        for _, delegator in _delegators(file, role):
            check_threshold(role, read_metadata(role, data), delegator)


def is_complete(file: SigningFile) -> bool:
    """Say whether every threshold is met."""
    return all(not one.standing.missing for one in wanted(file))


def sign(file: SigningFile, signers: Mapping[str, Signer], who: str) -> SigningFile:
    """Add signatures with every key of these that is asked for; raises `NotAHolderError`."""
    offered, used = dict(file.offered), 0
    for role, data in file.offered.items():
        metadata = read_metadata(role, data)
        asked = {key for _, by in _delegators(file, role) for key in _key_ids(by, role)}
        for key_id in sorted(asked & set(signers)):
            add_signature(metadata, signers[key_id], append=True)
            used += 1
        offered[role] = metadata.to_bytes()
    if not used:
        raise NotAHolderError(who, sorted({name for one in wanted(file) for name in _names(one)}))
    return msgspec.structs.replace(file, offered=offered)


def merge(files: Sequence[SigningFile]) -> SigningFile:
    """Join copies of one file that holders signed side by side."""
    first = files[0]
    offered = {role: read_metadata(role, data) for role, data in first.offered.items()}
    for other in files[1:]:
        if set(other.offered) != set(offered) or other.files != first.files:
            raise SigningFileError("a second signing file", "it offers something else")
        for role, data in other.offered.items():
            metadata = read_metadata(role, data)
            if metadata.signed_bytes != offered[role].signed_bytes:
                raise SigningFileError("a second signing file", f"its {role} is another")
            offered[role].signatures.update(metadata.signatures)
    encoded = {role: metadata.to_bytes() for role, metadata in offered.items()}
    return msgspec.structs.replace(first, offered=encoded)


def fingerprint(root: bytes) -> str:
    """Return what two people read to each other to be sure of one root: 8 groups of 4."""
    digest = hashlib.sha256(read_metadata("root", root).signed_bytes).hexdigest()
    return " ".join(digest[i : i + 4] for i in range(0, 32, 4))


def _start(
    roots: Sequence[Metadata[Any]], anchor: bytes | None, own: Collection[str]
) -> tuple[int, Known]:
    """Return from which root on the chain has to be verified, and why that one is believed."""
    for place, root in enumerate(roots):
        if root.signed.version != place + 1:
            raise PublishError("root", f"version {root.signed.version} stands in place {place + 1}")
    if anchor is not None:
        seen = read_metadata("root", anchor)
        place = seen.signed.version - 1
        if place >= len(roots):
            raise PublishError("root", f"version {place + 1} was seen here before; it is withheld")
        if roots[place].signed_bytes != seen.signed_bytes:
            raise PublishError("root", f"version {place + 1} is not the one seen here before")
        return place, Known.SEEN
    for place in range(len(roots) - 1, -1, -1):
        held = standing("root", roots[place], roots[place]).key_ids
        mine = {key for key in held if key in own and key in roots[place].signatures}
        root = roots[place]
        if any(_verifies(root, key) for key in mine):
            return place, Known.SIGNED
    return 0, Known.FIRST_USE


def _verifies(root: Metadata[Any], key_id: str) -> bool:
    result = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    return key_id in result.signed


def _delegators(file: SigningFile, role: str) -> list[tuple[str, Metadata[Any]]]:
    """Return whose keys must sign a role: one delegator, or for root the one before and itself."""
    after = _after(file)
    if role == "root":
        roots = file.published.roots
        before = [("present keys", read_metadata("root", roots[-1]))] if roots else []
        label = "new keys" if roots else ""
        return [*before, (label, read_metadata("root", after["root"]))]
    over = "targets" if role in PATHS else "root"
    return [("", read_metadata(over, after[over]))]


def _after(file: SigningFile) -> dict[str, bytes]:
    """Return every offline role as it would be published."""
    roots = file.published.roots
    state = dict(file.published.roles) | ({"root": roots[-1]} if roots else {}) | file.offered
    missing = set(OFFLINE) - set(state)
    if missing:
        raise SigningFileError("the signing file", f"it leaves out {', '.join(sorted(missing))}")
    return state


def _version_before(published: Published, role: str) -> int:
    if role == "root":
        return len(published.roots)
    if role not in published.roles:
        return 0
    return int(read_metadata(role, published.roles[role]).signed.version)


def _key_ids(delegator: Metadata[Any], role: str) -> list[str]:
    return list(delegator.signed.get_delegated_role(role).keyids)


def _names(one: Wanted) -> tuple[str, ...]:
    return (*one.standing.signed, *one.standing.open)
