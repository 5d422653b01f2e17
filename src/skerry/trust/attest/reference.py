"""Reference values: the digests of what a fleet's machines may boot, taken from a known good one.

Capture them on a machine that you trust (fresh, offline, updated), review what differs from the
last ones, and have them signed with the release that brings the new components: then every node
knows its next boot before it happens.

Errors:  ReferenceFileError, MalformedError.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from skerry.trust.attest.errors import ReferenceFileError
from skerry.trust.attest.event_log import NO_ACTION, SEPARATOR, Event

JUDGED_PCRS = (0, 2, 4, 7, 9)
"""Code and the Secure Boot policy. Settings (1, 3, 5) differ from machine to machine."""


class ReferenceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of reference values; people keep it beside the fleet file and may edit it."""

    components: dict[int, tuple[str, ...]]
    """PCR to the digests (hex) that may be extended into it."""
    revoked: tuple[str, ...] = ()
    """Digests that no machine may boot, however well they are signed."""
    firmware_min: int = 0
    """Least firmware version of the TPM."""


def components_of(
    events: Iterable[Event], pcrs: Iterable[int] = JUDGED_PCRS
) -> dict[int, tuple[str, ...]]:
    """Return the digests of a boot, by PCR, each once and sorted."""
    found: dict[int, set[str]] = {pcr: set() for pcr in pcrs}
    for event in events:
        if event.pcr in found and event.kind not in (NO_ACTION, SEPARATOR):
            found[event.pcr].add(event.digest.hex())
    return {pcr: tuple(sorted(digests)) for pcr, digests in found.items()}


def merged(one: ReferenceFile, components: dict[int, tuple[str, ...]]) -> ReferenceFile:
    """Return a file that also knows these components: several machine types share one file."""
    both = {
        pcr: tuple(sorted({*one.components.get(pcr, ()), *components.get(pcr, ())}))
        for pcr in sorted({*one.components, *components})
    }
    return msgspec.structs.replace(one, components=both)


def read_reference_file(path: Path) -> ReferenceFile:
    """Read a file of reference values; raises `ReferenceFileError`."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ReferenceFile)
    except OSError as error:
        raise ReferenceFileError(str(path), f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReferenceFileError(str(path), f"is no file of reference values: {error}") from error
    for digest in (*found.revoked, *(one for many in found.components.values() for one in many)):
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ReferenceFileError(str(path), f"holds {digest[:80]!r}, wanted a SHA-256 in hex")
    return found
