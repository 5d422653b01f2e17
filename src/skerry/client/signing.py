"""Offline signatures and central: what is published, what is offered, and what still waits.

Where one signature is enough, a release goes out in one step. Where several holders must sign,
it becomes a signing file beside the model repository; the same call later finds it, and sends it
once it is signed.

Errors:  SignaturesPendingError, SigningFileError, those of `Operator`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.files import write_atomic
from skerry.client.operator import Operator
from skerry.schema.api import MetadataUpload
from skerry.schema.release import Facts
from skerry.trust import ceremony
from skerry.trust.ceremony import Known, Published, SigningFile
from skerry.trust.ceremony_changes import release
from skerry.trust.ceremony_errors import NotAHolderError, SignaturesPendingError
from skerry.trust.ceremony_keys import read_anchor, write_anchor
from skerry.trust.roles import OfflineKeys, read_metadata


def fetch_published(central: Operator) -> Published:
    """Return every root and the offline roles that central publishes; nothing is verified."""
    newest = central.role_metadata("root")
    count = read_metadata("root", newest).signed.version
    roots = [central.role_metadata(f"{version}.root") for version in range(1, count)]
    roles = {role: central.role_metadata(role) for role in ("targets", "models", "canary")}
    return Published(roots=(*roots, newest), roles=roles)


def send(central: Operator, file: SigningFile) -> dict[str, int]:
    """Hand a signed file to central; returns the versions published then."""
    metadata = {
        f"{read_metadata(role, data).signed.version}.{role}.json": data
        for role, data in file.offered.items()
    }
    return central.put_metadata(MetadataUpload(metadata=metadata, targets=file.files)).versions


def sign_release(
    fleet: str,
    role: str,
    add: Mapping[str, bytes],
    keys: OfflineKeys,
    central: Operator,
    *,
    folder: Path,
    clock: Clock,
    facts: Mapping[str, Facts] | None = None,
    withdraw: Sequence[str] = (),
) -> None:
    """Sign files of a role and publish them; raises `SignaturesPendingError` if others must sign.

    The signing file of a release that waits lies in `folder`.
    """
    published = fetch_published(central)
    known = ceremony.check_published(published, read_anchor(keys.folder), keys.own_ids())
    version = read_metadata(role, published.roles[role]).signed.version + 1
    path = folder / f"{role}-{version}.signing.json"
    now = clock.unix_s()
    fresh = release(fleet, published, role, add, facts=facts, withdraw=withdraw, now_unix_s=now)
    file = _waiting(path, fresh, role) or fresh
    ceremony.check_offered(file, now)
    if known is not Known.FIRST_USE:  # else `skerry trust sign` has to show a fingerprint first
        try:
            file = ceremony.sign(file, keys.all_signers(), keys.holder)
        except NotAHolderError:
            pass  # an operator who holds no key may still prepare the file
        else:
            write_anchor(keys.folder, published.roots[-1])
    if not ceremony.is_complete(file):
        write_atomic(path, ceremony.write_signing(file))
        open_ = "; ".join(str(one) for one in ceremony.wanted(file))
        raise SignaturesPendingError(str(path), open_)
    send(central, file)
    path.unlink(missing_ok=True)


def _waiting(path: Path, fresh: SigningFile, role: str) -> SigningFile | None:
    """Return the file that waits for exactly this release, with the signatures it has by now."""
    if not path.exists():
        return None
    file = ceremony.read_signing(path.read_bytes())
    if set(file.offered) != {role} or file.published != fresh.published:
        return None
    # Others had the file in hands: nothing but the end may differ from what is wanted here.
    there, wanted = (
        read_metadata(role, one.offered[role]).signed.to_dict() | {"expires": ""}
        for one in (file, fresh)
    )
    return file if there == wanted and file.files == fresh.files else None
