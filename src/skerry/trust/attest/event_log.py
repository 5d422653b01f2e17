"""The event log: what firmware and boot loaders say they extended into the PCRs.

The log itself is not trusted. It is replayed, and only if the result equals the quoted PCRs do
its entries count. The data of an entry is bound by nothing but its digest: who reads it must
compare the two first (`Event.speaks_true`).

Units:   bytes; digests are SHA-256.
Errors:  MalformedError.
Source:  TCG PC Client Platform Firmware Profile 1.06, section 10 (crypto-agile log).
"""

import hashlib
import struct
from collections.abc import Iterable
from typing import NamedTuple

from skerry.schema.attestation import EVENT_LOG_BYTES_MAX
from skerry.trust.attest.errors import MalformedError

EVENTS_MAX = 4096
"""A boot writes about a hundred; a log of thousands is an attack on who replays it."""
PCRS = 24
NO_ACTION, SEPARATOR = 0x00000003, 0x00000004
EFI_VARIABLE_DRIVER_CONFIG = 0x80000001

_ALG_SHA256 = 0x000B
_ALGS_MAX = 8
_SIGNATURE = b"Spec ID Event03\0"
_LOCALITY = b"StartupLocality\0"
_FIRST = struct.Struct("<II20sI")
_SPEC = struct.Struct("<16sIBBBBI")
_ALG = struct.Struct("<HH")
_EVENT = struct.Struct("<III")
_NUMBER = struct.Struct("<I")

KINDS = {
    0x00000001: "EV_POST_CODE",
    NO_ACTION: "EV_NO_ACTION",
    SEPARATOR: "EV_SEPARATOR",
    0x00000005: "EV_ACTION",
    0x00000006: "EV_EVENT_TAG",
    0x00000007: "EV_S_CRTM_CONTENTS",
    0x00000008: "EV_S_CRTM_VERSION",
    0x0000000D: "EV_IPL",
    EFI_VARIABLE_DRIVER_CONFIG: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
}


class Event(NamedTuple):
    """One entry: into which PCR, of what kind, with which digest, and what it says of it."""

    pcr: int
    kind: int
    digest: bytes
    data: bytes

    @property
    def kind_name(self) -> str:
        """The kind as the TCG names it."""
        return KINDS.get(self.kind, f"{self.kind:#010x}")

    @property
    def speaks_true(self) -> bool:
        """Tell whether the digest is that of the data; needed before the data is believed."""
        return hashlib.sha256(self.data).digest() == self.digest


def parse_event_log(data: bytes) -> list[Event]:
    """Read a crypto-agile log; empty bytes are a machine that keeps none."""
    if not data:
        return []
    if len(data) > EVENT_LOG_BYTES_MAX:
        raise MalformedError(
            "the event log", 0, f"{len(data)} bytes, at most {EVENT_LOG_BYTES_MAX}"
        )
    at = 0
    try:
        at, sizes = _header(data)
        end = len(data)
        events = []
        while at < end:
            pcr, kind, count = _EVENT.unpack_from(data, at)
            here, at, digest = at, at + _EVENT.size, b""
            if pcr >= PCRS or not 1 <= count <= len(sizes):
                raise MalformedError("the event log", here, f"PCR {pcr}, {count} digests")
            for _ in range(count):
                alg = data[at] | data[at + 1] << 8
                size = sizes[alg]
                if alg == _ALG_SHA256:
                    digest = data[at + 2 : at + 34]
                at += 2 + size
            (length,) = _NUMBER.unpack_from(data, at)
            at += 4
            if length > end - at or not digest:
                why = f"{length} bytes of data, {end - at} left" if digest else "no SHA-256 digest"
                raise MalformedError("the event log", here, why)
            events.append(Event(pcr, kind, digest, data[at : at + length]))
            at += length
            if len(events) > EVENTS_MAX:
                raise MalformedError("the event log", here, f"more than {EVENTS_MAX} events")
    except (struct.error, IndexError) as error:
        raise MalformedError("the event log", at, "it ends in the middle of an event") from error
    except KeyError as error:
        raise MalformedError("the event log", at, f"digest of algorithm {error}") from error
    return events


def _header(data: bytes) -> tuple[int, dict[int, int]]:
    """Return where the events begin, and the digest size of each algorithm."""
    _, kind, _, length = _FIRST.unpack_from(data, 0)
    at = _FIRST.size
    signature, _, _, _, _, _, count = _SPEC.unpack_from(data, at)
    if kind != NO_ACTION or signature != _SIGNATURE or not 1 <= count <= _ALGS_MAX:
        raise MalformedError("the event log", 0, "it does not begin as a crypto-agile log")
    sizes = {}
    for index in range(count):
        alg, size = _ALG.unpack_from(data, at + _SPEC.size + index * _ALG.size)
        sizes[alg] = size
    if sizes.get(_ALG_SHA256) != 32 or max(sizes.values()) > 64 or length > len(data) - at:
        raise MalformedError("the event log", at, f"digests of {sizes}, a header of {length} bytes")
    return at + length, sizes


def replay(events: Iterable[Event]) -> dict[int, bytes]:
    """Return the PCR values that extending these events in order gives, from reset."""
    pcrs = {number: bytes(32) for number in range(PCRS)}
    pcrs.update(dict.fromkeys(range(17, 23), b"\xff" * 32))
    sha256 = hashlib.sha256
    for pcr, kind, digest, data in events:
        if kind == NO_ACTION:
            if data[:16] == _LOCALITY and pcr == 0 and len(data) == 17 and data[16] in (3, 4):
                pcrs[0] = bytes(31) + data[16:]
        else:
            pcrs[pcr] = sha256(pcrs[pcr] + digest).digest()
    return pcrs


def variable(event: Event) -> tuple[str, bytes] | None:
    """Return name and value of an EFI variable that an event says was measured, or None."""
    if event.kind != EFI_VARIABLE_DRIVER_CONFIG or len(event.data) < 32:
        return None
    chars, length = struct.unpack_from("<QQ", event.data, 16)
    if chars > 256 or 32 + 2 * chars + length != len(event.data):
        return None
    name = event.data[32 : 32 + 2 * chars].decode("utf-16-le", "replace")
    return name, event.data[32 + 2 * chars :]


def build_event_log(events: Iterable[Event]) -> bytes:
    """Write a log of SHA-256 digests: for tests and for machines whose firmware keeps none."""
    spec = _SPEC.pack(_SIGNATURE, 0, 0, 2, 0, 2, 1) + _ALG.pack(_ALG_SHA256, 32) + b"\0"
    log = [_FIRST.pack(0, NO_ACTION, bytes(20), len(spec)), spec]
    for pcr, kind, digest, data in events:
        log.append(_EVENT.pack(pcr, kind, 1) + _ALG_SHA256.to_bytes(2, "little") + digest)
        log.append(_NUMBER.pack(len(data)) + data)
    return b"".join(log)
